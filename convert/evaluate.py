"""Values to bytes: computed tensors, streamed in row blocks. The only part of the writer that needs torch.

The grid of blocks is a function of the tensor's shape alone, so the bytes do not depend on memory limits or workers.
Arithmetic is float32 (float64 where a source is F64) and every element is rounded once, into the output's type.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from operator import sub

import torch

from convert.stream import Scratch, Source, gather
from surgery.additions import Folded
from surgery.dtypes import FLOATS, ITEMSIZE
from surgery.errors import ConversionError
from surgery.layout import Leaf, row_major
from surgery.movement import place, spans
from surgery.values import Expr, Moved, Region, Value, clamps

BLOCK = 1 << 20  # elements of the output per block: 4 MB of float32
_STORED = 1 << 17  # elements that are rounded and compared at a time, which five passes find in the core's own cache

TORCH = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


Store = Callable[[torch.Tensor, torch.Tensor], None]


class Beyond(ConversionError):
    """Values that exceed the type they are to be stored as."""

    def __init__(self, count: int, dtype: str, tensor: str):
        self.count, self.dtype = count, dtype
        super().__init__(
            f"{tensor}: {count:,} or more values exceed the largest number that {FLOATS.get(dtype, dtype)} has "
            f"({torch.finfo(TORCH[dtype]).max:g}) and would become infinite, which ruins every output of the model. "
            "Use bfloat16, which reaches as far as float32; `surgery cast --clamp` stores the largest number instead."
        )


@dataclass
class Rounding:
    """What storing the computed values cost: the largest error, and sums of squares of errors and of values."""

    largest: float = 0.0
    error: float = 0.0
    size: float = 0.0
    beyond: int = 0  # finite values that exceed the type
    vanished: int = 0  # values that the type stores as zero
    tensor: str = "a tensor"  # for messages

    def store(self, exact: torch.Tensor, place_: torch.Tensor, clamp: bool = False) -> None:
        """Round ``exact`` into ``place_`` and add up what that costs; ``clamp`` as in ``surgery.values.Cast``."""
        if exact.dtype == place_.dtype or exact.numel() == 0:
            place_.copy_(exact)
            return
        if exact.dim() == 0:
            exact, place_ = exact[None], place_[None]
        rows = max(1, _STORED * len(exact) // exact.numel())
        for piece, there in zip(torch.split(exact, rows), torch.split(place_, rows), strict=True):
            self._store(piece, there, clamp)

    def _store(self, exact: torch.Tensor, place_: torch.Tensor, clamp: bool) -> None:
        place_.copy_(exact)
        if torch.finfo(place_.dtype).tiny > torch.finfo(exact.dtype).tiny:
            self.vanished += int(exact.count_nonzero() - place_.count_nonzero())
        off = place_.to(exact.dtype).sub_(exact)
        low, high = torch.aminmax(off)
        if not float(high - low) < math.inf:
            lost = place_.isinf() & exact.isfinite()
            self.beyond += int(lost.sum())
            if clamp:
                limit = torch.finfo(place_.dtype).max
                place_.copy_(torch.where(lost, exact.clamp(-limit, limit), exact))
            off = torch.where(exact.isfinite() & place_.isfinite(), place_.to(exact.dtype).sub_(exact), 0.0)
            low, high = torch.aminmax(off)
            exact = torch.where(exact.isfinite(), exact, 0.0)
        self.largest = max(self.largest, -float(low), float(high))
        self.error += float(torch.linalg.vector_norm(off)) ** 2
        self.size += float(torch.linalg.vector_norm(exact)) ** 2


def stream_values(
    parts: Sequence[tuple[Expr, Leaf]],
    shape: tuple[int, ...],
    dtype: str,
    source: Source,
    scratch: Scratch,
    rounding: Rounding,
) -> Iterator[memoryview]:
    """The bytes of a computed tensor, block by block of its rows, each in a buffer of its own.

    ``Beyond`` where a value exceeds the output's type, unless the expression asks for its largest number instead.
    """
    clamp = any(clamps(expr) for expr, _ in parts)
    row = prod(shape[1:])
    rows = max(1, BLOCK // max(row, 1))
    for first in range(0, shape[0], rows) if shape else (0,):
        count = min(rows, shape[0] - first) if shape else 1
        low, high = first * row, (first + count) * row
        out = torch.zeros(high - low, dtype=TORCH[dtype])
        for expr, leaf in parts:
            _fill(out, low, high, expr, leaf, source, scratch, partial(rounding.store, clamp=clamp))
        if rounding.beyond and not clamp:
            raise Beyond(rounding.beyond, dtype, rounding.tensor)
        yield memoryview(out.view(torch.uint8).numpy().data) if out.numel() else memoryview(b"")


def _fill(out: torch.Tensor, low: int, high: int, expr: Expr, leaf: Leaf, source: Source, scratch: Scratch, store: Store) -> None:
    """Put what ``expr`` has of the target addresses [low, high) into ``out``, by ``store(values, place)``."""
    order = sorted(range(len(leaf.axes)), key=lambda i: -leaf.strides[i])
    to_role = [[leaf.axes[i] for i in order].index(axis) for axis in expr.axes]
    dims = tuple((leaf.sizes[i], leaf.strides[i]) for i in order)
    for firsts, counts in spans(leaf.offset, dims, low, high):
        region = tuple((firsts[i], counts[i]) for i in to_role)
        values = evaluate(expr, region, source, scratch)
        at = leaf.offset + sum(f * s for f, (_, s) in zip(firsts, dims, strict=True)) - low
        strides = [dims[i][1] for i in to_role]
        store(values, out.as_strided([n for _, n in region], strides, at))


def evaluate(expr: Expr, region: Region, source: Source, scratch: Scratch) -> torch.Tensor:
    """The values of ``expr`` in ``region``, in the axes' order, in compute precision."""
    if any(count == 0 for _, count in region):
        return torch.empty([count for _, count in region])
    if isinstance(expr, Moved):
        return _read(expr, region, source, scratch)
    if isinstance(expr, Folded):
        return expr.finished(region, _folded(expr, source, scratch))
    assert isinstance(expr, Value)
    arrays = [evaluate(e, r, source, scratch) for e, r in expr.reads(region)]
    return expr.compute(region, *arrays)


def _folded(expr: Folded, source: Source, scratch: Scratch) -> torch.Tensor:
    """What a pass over the whole input finds: made once, since every later block needs the same."""
    if id(expr) not in scratch.folded:
        state = None
        for region in expr.blocks():
            state = expr.folded(state, evaluate(expr.inputs[0], region, source, scratch))
        assert state is not None, "nothing to fold"
        scratch.folded[id(expr)] = expr.settled(state)
    found: torch.Tensor = scratch.folded[id(expr)]
    return found


def _read(expr: Moved, region: Region, source: Source, scratch: Scratch) -> torch.Tensor:
    shape = tuple(n for _, n in region)
    itemsize = ITEMSIZE[expr.dtype]
    stored = torch.empty(shape, dtype=TORCH[expr.dtype])
    buffer = memoryview(stored.view(-1).view(torch.uint8).numpy().data)
    leaf = Leaf(0, expr.axes, shape, row_major(shape))
    found = [part for piece in expr.pieces if (part := piece.within(region)) is not None]
    origin = tuple(first for first, _ in region)
    local = [replace(p, start=tuple(map(sub, p.start, origin))) for p in found]
    for whole in place(local, expr.axes, leaf):
        gather(whole, 0, itemsize, source, buffer, scratch)
    return stored.to(torch.float64 if expr.dtype == "F64" else torch.float32)
