"""A source as it is once adapters are merged into it and deltas applied, computed here and not by what merges them.

Written from peft 0.21 (tuners/lora/layer.py:278-281, tuners/lora/dora.py, tuners/trainable_tokens/layer.py, utils/other.py)
and the recovery scripts of FastChat (apply_delta.py) and Stanford Alpaca (weight_diff.py). The weights are changed as they
are read, block by block. Edits that stand before an adapter are made here too, where they change which tensors there are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from convert.checkpoint import Checkpoint, Stored, open_adapter, open_checkpoint, open_sources, read_rows
from convert.verification.names import Names
from convert.verification.weights import Change, Weights
from surgery.errors import ConversionError, show

_EMBEDDINGS, _HEAD = ("embed_tokens.weight", "wte.weight"), "lm_head.weight"
#: put into names by torch.compile, FSDP and activation checkpointing
_WRAPPED = re.compile(r"_orig_mod\.|_fsdp_wrapped_module\.|_checkpoint_wrapped_module\.|\.default(?=\.|$)")
_ROOT = re.compile(r"(?:base_model\.model\.)+")
_PARTS = (
    "lora_A.weight", "lora_B.weight", "lora_B.bias", "lora_embedding_A", "lora_embedding_B", "lora_magnitude_vector",
    "lora_magnitude_vector.weight", "token_adapter.trainable_tokens_delta", "token_adapter.base_layer.weight",
    "modules_to_save.weight", "modules_to_save.bias",
    "original_module.weight", "original_module.bias", "base_layer.weight", "base_layer.bias", "weight", "bias",
)  # fmt: skip
_TOKENS = "token_adapter.trainable_tokens_delta"
#: of a product on the embeddings, and of its transpose on the head
_MIRRORED = {"lora_embedding_A": "lora_B.weight", "lora_embedding_B": "lora_A.weight"}
_BLOCK = 1 << 22  # elements compared at a time


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
class Magnitudes:
    """DoRA: each output of a matrix, with all that was added to it before, is given the norm that the adapter stores."""

    norms: Stored
    matrix: Stored
    before: tuple[Change, ...]
    transposed: bool  # outputs are columns: their norms take a pass over all rows

    def __call__(self, rows: Tensor, start: int, stop: int, weights: Weights) -> Tensor:
        wanted = weights.unchanged(self.norms, 0, self.norms.shape[0])
        if not self.transposed:
            norms: Tensor = torch.linalg.vector_norm(rows, dim=1)
            return rows * (wanted[start:stop] / norms)[:, None]
        squares = torch.zeros(self.matrix.shape[1], dtype=torch.float64)
        for low, high in _blocks(self.matrix):
            values = weights.unchanged(self.matrix, low, high)
            for change in self.before:
                values = change(values, low, high, weights)
            squares += values.double().square().sum(0)
        return rows * (wanted / squares.sqrt().to(wanted.dtype))


@dataclass(frozen=True)
class Given:
    """Rows that an adapter gives new values."""

    at: tuple[int, ...]
    values: Stored

    def __call__(self, rows: Tensor, start: int, stop: int, weights: Weights) -> Tensor:
        rows = rows.clone()
        for place, row in enumerate(self.at):
            if start <= row < stop:
                rows[row - start] = weights.unchanged(self.values, place, place + 1)[0]
        return rows


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


@dataclass
class _Source:
    """The source on its way: what lies under each name, and what is done to it when it is read."""

    checkpoint: Checkpoint
    tensors: dict[str, Stored]
    changes: dict[str, tuple[Change, ...]] = field(default_factory=dict)
    ties: bool | None = None  # None: as its config says

    @property
    def embeddings(self) -> str:
        return next((name for name in self.tensors if name.endswith(_EMBEDDINGS)), "")

    @property
    def tied(self) -> bool:
        return bool(self.embeddings) and _HEAD not in self.tensors

    @property
    def one(self) -> bool:
        """Whether both ends are one matrix: tied, or untied by an edit, and not changed since."""
        if self.tied or self.ties is not False:
            return self.tied
        name = self.embeddings
        places = {(self.tensors[end].file, self.tensors[end].offset) for end in (name, _HEAD)}
        return len(places) == 1 and self.changes.get(name, ()) == self.changes.get(_HEAD, ())

    def untie(self) -> None:
        if self.tied:
            self.copy_head()
        self.ties = False

    def copy_head(self) -> None:
        """The embeddings, with all that is done to them, as the head too."""
        name = self.embeddings
        self.tensors[_HEAD] = replace(self.tensors[name], name=f"{self.tensors[name].name} as {_HEAD}")
        self.changes[_HEAD] = self.changes.get(name, ())

    def tie(self) -> None:
        del self.tensors[_HEAD]
        self.changes.pop(_HEAD, None)
        self.ties = True

    def put(self, name: str, stored: Stored) -> None:
        """Another tensor under a name: nothing that was done to the one before is done to it."""
        self.tensors[name] = replace(stored, name=f"{stored.name} as {name}")
        self.changes.pop(name, None)

    def change(self, name: str, change: Change) -> None:
        self.changes[name] = (*self.changes.get(name, ()), change)

    def named(self, name: str) -> str:
        """The checkpoint's name for a parameter of the model: its files may leave out the base class's name, or say it."""
        stored = Names(self.tensors, wrapped=True).of(name)
        if stored in self.tensors:
            return stored
        raise ConversionError(f"The adapter changes {show(name)}, which the base has not.")

    def config(self) -> Mapping[str, Any]:
        """The config with as many tokens as the embeddings now have, and with what ties them."""
        sizes = {
            stored.shape[0]: self.tensors[name].shape[0]
            for name, stored in self.checkpoint.tensors.items()
            if name in self.tensors and stored.shape and self.tensors[name].shape[0] != stored.shape[0]
        }
        names = ("vocab_size", "padded_vocab_size")
        config = {k: sizes.get(v, v) if k in names else v for k, v in self.checkpoint.config.items()}
        return config if self.ties is None else {**config, "tie_word_embeddings": self.ties}


def with_additions(
    checkpoint: Checkpoint, additions: Iterable[Mapping[str, Any]]
) -> tuple[Checkpoint, dict[str, tuple[Change, ...]]]:
    """The checkpoint with the tensors of ``additions`` in their places, and what changes the tensors that stay, by the
    names under which they are stored.

    An addition is an ``Addition`` as JSON, or ``{"kind": "untie"}`` or ``{"kind": "tie"}`` in front of one.
    """
    additions = list(additions)
    if not additions:
        return checkpoint, {}
    source, files = _Source(checkpoint, dict(checkpoint.tensors)), dict(checkpoint.files)
    if checkpoint.config.get("tie_word_embeddings") is True:
        source.tensors.pop(_HEAD, None)  # stored beside the embeddings, and read by nobody
    for number, addition in enumerate(additions):
        if addition["kind"] == "untie":
            source.untie()
        elif addition["kind"] == "tie" and not source.tied:
            source.tie()
        elif addition["kind"] in _KINDS:
            opened = _OPENERS[addition["kind"]](Path(addition["path"])).beside(f"{number}")
            files |= opened.files
            _KINDS[addition["kind"]](source, opened, addition["options"])
    by_stored = {source.tensors[name].name: found for name, found in source.changes.items() if found}
    return replace(checkpoint, tensors=source.tensors, files=files, config=source.config()), by_stored


def _adapter(source: _Source, adapter: Checkpoint, options: Mapping[str, Any]) -> None:
    """What peft's model has with the adapter on it. Of tied embeddings each name is wrapped by itself."""
    trained: dict[str, dict[str, Stored]] = {}
    kept: dict[str, Stored] = {}  # what lay under a trained matrix, or was saved because the model had been resized
    listed = tuple(adapter.config.get("modules_to_save") or ())
    tying = source.one and adapter.config.get("ensure_weight_tying") is True
    if tying and any(_end(name) for name in listed):
        listed = (*listed, "lm_head", "embed_tokens", "wte")  # peft puts the other end beside the one that was named
    for name, stored in adapter.tensors.items():
        module, part = _parted(name.partition("/")[2])
        parts = trained.setdefault(module, {})
        whole = part in ("weight", "bias", "base_layer.bias") or part.startswith("modules_to_save")
        if part == "weight" and not module.endswith(listed or ("/",)) and _end(module):
            kept[module] = stored
        elif whole:
            parts["bias" if part.endswith("bias") else "weight"] = stored
        elif part.startswith(("lora_", "token_adapter.trainable")):
            parts[part] = stored
        elif _end(module) and stored.shape[0] != source.tensors[source.embeddings].shape[0]:
            kept.setdefault(module, stored)
    ends = {_end(module): parts for module, parts in trained.items() if _end(module)}
    embeddings, head = ends.get("embeddings", {}), ends.get("head", {})
    one, tied = source.one and bool(ends), source.tied
    if one:
        if len(kept) == 1 or (len(kept) == 2 and _equal(adapter, *kept.values())):
            source.put(source.embeddings, next(iter(kept.values())))  # one matrix, whichever name it was saved under
            source.copy_head()
            kept = {}
        stays_one = not kept
        source.untie()
    for module, stored in kept.items():
        source.put(source.named(f"{module}.weight"), stored)
    patterns = _Patterns(adapter.config.get("rank_pattern")), _Patterns(adapter.config.get("alpha_pattern"))
    for module, parts in trained.items():
        _train(source, module, parts, adapter.config, patterns, -options["weight"] if options["subtract"] else options["weight"])
    if one and stays_one:
        follows = not head and (tying or embeddings.keys() == {_TOKENS})
        if follows and embeddings:
            source.copy_head()
        if tied and (follows or _same(adapter, embeddings, head)):
            source.tie()


