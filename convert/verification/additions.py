"""A source as it is once adapters are merged into it and deltas applied, computed here and not by what merges them.

Written from peft 0.21 (tuners/lora/layer.py:278-281, utils/other.py:1524-1532) and the recovery scripts of FastChat
(apply_delta.py) and Stanford Alpaca (weight_diff.py). The weights are changed as they are read, block by block.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from convert.checkpoint import Checkpoint, Stored, open_adapter, open_checkpoint
from convert.verification.names import Names
from convert.verification.weights import Change, Weights
from surgery.errors import ConversionError, show

_WEIGHT = re.compile(r"base_model\.model\.(.+)\.(lora_A\.weight|lora_embedding_A|lora_B\.bias)")
_WHOLE = re.compile(
    r"base_model\.model\.((?:(?!\.lora_|\.base_layer|\.original_module|\.modules_to_save).)+)"
    r"(?:(?:\.modules_to_save)?\.(weight|bias)|\.base_layer\.(bias))"
)
_EMBEDDINGS, _HEAD = ("embed_tokens.weight", "wte.weight"), "lm_head.weight"


@dataclass(frozen=True)
class Product:
    """``factor * B @ A`` of a linear layer; ``transposed`` where the matrix is stored the other way round."""

    a: Stored
    b: Stored
    factor: float
    transposed: bool

    def __call__(self, rows: Tensor, start: int, stop: int, weights: Weights) -> Tensor:
        a, b = (weights.unchanged(stored, 0, stored.shape[0]) for stored in (self.a, self.b))
        left, right = (a.T, b.T) if self.transposed else (b, a)
        return rows + self.factor * (left[start:stop] @ right)


@dataclass(frozen=True)
class Vector:
    """``factor`` times a bias."""

    other: Stored
    factor: float

    def __call__(self, rows: Tensor, start: int, stop: int, weights: Weights) -> Tensor:
        return rows + self.factor * weights.unchanged(self.other, start, stop)


@dataclass(frozen=True)
class Base:
    """The base's rows under a delta's; where the base has none, zeros or the mean of those it has."""

    base: Stored
    pad: str

    def __call__(self, rows: Tensor, start: int, stop: int, weights: Weights) -> Tensor:
        held = self.base.shape[0]
        inside = max(start, min(stop, held))
        known = weights.unchanged(self.base, start, inside) if start < inside else rows[:0]
        if inside == stop:
            return rows + known
        filling = weights.mean(self.base) if self.pad == "mean" else torch.zeros_like(rows[0])
        return rows + torch.cat([known, filling.expand(stop - inside, *filling.shape)])


def with_additions(
    checkpoint: Checkpoint, additions: Iterable[Mapping[str, Any]]
) -> tuple[Checkpoint, dict[str, tuple[Change, ...]]]:
    """The checkpoint with the tensors of ``additions`` (as ``Addition`` has them, in JSON) in their places, and what
    changes the tensors that stay, by the names under which they are stored.
    """
    tensors, files = dict(checkpoint.tensors), dict(checkpoint.files)
    changes: dict[str, list[Change]] = {}
    for number, addition in enumerate(additions):
        opened = _OPENERS[addition["kind"]](Path(addition["path"])).beside(f"{number}")
        files |= opened.files
        _KINDS[addition["kind"]](tensors, changes, opened, addition["options"])
    by_stored = {tensors[name].name: tuple(found) for name, found in changes.items()}
    config = _resized(checkpoint, tensors)
    tied = next((name for name in changes if name.endswith(_EMBEDDINGS) and _HEAD not in tensors), None)
    if tied is not None:  # the head of the model in training stays what the embeddings were
        tensors[_HEAD] = replace(tensors[tied], name=_HEAD)
        config = {**config, "tie_word_embeddings": False}
    return replace(checkpoint, tensors=tensors, files=files, config=config), by_stored


def _adapter(
    tensors: dict[str, Stored], changes: dict[str, list[Change]], adapter: Checkpoint, options: Mapping[str, Any]
) -> None:
    config = adapter.config
    named = {name.partition("/")[2].replace(".default", ""): stored for name, stored in adapter.tensors.items()}
    sign = -options["weight"] if options["subtract"] else options["weight"]
    for key, stored in named.items():
        if (match := _WHOLE.fullmatch(key)) is not None:
            tensors[_name(tensors, f"{match[1]}.{match[2] or match[3]}")] = stored
    for key, stored in named.items():
        if (match := _WEIGHT.fullmatch(key)) is None:
            continue
        module, kind = match[1], match[2]
        rank = _by_pattern(config.get("rank_pattern"), module, config["r"])
        alpha = _by_pattern(config.get("alpha_pattern"), module, config["lora_alpha"])
        factor = sign * alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
        name = _name(tensors, f"{module}.{'bias' if kind == 'lora_B.bias' else 'weight'}")
        if kind == "lora_B.bias":
            changes.setdefault(name, []).append(Vector(stored, factor))
            continue
        embedding = kind == "lora_embedding_A"
        b = named[f"base_model.model.{module}.{'lora_embedding_B' if embedding else 'lora_B.weight'}"]
        if embedding or module.endswith("lm_head"):
            copy = named.get(f"base_model.model.{module}.base_layer.weight")
            if copy is not None and copy.shape[0] > tensors[name].shape[0]:
                tensors[name] = copy
        transposed = embedding or bool(config.get("fan_in_fan_out"))
        changes.setdefault(name, []).append(Product(stored, b, factor, transposed))


def _delta(tensors: dict[str, Stored], changes: dict[str, list[Change]], delta: Checkpoint, options: Mapping[str, Any]) -> None:
    for name, stored in delta.tensors.items():
        known = name.partition("/")[2]
        if known in tensors:
            changes.setdefault(known, []).append(Base(tensors[known], options["pad"]))
            tensors[known] = stored


_OPENERS = {"adapter": open_adapter, "delta": open_checkpoint}
_KINDS = {"adapter": _adapter, "delta": _delta}


def _name(tensors: Mapping[str, Stored], name: str) -> str:
    """The checkpoint's name for a parameter of the model: its files may leave out the base class's name, or say it."""
    stored = Names(tensors, wrapped=True).of(name)
    if stored in tensors:
        return stored
    raise ConversionError(f"The adapter changes {show(name)}, which the base has not.")


def _by_pattern(table: Mapping[str, Any] | None, module: str, default: Any) -> Any:
    return next((value for key, value in (table or {}).items() if re.match(rf"(.*\.)?({key})$", module)), default)


def _resized(checkpoint: Checkpoint, tensors: Mapping[str, Stored]) -> Mapping[str, Any]:
    """The config with as many tokens as the embeddings now have."""
    grown = {
        old.shape[0]: tensors[name].shape[0]
        for name, old in checkpoint.tensors.items()
        if old.shape and tensors[name].shape[1:] == old.shape[1:] and tensors[name].shape[0] > old.shape[0]
    }
    sizes = ("vocab_size", "padded_vocab_size")
    return {k: grown.get(v, v) if k in sizes else v for k, v in checkpoint.config.items()}
