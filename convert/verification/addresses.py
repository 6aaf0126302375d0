"""Following one element of an output back through a plan to where it was read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

Address = tuple[str | None, int]  # source tensor and element offset in its storage; None for a written zero


def origins(output: Any, target: int) -> Iterator[Address]:
    """Every source address that a plan writes to one element of an output; one, if the plan is right."""
    for part in output.boxes:
        if (index := _within(target - part.target, [(n, t) for n, _, t in part.dims])) is not None:
            offset = part.start + sum(i * s for i, (_, s, _) in zip(index, part.dims, strict=True))
            yield (part.source, offset) if part.source is not None else (None, 0)
    for expr, leaf in output.parts:
        order = sorted(range(len(leaf.axes)), key=lambda axis: -leaf.strides[axis])
        index = _within(target - leaf.offset, [(leaf.sizes[axis], leaf.strides[axis]) for axis in order])
        if index is not None:
            at = {leaf.axes[axis]: i for axis, i in zip(order, index, strict=True)}
            yield from _behind(expr, tuple(at[axis] for axis in expr.axes))


#: operations that keep every element in its place; what they do to it is for the decoders to see
_IN_PLACE = {"Scaled", "Shifted", "UnitRows", "Dequantised", "Cast", "LowRank", "Added"}


class Unfollowed(Exception):
    """An element that is made of several: it has no single address."""


def _behind(expr: Any, index: tuple[int, ...]) -> Iterator[Address]:
    """The address that an element of an expression is computed from."""
    while hasattr(expr, "inputs"):
        kind = type(expr).__name__
        if kind == "Narrowed":
            index = tuple(i + s for i, s in zip(index, expr.start, strict=True))
        elif kind not in _IN_PLACE:
            raise Unfollowed(expr.describe())
        expr = expr.inputs[0]
    for piece in expr.pieces:
        inside = tuple(i - s for i, s in zip(index, piece.start, strict=True))
        if all(0 <= i < n for i, n in zip(inside, piece.size, strict=True)):
            offset = piece.offset + sum(i * s for i, s in zip(inside, piece.stride, strict=True))
            yield (piece.source, offset) if piece.source is not None else (None, 0)


def _within(distance: int, dims: Sequence[tuple[int, int]]) -> tuple[int, ...] | None:
    """The index of an address in a strided set, strides descending; None outside it."""
    index = []
    for count, stride in dims:
        i = min(max(distance, 0) // stride, count - 1) if stride else 0
        index.append(i)
        distance -= i * stride
    return tuple(index) if distance == 0 else None


def said(address: Address) -> str:
    return "a written zero" if address[0] is None else f"{address[0]} at {address[1]}"