def _train(
    source: _Source,
    module: str,
    parts: Mapping[str, Stored],
    config: Mapping[str, Any],
    patterns: tuple[_Patterns, _Patterns],
    sign: float,
) -> None:
    for kind in ("weight", "bias"):
        if kind in parts:
            source.put(source.named(f"{module}.{kind}"), parts[kind])
    embedding = "lora_embedding_A" in parts
    if embedding or "lora_A.weight" in parts:
        name = source.named(f"{module}.weight")
        a, b = (parts[f"lora_embedding_{x}" if embedding else f"lora_{x}.weight"] for x in "AB")
        rank, alpha = patterns[0].of(module, config["r"]), patterns[1].of(module, config["lora_alpha"])
        factor = sign * alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
        # peft goes by the layer, not by fan_in_fan_out: only GPT-2's Conv1D keeps its matrices inputs by outputs
        columns = embedding or (source.checkpoint.config.get("model_type") == "gpt2" and not _end(module))
        source.change(name, Product(a, b, factor, columns))
        if "lora_magnitude_vector" in parts:
            before = source.changes[name]
            source.change(name, Magnitudes(parts["lora_magnitude_vector"], source.tensors[name], before, columns))
        if "lora_B.bias" in parts:
            source.change(source.named(f"{module}.bias"), Vector(parts["lora_B.bias"], factor))
    if _TOKENS in parts:
        source.change(source.named(f"{module}.weight"), Given(_tokens(config, module), parts[_TOKENS]))


