"""The outsiders: transformers' stock classes and peft. Nothing of the product is imported here."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

LENGTH = 40  # tokens: more than the windows that the cases name, fewer than their contexts
SAME = 2e-4  # of the largest logit: what orders of summation in float32 may differ by
#: the plain loops: kernels want sizes that are multiples of theirs
EAGER = {"attn_implementation": "eager", "experts_implementation": "eager"}
#: what a value computed and stored again in half precision may move logits by, in units of the largest
ROUNDED = {"float32": 0.0, "float16": 0.01, "bfloat16": 0.06}


class Unloadable(Exception):
    """The stock class does not take this checkpoint, or cannot run it."""


class Incomplete(Unloadable):
    """The class would fill tensors with random numbers, so that the checkpoint has no function."""


@cache
def library() -> Any:
    """transformers, quiet, on one thread."""
    import transformers

    transformers.logging.set_verbosity(60)
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    return transformers


def ids(vocabulary: int, length: int = LENGTH) -> Tensor:
    """Two sequences, the same for every vocabulary of this size."""
    random = torch.Generator().manual_seed(11)
    return torch.randint(min(3, vocabulary - 1), vocabulary, (2, length), generator=random)


def model(folder: Path, *, strict: bool) -> Any:
    """The stock class over a folder; with ``strict`` no tensor of the folder may be left over either."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found, info = library().AutoModelForCausalLM.from_pretrained(
                folder, **EAGER, dtype=torch.float32, output_loading_info=True, trust_remote_code=False
            )
        except Exception as error:  # whatever it raises says the same
            raise Unloadable(_said(error)) from error
    lacking = [kind for kind in ("missing_keys", "mismatched_keys") if info.get(kind)]
    if lacking:
        raise Incomplete(f"{lacking[0].replace('_', ' ')} {sorted(map(str, info[lacking[0]]))[:3]}")
    if strict and info.get("unexpected_keys"):
        raise Unloadable(f"tensors that its class does not read: {sorted(info['unexpected_keys'])[:3]}")
    return found.eval()


def run(found: Any, tokens: Tensor) -> Tensor:
    """Logits of a model, finite."""
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        try:
            logits: Tensor = found(tokens, use_cache=False).logits.float()
        except Exception as error:
            raise Unloadable(f"runs into {_said(error)}") from error
    if not torch.isfinite(logits).all():
        raise Unloadable("its logits are not finite")
    return logits


def logits(folder: Path, tokens: Tensor, *, strict: bool = True) -> Tensor:
    """What transformers' stock class computes from a folder."""
    return run(model(folder, strict=strict), tokens)


def apart(truth: Tensor, found: Tensor, allowed: float = SAME) -> str:
    """Empty where both are the same function; else by how much they differ."""
    shared = min(truth.shape[-1], found.shape[-1])
    truth, found = truth[..., :shared], found[..., :shared]
    off, size = (truth - found).abs().max().item(), truth.abs().max().item()
    return "" if off <= allowed * max(1.0, size) else f"logits differ by {off:.2g}, up to {size:.2g} large"


def merged(base: Path, adapters: Sequence[Path]) -> Any:
    """peft's model of a base with adapters merged into it, in turn.

    ``Unloadable`` where a merge is another function than the forward before it: into a matrix that is tied to another.
    """
    found = model(base, strict=False)
    for adapter in adapters:
        adapted = _adapted(found, adapter)
        tokens = ids(adapted.get_input_embeddings().weight.shape[0])
        before = run(adapted, tokens)
        found = adapted.merge_and_unload()
        if words := apart(before, run(found, tokens)):
            raise Unloadable(f"merges the first into another function than its own: {words}")
    return found


def with_adapters(base: Path, adapters: Sequence[Path], tokens: Tensor, seed: int = 0) -> Tensor:
    """peft's forward of a base with adapters in turn: the last unmerged, those before it merged.

    ``seed`` is of what peft and transformers draw where the files hold nothing.
    """
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return run(_adapted(merged(base, adapters[:-1]), adapters[-1]), tokens)


def _adapted(found: Any, adapter: Path) -> Any:
    import peft

    rows = _rows(adapter)
    if rows and rows != found.get_input_embeddings().weight.shape[0]:
        found.resize_token_embeddings(rows, mean_resizing=False)
    return peft.PeftModel.from_pretrained(found, str(adapter)).eval()


def _rows(adapter: Path) -> int | None:
    """How many rows the vocabulary has in an adapter that says so: ours write it beside the config."""
    told = adapter / "rows.json"
    return int(json.loads(told.read_text())) if told.is_file() else None


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
