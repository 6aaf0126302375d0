"""Adapters and deltas in miniature: the same names and words, tensors of the miniature's shapes, other random numbers."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from convert.checkpoint import Checkpoint, open_adapter, open_checkpoint
from convert.edits.adapter_config import read_config
from convert.verification.witness.config import shrunk
from convert.verification.witness.vocabulary import Tokens
from convert.verification.witness.weights import random_weights, store
from mappings.config import read_facts
from mappings.family import Family
from mappings.rows import decode
from mappings.slabs import as_in_rows
from surgery.errors import ConversionError, show
from surgery.model import Applied

_ROOT = "base_model.model."
_UNTRAINED = ("original_module", "base_layer")
_STEP = 0.3  # of what an adapter adds, relative to what is there


@dataclass(frozen=True)
class Base:
    """What an addition is made for: the real checkpoint, its miniature's tensors, and the tokens that the output has."""

    family: Family
    checkpoint: Checkpoint
    tensors: Mapping[str, Tensor]
    tokens: Tokens


def small_edit(edit: Applied, base: Base, folder: Path) -> Applied:
    """The edit with what it adds, if it adds a checkpoint, in miniature under ``folder``."""
    if edit.name == "merge-lora":
        small = _adapter(Path(edit.arguments["adapter"]), base, folder)
        return Applied(edit.name, {**edit.arguments, "adapter": str(small)})
    if edit.name == "apply-delta":
        small = _delta(Path(edit.arguments["delta"]), base, folder)
        return Applied(edit.name, {**edit.arguments, "delta": str(small)})
    return edit


def _adapter(place: Path, base: Base, folder: Path) -> Path:
    """An adapter with every tensor of the real one that is about a layer the miniature has."""
    from safetensors.torch import save_file

    real = {as_in_rows(base.family, name): stored.shape for name, stored in base.checkpoint.tensors.items()}
    opened = open_adapter(place)
    config = read_config(opened.config)
    random = torch.Generator().manual_seed(4)
    tensors: dict[str, Tensor] = {}
    whole: dict[str, Tensor] = {}  # peft may keep a tensor under several names
    for key, stored in opened.tensors.items():
        module, what = _parted(key)
        name = as_in_rows(base.family, f"{module}.{'bias' if what.endswith('bias') else 'weight'}")
        if name not in base.tensors:
            if name in real:
                continue  # of a layer that the miniature has not
            raise ConversionError(f"{show(key)} of the adapter names no tensor of a miniature")
        small = base.tensors[name]
        if what.startswith("lora_"):
            lengths = dict(zip(real[name], small.shape, strict=True))
            tensors[key] = _product(what, stored.shape, lengths, len(base.tokens), config.factor(module), random)
            continue
        rows = small.shape[0] if stored.shape[0] == real[name][0] else len(base.tokens)
        if what.startswith(_UNTRAINED) and not what.endswith("bias"):
            grown = torch.randn((rows, *small.shape[1:]), generator=random) * small.std()
            grown[: len(small)] = small[:rows]
            tensors[key] = grown
            continue
        if name not in whole:
            whole[name] = torch.randn((rows, *small.shape[1:]), generator=random) * small.std() + small.mean()
        tensors[key] = whole[name].clone()
    folder.mkdir(parents=True)
    shutil.copyfile(place / "adapter_config.json", folder / "adapter_config.json")
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    return folder


def _product(
    what: str, shape: tuple[int, ...], lengths: Mapping[int, int], tokens: int, factor: float, random: torch.Generator
) -> Tensor:
    """One of the two matrices of a LoRA, or the bias of the second: rank and place of the rank are the real one's.

    ``lengths`` are the real lengths of the tensor it changes with the miniature's; a length that it lacks is of grown
    embeddings, which have as many ``tokens`` as the output.
    """
    down = what.startswith(("lora_A", "lora_embedding_A"))
    small = [n if len(shape) == 2 and (axis == 0) == down else lengths.get(n, tokens) for axis, n in enumerate(shape)]
    noise = torch.randn(small, generator=random)
    return noise / math.sqrt(small[-1]) if down else noise * (_STEP / (abs(factor) * math.sqrt(shape[-1]) or 1.0))


def _parted(key: str) -> tuple[str, str]:
    """The module that a tensor of an adapter is about, and what of it: ``lora_A.weight``, ``modules_to_save.weight`` ..."""
    module = key.removeprefix(_ROOT)
    for word in ("lora_", "modules_to_save", "original_module", "base_layer"):
        before, found, after = module.partition(f".{word}")
        if found:
            return before, word + after
    before, _, last = module.rpartition(".")
    return before, last


def _delta(place: Path, base: Base, folder: Path) -> Path:
    """A delta of the miniature's shapes, with as many tokens as the output has."""
    opened = open_checkpoint(place)
    facts = decode(base.family, read_facts(base.family, opened.config), opened.tensors).model.facts
    small = shrunk(base.family, facts, opened.config, base.tokens)
    tensors = random_weights(base.family, small.facts)
    config: dict[str, Any] = json.loads(json.dumps(small.config))
    store(folder, {name: 0.3 * tensor for name, tensor in tensors.items()}, config, base.family.stored)
    return folder
