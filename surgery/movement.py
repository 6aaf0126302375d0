"""Movement and its normal form.

A role that has only been moved is a tuple of *pieces*: rectangles of its index space, each lying at constant strides in
one source tensor. Writing it into a target layout intersects the pieces with the target's leaves, axis by axis, and gives
*boxes*: ``for every index in dims: target[t0 + i*t] = source[s0 + i*s]``. Boxes are closed under everything that layouts
can say, so an identity is one contiguous box, a split or a concatenation a few, and a rope permutation one box of rows.

All offsets and strides are in elements.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod

from surgery.layout import Leaf

Span = tuple[int, int]  # start, length


@dataclass(frozen=True, slots=True)
class Piece:
    """A rectangle of a role's index space: ``start`` and ``size`` per axis, and where its first element lies in a source."""

    source: str | None  # None: zeros
    offset: int
    start: tuple[int, ...]
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def within(self, region: Sequence[Span]) -> Piece | None:
        """The part of this piece inside ``region``, or None."""
        start, size, offset = [], [], self.offset
        for own, length, stride, (low, count) in zip(self.start, self.size, self.stride, region, strict=True):
            first, last = max(own, low), min(own + length, low + count)
            if first >= last:
                return None
            start.append(first)
            size.append(last - first)
            offset += (first - own) * stride
        return replace(self, offset=offset, start=tuple(start), size=tuple(size))


@dataclass(frozen=True, slots=True)
class Box:
    """One strided copy. ``dims`` are (count, source stride, target stride), target strides descending, none mergeable.

    A source of None stands for zeros.
    """

    source: str | None
    start: int
    target: int
    dims: tuple[tuple[int, int, int], ...]

    @property
    def numel(self) -> int:
        return prod(n for n, _, _ in self.dims)

    @property
    def run(self) -> int:
        """How many elements are contiguous on both sides."""
        return self.dims[-1][0] if self.dims and self.dims[-1][1:] == (1, 1) else 1

    @property
    def contiguous(self) -> bool:
        return self.run == self.numel

    def extent(self) -> int:
        """The distance from the first target element to just past the last."""
        return sum((n - 1) * t for n, _, t in self.dims) + 1

    def source_extent(self) -> int:
        """The distance from the first source element to just past the last."""
        return sum((n - 1) * s for n, s, _ in self.dims) + 1


def box(source: str | None, start: int, target: int, dims: Iterable[tuple[int, int, int]]) -> Box:
    """A box in normal form: unit dimensions dropped, mergeable ones merged.

    >>> box("w", 0, 6, [(2, 3, 3), (3, 1, 1)])
    Box(source='w', start=0, target=6, dims=((6, 1, 1),))
    """
    return Box(source, start, target, _normal(tuple(dims)))


@lru_cache(maxsize=4096)  # the layers of a model, and its experts, are alike
def _normal(dims: tuple[tuple[int, int, int], ...]) -> tuple[tuple[int, int, int], ...]:
    merged: list[tuple[int, int, int]] = []
    for n, s, t in sorted((d for d in dims if d[0] != 1), key=lambda d: (d[2], d[1])):
        if merged and (merged[-1][0] * merged[-1][1], merged[-1][0] * merged[-1][2]) == (s, t):
            merged[-1] = (merged[-1][0] * n, merged[-1][1], merged[-1][2])
        else:
            merged.append((n, s, t))
    return tuple(reversed(merged))


def place(pieces: Iterable[Piece], axes: Sequence[str], leaf: Leaf) -> Iterator[Box]:
    """The boxes that put a role (its ``pieces`` over ``axes``) where ``leaf`` says."""
    stride_of = dict(zip(leaf.axes, leaf.strides, strict=True))
    strides = tuple(stride_of[axis] for axis in axes)
    for piece in pieces:
        if prod(piece.size):
            target = leaf.offset + sum(i * t for i, t in zip(piece.start, strides, strict=True))
            yield box(piece.source, piece.offset, target, zip(piece.size, piece.stride, strides, strict=True))


def joined(boxes: Iterable[Box]) -> tuple[Box, ...]:
    """The same copies in as few boxes as neighbours allow, by ascending target.

    Two boxes join where one goes on where the other ends along a dimension that both share: so the leaves of a fused
    tensor that is only renamed become one contiguous box again.
    """
    pending = sorted(boxes, key=lambda b: b.target)
    while True:
        done: list[Box] = []
        for current in pending:
            # A neighbour may lie a few boxes back when sums nest; what is further cannot touch.
            for back in range(len(done) - 1, max(len(done) - 9, -1), -1):
                if (union := _union(done[back], current)) is not None:
                    done[back] = union
                    break
            else:
                done.append(current)
        if len(done) == len(pending):
            return tuple(done)
        pending = done


