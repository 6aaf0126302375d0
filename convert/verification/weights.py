"""Tensors of a checkpoint in compute dtype, a row block at a time: never a whole large matrix."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from convert.checkpoint.stored import Checkpoint, Stored
from convert.verification.names import Names
from surgery.errors import ConversionError, show

#: `read(stored, start, stop)` returns the bytes of rows start..stop of a tensor, row-major, in its stored type.
Read = Callable[[Stored, int, int], bytearray]

#: (values of some rows, first row, one past the last, what reads tensors) -> the values as they are to be used
Change = Callable[[Tensor, int, int, "Weights"], Tensor]

_TORCH = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip
_SCALE = "_scale_inv"  # DeepSeek: X.weight and X.weight_scale_inv, multiplied despite the name
_BLOCK_BYTES = 32 << 20


class Weights:
    """The tensors of one checkpoint, by the names that its architecture gives them; ``wrapped`` reads through wrappers' too.

    Memory is bounded by `block_bytes` (of one block in compute dtype) and what the caller keeps. `rounded`, if given,
    is the type through which block-scaled FP8 products pass, as the vendors' own dequantisation to bf16 does. `changes`,
    by the name under which a tensor is stored, are made on every read of it.
    """

    def __init__(
        self,
        tensors: Mapping[str, Stored],
        read: Read,
        *,
        compute: torch.dtype = torch.float32,
        device: str = "cpu",
        block_bytes: int = _BLOCK_BYTES,
        fp8_block: tuple[int, int] = (128, 128),
        rounded: torch.dtype | None = None,
        changes: Mapping[str, tuple[Change, ...]] | None = None,
        wrapped: bool = False,
    ) -> None:
        self._tensors, self._read, self._changes = tensors, read, changes or {}
        self._called = Names(tensors, wrapped=wrapped)
        self.compute, self.device = compute, device
        self._block_bytes, self._fp8_block, self._rounded = block_bytes, fp8_block, rounded
        self.used: set[str] = set()
        self._read_since: list[set[str]] = []

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._tensors)

    @property
    def dtypes(self) -> frozenset[str]:
        """The stored types, as safetensors names them, of the tensors that were read; of all of them before any was."""
        return frozenset(self._tensors[name].dtype for name in self.used & self.names or self.names)

    @property
    def stored_types(self) -> frozenset[str]:
        """The stored types of all tensors, read or not."""
        return frozenset(stored.dtype for stored in self._tensors.values())

    @property
    def main_dtype(self) -> str:
        """The stored type of most elements."""
        held: Counter[str] = Counter()
        for stored in self._tensors.values():
            held[stored.dtype] += math.prod(stored.shape)
        return held.most_common(1)[0][0] if held else "F32"

    @contextmanager
    def recorded(self) -> Iterator[set[str]]:
        """The stored types of the tensors that are read within, in a set that fills as they are."""
        kinds: set[str] = set()
        self._read_since.append(kinds)
        try:
            yield kinds
        finally:
            del self._read_since[-1]

    def has(self, name: str) -> bool:
        return self._called.of(name) in self._tensors

    def shape(self, name: str) -> tuple[int, ...]:
        return self._stored(name).shape

    def vector(self, name: str) -> Tensor:
        """A whole small tensor (norm weights, biases)."""
        stored = self._stored(name)
        return self._values(stored, 0, stored.shape[0])

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        """Rows start..stop, along the first axis; block-scaled FP8 comes multiplied out."""
        stored = self._stored(name)
        values = self._values(stored, start, stop)
        if not self.has(name + _SCALE):
            return values
        high, wide = self._fp8_block
        scale = self._values(self._stored(name + _SCALE), start // high, math.ceil(stop / high))
        by_row = scale.repeat_interleave(high, 0)[start % high : start % high + stop - start]
        values = values * by_row.repeat_interleave(wide, 1)[:, : values.shape[1]]
        return values.to(self._rounded).to(self.compute) if self._rounded else values

    def embed(self, ids: Tensor, name: str) -> Tensor:
        """The rows that `ids` name; only those are read, neighbours together."""
        wanted, where = torch.unique(ids, return_inverse=True)
        starts = [0, *((wanted.diff() > 1).nonzero().flatten() + 1).tolist(), len(wanted)]
        runs = [(int(wanted[low]), int(wanted[high - 1]) + 1) for low, high in pairwise(starts)]
        return torch.cat([self.rows(name, start, stop) for start, stop in runs])[where.to(self.device)]

    def linear(self, x: Tensor, name: str, bias: str | None = None, rows: tuple[int, int] | None = None) -> Tensor:
        """``x @ W[rows].T (+ bias[rows])`` for a matrix stored [out, in]."""
        start, stop = rows or (0, self.shape(name)[0])
        out = x.new_empty((*x.shape[:-1], stop - start))
        for low, high in self._blocks(self._stored(name), start, stop):
            out[..., low - start : high - start] = x @ self.rows(name, low, high).T
        return out if bias is None else out + self._values(self._stored(bias), start, stop)

    def linear_in(self, x: Tensor, name: str, at: int) -> Tensor:
        """``x @ W.T`` for matrix number `at` of a stack of matrices stored [out, in]."""
        stored, first, height = self._matrix(name, at)
        out = x.new_empty((*x.shape[:-1], height))
        for low, high in self._blocks(stored, first, first + height):
            out[..., low - first : high - first] = x @ self._values(stored, low, high).T
        return out

    def linear_from(self, x: Tensor, name: str, bias: str | None = None, at: int | None = None) -> Tensor:
        """``x @ W (+ bias)`` for a matrix stored [in, out], or for matrix number `at` of a stack of them."""
        stored, first, _ = self._matrix(name, at)
        out = x.new_zeros((*x.shape[:-1], stored.shape[1]))
        for low, high in self._blocks(stored, first, first + x.shape[-1]):
            out += x[..., low - first : high - first] @ self._values(stored, low, high)
        return out if bias is None else out + self.vector(bias)

    def _matrix(self, name: str, at: int | None) -> tuple[Stored, int, int]:
        """A matrix, or a stack of them as one on top of the other: with the first row and the height of number `at`."""
        stored = self._stored(name)
        if at is None:
            return stored, 0, stored.shape[0]
        count, height, width = stored.shape
        flat = replace(_contiguous(stored), shape=(count * height, width), strides=(width, 1))
        return flat, at * height, height

    def _stored(self, name: str) -> Stored:
        called = self._called.of(name)
        self.used.add(called)
        try:
            stored = self._tensors[called]
        except KeyError:
            raise ConversionError(
                f"The architecture that config.json declares computes with the tensor {show(name)}, and the "
                "checkpoint has no such tensor; a loader would fill it with random numbers."
            ) from None
        for kinds in self._read_since:
            kinds.add(stored.dtype)
        return stored

    def _values(self, stored: Stored, start: int, stop: int) -> Tensor:
        values = self.unchanged(stored, start, stop)
        for change in self._changes.get(stored.name, ()):
            values = change(values, start, stop, self)
        return values

    def mean(self, stored: Stored) -> Tensor:
        """The mean of all rows of a tensor as it lies in the file, summed in float64."""
        total = torch.zeros(stored.shape[1:], dtype=torch.float64, device=self.device)
        for low, high in self._blocks(stored, 0, stored.shape[0]):
            total += self.unchanged(stored, low, high).double().sum(0)
        return (total / stored.shape[0]).to(self.compute)

    def unchanged(self, stored: Stored, start: int, stop: int) -> Tensor:
        """Rows of a tensor as they lie in the file, in compute dtype."""
        if stored.dtype not in _TORCH:
            raise ConversionError(f"The tensor {show(stored.name)} has type {stored.dtype}, no type of a weight.")
        raw = torch.frombuffer(self._read(stored, start, stop), dtype=_TORCH[stored.dtype])
        return raw.reshape(stop - start, *stored.shape[1:]).to(self.compute).to(self.device)

    def _blocks(self, stored: Stored, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Row blocks within the bound, on a grid that block-scaled tensors share."""
        row = math.prod(stored.shape[1:]) * self.compute.itemsize
        step = max(1, self._block_bytes // max(row, 1))
        for low in range(start, stop, step):
            yield low, min(low + step, stop)


def open_weights(
    checkpoint: Checkpoint,
    *,
    compute: torch.dtype = torch.float32,
    device: str = "cpu",
    block_bytes: int = _BLOCK_BYTES,
    rounded: torch.dtype | None = None,
    changes: Mapping[str, tuple[Change, ...]] | None = None,
    wrapped: bool = False,
) -> Weights:
    """The tensors of an opened checkpoint; its files stay open until the process ends."""
    from convert.checkpoint import open_sources, read_rows

    sources = open_sources(checkpoint)
    block = (checkpoint.config.get("quantization_config") or {}).get("weight_block_size") or (128, 128)
    return Weights(
        checkpoint.tensors,
        lambda stored, start, stop: read_rows(sources, stored, start, stop),
        compute=compute,
        device=device,
        block_bytes=block_bytes,
        fp8_block=(int(block[0]), int(block[1])),
        rounded=rounded,
        changes=changes,
        wrapped=wrapped,
    )


def _contiguous(stored: Stored) -> Stored:
    expected = tuple(math.prod(stored.shape[axis + 1 :]) for axis in range(len(stored.shape)))
    if stored.strides != expected:
        raise ConversionError(f"The stack {show(stored.name)} is stored with strides {stored.strides}, not row by row.")
    return stored
