"""The library's side: which classes it has, and what they compute from a folder. Runs in the witness's own process."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from surgery.errors import complaint

_FAULTS = ("missing_keys", "unexpected_keys", "mismatched_keys")


@dataclass(frozen=True)
class Put:
    """An adapter to be put on a model; ``apart``: its ends are two matrices, though the model ties them."""

    folder: Path
    apart: bool = False


class Unloadable(Exception):
    """The library does not load the folder as a whole model; the message is its complaint."""


@dataclass(frozen=True)
class Library:
    """transformers, as far as it is needed."""

    version: str
    classes: Mapping[str, Any]  # of causal models, by model_type

    @property
    def name(self) -> str:
        return f"transformers {self.version}"

    def has(self, config: Mapping[str, Any]) -> bool:
        return config.get("model_type") in self.classes

    def logits(
        self, folder: Path, prompts: Iterable[Tensor], adapters: Sequence[Put] = (), rows: int | None = None
    ) -> tuple[str, list[Tensor]]:
        """The name of the class that config.json asks for, and its logits for each batch of prompts, float32.

        ``adapters`` are put on it by peft one after the other, unmerged but for those that another one is trained on, after
        its embeddings were given ``rows`` rows. ``Unloadable`` where anything raises, or where keys are missing, unexpected
        or of another shape.
        """
        from transformers import AutoModelForCausalLM

        try:
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.float32, trust_remote_code=False, local_files_only=True, use_safetensors=True,
                output_loading_info=True,
            )  # fmt: skip
        except Exception as error:  # whatever a class raises on its config: this is what is asked
            raise Unloadable(f"it fails: {complaint(error, 300)}") from error
        model, told = loaded
        if found := {kind: sorted(map(str, told[kind])) for kind in _FAULTS if told[kind]}:
            said = "; ".join(f"{kind.replace('_', ' ')}: {', '.join(names[:3])}" for kind, names in found.items())
            raise Unloadable(said)
        if _torn(model):
            raise Unloadable(
                "config.json ties the output projection to the embeddings, and both are stored with different values: this "
                "version keeps both, others drop one"
            )
        name = type(model).__name__
        if adapters:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what the libraries will leave out one day
                name, model = f"{name} under peft", _adapted(model, adapters, rows)
        model.eval()
        try:
            with torch.inference_mode():
                each = [model(ids, use_cache=False).logits.float() for ids in prompts]
        except (IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise Unloadable(f"it loads and does not run: {complaint(error, 300)}") from error
        return name, each


def has_peft() -> bool:
    """Whether peft is there to put an adapter on a stock class."""
    return find_spec("peft") is not None


def _adapted(model: Any, adapters: Sequence[Put], rows: int | None) -> Any:
    """The model with adapters on it, as whoever trained them had it."""
    from peft import PeftModel

    try:
        if rows is not None:
            model.resize_token_embeddings(rows, mean_resizing=False)
        for number, adapter in enumerate(adapters):
            if adapter.apart:
                _part(model)
            model = PeftModel.from_pretrained(model, str(adapter.folder))
            if number < len(adapters) - 1:
                _part(model)  # merging into a shared matrix would change both of its names
                model = model.merge_and_unload()
                _join(model)
    except Exception as error:  # whatever the library raises on an adapter: it does not judge it
        raise Unloadable(f"peft: it fails: {complaint(error, 300)}") from error
    return model


def _part(model: Any) -> None:
    """Give every module that shares the embeddings' matrix one of its own."""
    seen: set[int] = set()
    for module in model.modules():
        for name, value in list(module._parameters.items()):
            if name == "weight" and value is not None and value.data_ptr() in seen:
                setattr(module, name, torch.nn.Parameter(value.detach().clone(), requires_grad=False))
            elif name == "weight" and value is not None:
                seen.add(value.data_ptr())
    model.config.get_text_config().tie_word_embeddings = False


def _join(model: Any) -> None:
    """Tie what is equal again."""
    head, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
    if torch.equal(head.weight, embeddings.weight):
        head.weight = embeddings.weight
        model.config.get_text_config().tie_word_embeddings = True


def _torn(model: Any) -> bool:
    """Whether a config says that two matrices are one, and the files say that they are two (transformers 4 and 5 differ)."""
    if not model.config.get_text_config().tie_word_embeddings:
        return False
    head, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
    return head is not None and not torch.equal(head.weight, embeddings.weight)


def library() -> Library:
    """transformers with its voice turned down; ``ImportError`` where it is not installed."""
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CLASSES

    quiet: Any = transformers.utils.logging
    quiet.set_verbosity_error()
    quiet.disable_progress_bar()
    return Library(transformers.__version__, CLASSES)