def _union(a: Box, b: Box) -> Box | None:
    """One box for both, when ``b`` continues ``a`` along one dimension."""
    if a.source != b.source:
        return None
    source_step, target_step = b.start - a.start, b.target - a.target
    if len(a.dims) == len(b.dims):
        differing = [i for i, (x, y) in enumerate(zip(a.dims, b.dims, strict=True)) if x != y]
        if len(differing) > 1:
            return None
        for i in differing or range(len(a.dims)):
            (n, s, t), (m, *strides) = a.dims[i], b.dims[i]
            if strides == [s, t] and (source_step, target_step) == (n * s, n * t):
                return box(a.source, a.start, a.target, (*a.dims[:i], (n + m, s, t), *a.dims[i + 1 :]))
        if not differing:
            return _pair(a, source_step, target_step)
        return None
    return _extend(a, b, source_step, target_step) or _prepend(a, b, source_step, target_step)


def _pair(a: Box, source_step: int, target_step: int) -> Box | None:
    """Two equal boxes: a new dimension of two, where the targets still nest."""
    both = box(a.source, a.start, a.target, (*a.dims, (2, source_step, target_step)))
    room = 1
    for n, _, t in reversed(both.dims):
        if t < room:
            return None
        room += (n - 1) * t
    return both


def _extend(a: Box, b: Box, source_step: int, target_step: int) -> Box | None:
    """``b`` is one more step of the dimension that ``a`` has and ``b`` lacks."""
    for i, (n, s, t) in enumerate(a.dims):
        if a.dims[:i] + a.dims[i + 1 :] == b.dims and (source_step, target_step) == (n * s, n * t):
            return box(a.source, a.start, a.target, (*a.dims[:i], (n + 1, s, t), *a.dims[i + 1 :]))
    return None


def _prepend(a: Box, b: Box, source_step: int, target_step: int) -> Box | None:
    """``a`` is one step before the dimension that ``b`` has and ``a`` lacks."""
    for i, (n, s, t) in enumerate(b.dims):
        if b.dims[:i] + b.dims[i + 1 :] == a.dims and (source_step, target_step) == (s, t):
            return box(a.source, a.start, a.target, (*b.dims[:i], (n + 1, s, t), *b.dims[i + 1 :]))
    return None


def clip(whole: Box, low: int, high: int) -> Iterator[Box]:
    """The parts of a box whose target lies in ``[low, high)``: a window of rows costs no more than its boundary."""
    for offsets, counts in spans(whole.target, tuple((n, t) for n, _, t in whole.dims), low, high):
        start = whole.start + sum(i * s for i, (_, s, _) in zip(offsets, whole.dims, strict=True))
        target = whole.target + sum(i * t for i, (_, _, t) in zip(offsets, whole.dims, strict=True))
        dims = ((c, s, t) for c, (_, s, t) in zip(counts, whole.dims, strict=True))
        yield box(whole.source, start, target, dims)


def spans(
    offset: int, dims: tuple[tuple[int, int], ...], low: int, high: int
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Rectangles (first index, count per dimension) of a strided set whose addresses lie in ``[low, high)``.

    ``dims`` are (count, stride) with strides descending and every dimension's inner extent within its stride.
    """
    extent = sum((n - 1) * t for n, t in dims) + 1
    if any(n == 0 for n, _ in dims) or offset >= high or offset + extent <= low:
        return
    if low <= offset and offset + extent <= high:
        yield (0,) * len(dims), tuple(n for n, _ in dims)
        return
    (count, stride), inner = dims[0], dims[1:]
    inside = extent - (count - 1) * stride
    first = max(0, -((offset + inside - 1 - low) // stride)) if offset + inside - 1 < low else 0
    last = min(count - 1, (high - 1 - offset) // stride)
    whole_first = max(first, -((offset - low) // stride) if offset < low else 0)
    whole_last = min(last, (high - inside - offset) // stride)
    if whole_first > whole_last:
        for i in range(first, last + 1):
            yield from _prefixed(i, spans(offset + i * stride, inner, low, high))
        return
    for i in range(first, whole_first):
        yield from _prefixed(i, spans(offset + i * stride, inner, low, high))
    yield (whole_first, *(0 for _ in inner)), (whole_last - whole_first + 1, *(n for n, _ in inner))
    for i in range(whole_last + 1, last + 1):
        yield from _prefixed(i, spans(offset + i * stride, inner, low, high))


def _prefixed(
    index: int, rectangles: Iterable[tuple[tuple[int, ...], tuple[int, ...]]]
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    for first, count in rectangles:
        yield (index, *first), (1, *count)
