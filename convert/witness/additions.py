"""Adapters and deltas in miniature: the same names and words, tensors of the miniature's shapes, other random numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from convert.checkpoint import Checkpoint, open_adapter, open_checkpoint, open_sources
from convert.checkpoint.reading import same_values
from convert.edits.adapter import read_adapter
from convert.edits.adapter_names import named
from convert.edits.tying import as_listed, settled
from convert.witness.config import shrunk
from convert.witness.library import Put
from convert.witness.vocabulary import Tokens
from convert.witness.weights import random_weights, store
from mappings.config import read_facts
from mappings.family import Family
from mappings.rows import decode
from mappings.slabs import as_in_rows
from mappings.wrapping import unwrapped
from surgery.errors import ConversionError, show
from surgery.model import Applied

_UNTRAINED = ("original_module.weight", "base_layer.weight", "token_adapter.base_layer.weight")
_TOKENS = "token_adapter.trainable_tokens_delta"
_EMBEDDINGS, _HEAD = ("embed_tokens.weight", "wte.weight"), "lm_head.weight"
_STEP = 0.3  # of what an adapter adds, relative to what is there


@dataclass(frozen=True)
class Base:
    """What an addition is made for: the real checkpoint, its miniature's tensors, and the tokens that the output has."""

    family: Family
    checkpoint: Checkpoint
    tensors: Mapping[str, Tensor]
    tokens: Tokens


def small_edit(edit: Applied, base: Base, folder: Path, first: bool = True) -> Applied:
    """The edit with what it adds, if it adds a checkpoint, in miniature under ``folder``; ``first``: nothing was added before."""
    if edit.name == "merge-lora":
        small = _adapter(Path(edit.arguments["adapter"]), base, folder, first)
        return Applied(edit.name, {**edit.arguments, "adapter": str(small)})
    if edit.name == "apply-delta":
        small = _delta(Path(edit.arguments["delta"]), base, folder)
        return Applied(edit.name, {**edit.arguments, "delta": str(small)})
    return edit


def put(folder: Path) -> Put:
    """A miniature adapter as it is to be put on the library's model."""
    adapter = read_adapter(open_adapter(folder).beside("adapter"))
    ends = [stored for name, stored in adapter.base.items() if name.endswith((*_EMBEDDINGS, _HEAD))]
    with open_sources(adapter.checkpoint) as sources:
        return Put(folder, len(ends) == 2 and not same_values(sources, *ends))


def _adapter(place: Path, base: Base, folder: Path, first: bool) -> Path:
    """An adapter with every tensor of the real one that is about a layer the miniature has.

    What is equal under both names of tied embeddings is so here. Copies of the base are left out behind another addition,
    which would have changed them.
    """
    from safetensors.torch import save_file

    opened = open_adapter(place).beside("adapter")
    adapter = read_adapter(opened).renamed(partial(_named, base.family))
    embed = next((name for name in base.tensors if name.endswith(_EMBEDDINGS)), "")
    tied = bool(embed) and _HEAD not in base.tensors
    one, trained_as_one = False, False
    if tied:
        adapter = as_listed(adapter, embed, _HEAD)
        with open_sources(opened) as sources:
            how = settled(adapter, embed, _HEAD, partial(same_values, sources))
        one, trained_as_one = how.untie != "first", how.untie == "never"
    small_of = {**base.tensors, **({_HEAD: base.tensors[embed]} if tied else {})}
    real = {_named(base.family, name): stored.shape for name, stored in base.checkpoint.tensors.items()}
    real |= {_HEAD: real[embed]} if tied else {}
    random = torch.Generator().manual_seed(4)
    tensors: dict[str, Tensor] = {}
    whole: dict[tuple[str, bool], Tensor] = {}  # peft may keep a tensor under several names
    for key, stored in opened.tensors.items():
        of = named(key.partition("/")[2])
        name = _named(base.family, of.tensor)
        if name not in small_of:
            if name in real:
                continue  # of a layer that the miniature has not
            raise ConversionError(f"{show(of.key)} of the adapter names no tensor of a miniature")
        small = small_of[name]
        if of.what.startswith("lora_"):
            lengths = dict(zip(real[name], small.shape, strict=True))
            factor = adapter.config.factor(of.module)
            tensors[of.key] = _product(of.what, stored.shape, lengths, len(base.tokens), factor, random)
            continue
        if of.what == _TOKENS:
            rows, untrained = len(_small_rows(adapter.rows[name].at, base.tokens)), False
        else:
            rows = small.shape[0] if stored.shape[0] == real[name][0] else len(base.tokens)
            untrained = of.what in _UNTRAINED
        if untrained and not first:
            continue
        free = untrained or (of.what == "weight" and name in adapter.base)
        untrained = untrained or (free and name in (embed, _HEAD))
        as_one = embed if name == _HEAD and (one if free else trained_as_one) else name
        if (as_one, free) not in whole:
            made = torch.randn((rows, *small.shape[1:]), generator=random) * small.std() + (0.0 if untrained else small.mean())
            if untrained:
                made[: len(small)] = small[:rows]
            whole[as_one, free] = made
        tensors[of.key] = whole[as_one, free].clone()
    if trained_as_one:
        _mirror(tensors)
    folder.mkdir(parents=True)
    told = json.loads((place / "adapter_config.json").read_text(encoding="utf-8"))
    if rows_told := told.get("trainable_token_indices"):
        several = rows_told.items() if isinstance(rows_told, dict) else [("", rows_told)]
        mapped = {name: _small_rows(at, base.tokens) for name, at in several}
        told["trainable_token_indices"] = mapped if isinstance(rows_told, dict) else mapped[""]
    (folder / "adapter_config.json").write_text(json.dumps(told), encoding="utf-8")
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    return folder