def _same(adapter: Checkpoint, embeddings: Mapping[str, Stored], head: Mapping[str, Stored]) -> bool:
    """Whether the same was done to both ends of a tied model: a product to one, and its transpose to the other."""
    if {_MIRRORED.get(part, part) for part in embeddings} != head.keys() or "lora_magnitude_vector" in head:
        return False
    if _TOKENS in head and _tokens(adapter.config, "embed_tokens") != _tokens(adapter.config, "lm_head"):
        return False
    for part, stored in embeddings.items():
        if part in _MIRRORED:
            stored = replace(stored, shape=stored.shape[::-1], strides=stored.strides[::-1])
        if not _equal(adapter, stored, head[_MIRRORED.get(part, part)]):
            return False
    return True


def _equal(adapter: Checkpoint, one: Stored, other: Stored) -> bool:
    if (one.shape, one.dtype) != (other.shape, other.dtype):
        return False
    with open_sources(adapter) as sources:
        return all(
            read_rows(sources, one, low, high) == read_rows(sources, other, low, high) for low, high in _blocks(one)
        )


def _blocks(stored: Stored) -> Iterator[tuple[int, int]]:
    step = max(1, _BLOCK // max(1, math.prod(stored.shape[1:])))
    return ((low, min(low + step, stored.shape[0])) for low in range(0, stored.shape[0], step))


def _parted(key: str) -> tuple[str, str]:
    """The module that a tensor is about, and what of it."""
    name = _ROOT.sub("", _WRAPPED.sub("", key), count=1)
    part = next(part for part in _PARTS if name.endswith(f".{part}"))
    return name.removesuffix(f".{part}"), part.replace("vector.weight", "vector")


def _end(module: str) -> str:
    return "head" if module.endswith("lm_head") else "embeddings" if f"{module}.weight".endswith(_EMBEDDINGS) else ""


def _tokens(config: Mapping[str, Any], module: str) -> tuple[int, ...]:
    told = config["trainable_token_indices"]
    if isinstance(told, list):
        return tuple(told)
    return tuple(next(rows for name, rows in told.items() if module.endswith(name) or name.endswith(module)))


def _delta(source: _Source, delta: Checkpoint, options: Mapping[str, Any]) -> None:
    for name, stored in delta.tensors.items():
        known = name.partition("/")[2]
        if known in source.tensors:
            base, before = source.tensors[known], source.changes.get(known, ())
            source.put(known, stored)
            source.changes[known] = (Base(base, options["pad"]), *before)


_OPENERS: Mapping[str, Callable[[Path], Checkpoint]] = {"adapter": open_adapter, "delta": open_checkpoint}
_KINDS: Mapping[str, Callable[[_Source, Checkpoint, Mapping[str, Any]], None]] = {"adapter": _adapter, "delta": _delta}


class _Patterns:
    """A table of peft's: the first key that a module's name ends with, as a pattern. Keys that are names are looked up."""

    def __init__(self, table: Mapping[str, Any] | None) -> None:
        self._names: dict[str, tuple[int, Any]] = {}
        self._others: list[tuple[int, re.Pattern[str], Any]] = []
        for place, (key, value) in enumerate((table or {}).items()):
            if re.fullmatch(r"[\w.-]+", key):
                self._names.setdefault(key, (place, value))
            else:
                self._others.append((place, re.compile(rf"(.*\.)?({key})$"), value))

    def of(self, module: str, default: Any) -> Any:
        words = module.split(".")
        ends = (".".join(words[at:]) for at in range(len(words)))
        found = [self._names[end] for end in ends if end in self._names]
        found += [(place, value) for place, pattern, value in self._others if pattern.match(module)][:1]
        return min(found, key=lambda one: one[0])[1] if found else default
