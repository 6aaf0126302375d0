"""Comparing two tensors of an artefact bit for bit, and saying in words how they differ."""

from __future__ import annotations

from functools import partial
from math import prod

from convert.checkpoint import Checkpoint, Sources, open_sources
from convert.stream import Scratch, Source
from surgery.model import Artefact
from surgery.values import Expr, Moved

_BLOCK = 1 << 20  # elements
_ULPS = 8  # of the largest value of a row: what sums in another order and type may differ by


def difference(checkpoint: Checkpoint, one: Expr, other: Expr) -> str:
    """How two expressions over the same axes differ as they would be stored; empty when every bit is equal."""
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return f"one is {one.dtype} {one.shape}, the other {other.dtype} {other.shape}"
    with open_sources(checkpoint) as sources:
        rows, first, largest = _compare(checkpoint, sources, one, other)
    if not rows:
        return ""
    told = f"{rows:,} of {one.shape[0]:,} rows differ, the first is row {first}"
    return f"{told}, and the largest difference is {largest:.3g}"


def tied_by_bits(artefact: Artefact) -> Artefact:
    """``surgery.tie`` with the artefact's own checkpoint to compare in."""
    from surgery import tie

    return tie(artefact, partial(difference, artefact.origin))


def agrees(checkpoint: Checkpoint, sources: Sources, model: Expr, copy: Moved) -> bool:
    """Whether a stored copy holds what a model's tensor is, in the rows of the copy, up to the rounding of either.

    A copy of what was computed was computed by another program, in its own order and in the type that it is stored in.
    """
    import torch

    from convert.evaluate import TORCH, evaluate

    source, scratch = Source(checkpoint.tensors, sources.read_into), Scratch()
    coarse = max((TORCH[expr.dtype] for expr in (model, copy)), key=lambda dtype: torch.finfo(dtype).eps)
    allowed = 0.0 if isinstance(model, Moved) else _ULPS * torch.finfo(coarse).eps
    step = max(1, _BLOCK // max(1, prod(copy.shape[1:])))
    for low in range(0, copy.shape[0], step):
        region = ((low, min(step, copy.shape[0] - low)), *copy.whole[1:])
        a, b = (evaluate(expr, region, source, scratch).to(coarse).double().flatten(1) for expr in (model, copy))
        size = a.abs().amax(1, keepdim=True)
        if not bool(((a - b).abs() <= allowed * size).all()):
            return False
    return True


def _compare(checkpoint: Checkpoint, sources: Sources, one: Expr, other: Expr) -> tuple[int, int, float]:
    """How many rows differ, the first of them, and the largest difference of two elements."""
    import torch

    from convert.evaluate import TORCH, evaluate

    bits = {8: torch.int64, 4: torch.int32, 2: torch.int16, 1: torch.int8}
    source, scratch = Source(checkpoint.tensors, sources.read_into), Scratch()
    step = max(1, _BLOCK // max(1, prod(one.shape[1:])))
    rows, first, largest = 0, -1, 0.0
    for low in range(0, one.shape[0], step):
        region = ((low, min(step, one.shape[0] - low)), *one.whole[1:])
        a, b = (evaluate(expr, region, source, scratch) for expr in (one, other))
        if not (isinstance(one, Moved) and isinstance(other, Moved)):
            a, b = a.to(TORCH[one.dtype]), b.to(TORCH[one.dtype])
        a, b = a.flatten(1), b.flatten(1)
        kind = bits[a.dtype.itemsize]
        wrong = (a.contiguous().view(kind) != b.contiguous().view(kind)).any(1)
        if wrong.any():
            first = low + int(wrong.nonzero()[0]) if first < 0 else first
            rows += int(wrong.sum())
            largest = max(largest, float((a.double() - b.double()).abs().nan_to_num(nan=float("inf")).max()))
    return rows, first, largest