def _named(family: Family, name: str) -> str:
    """What the family's rows call a tensor, without what wrappers put into its name."""
    return as_in_rows(family, unwrapped(name))


def _small_rows(at: Iterable[int], tokens: Tokens) -> list[int]:
    """The miniature's rows for rows that are trained by themselves: as many as it has for them."""
    return sorted({min(tokens.of(row), len(tokens) - 1) for row in at})


def _mirror(tensors: dict[str, Tensor]) -> None:
    """Make a product on the output projection the transpose of the one on the embeddings."""
    for key in [key for key in tensors if key.endswith("lm_head.lora_A.weight")]:
        up = next((value for name, value in tensors.items() if name.endswith("lora_embedding_B")), None)
        down = next((value for name, value in tensors.items() if name.endswith("lora_embedding_A")), None)
        if up is not None and down is not None:
            tensors[key] = up.T.contiguous()
            tensors[key.replace("lora_A", "lora_B")] = down.T.contiguous()


def _product(
    what: str, shape: tuple[int, ...], lengths: Mapping[int, int], tokens: int, factor: float, random: torch.Generator
) -> Tensor:
    """One of the two matrices of a LoRA, the bias of the second, or DoRA's norms: rank and place of the rank are the real one's.

    ``lengths`` are the real lengths of the tensor it changes with the miniature's; a length that it lacks is of grown
    embeddings, which have as many ``tokens`` as the output.
    """
    down = what.startswith(("lora_A", "lora_embedding_A"))
    small = [n if len(shape) == 2 and (axis == 0) == down else lengths.get(n, tokens) for axis, n in enumerate(shape)]
    noise = torch.randn(small, generator=random)
    if what == "lora_magnitude_vector":
        return 1.0 + 0.2 * noise.tanh()
    return noise / math.sqrt(small[-1]) if down else noise * (_STEP / (abs(factor) * math.sqrt(shape[-1]) or 1.0))


def _delta(place: Path, base: Base, folder: Path) -> Path:
    """A delta of the miniature's shapes, with as many tokens as the output has."""
    opened = open_checkpoint(place)
    facts = decode(base.family, read_facts(base.family, opened.config), opened.tensors).model.facts
    small = shrunk(base.family, facts, opened.config, base.tokens)
    tensors = random_weights(base.family, small.facts)
    config: dict[str, Any] = json.loads(json.dumps(small.config))
    store(folder, {name: 0.3 * tensor for name, tensor in tensors.items()}, config, base.family.stored)
    return folder
