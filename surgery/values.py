"""Expressions: what a role is made of, from bytes that were only moved to values that are computed.

``Moved`` is the leaf. Every other node is a *value*: it names its inputs, says which region of each input a region of
its output needs (its access), and computes that region. An evaluator needs nothing else to stream any expression in row
blocks under a memory bound. Arithmetic is done in float32 (float64 for F64 sources) and rounded once, by the writer.

Each value states its exactness and its inverse, or why it has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from operator import sub
from typing import TYPE_CHECKING, ClassVar, TypeVar

from surgery.dtypes import FLOATS
from surgery.errors import ConversionError
from surgery.layout import Leaf
from surgery.movement import Piece, Span

if TYPE_CHECKING:
    import torch

Region = tuple[Span, ...]
T = TypeVar("T")
E = TypeVar("E", bound="Expr")

_NOWHERE = Leaf(0, (), (), ())


class Exactness(IntEnum):
    """The contract of a step; a plan's is the weakest of its steps."""

    BYTE = 0  # every output byte is a copy of an input byte (in a wider type the same value), or a written zero or one
    ALGEBRAIC = 1  # the same real function; each value rounded once
    APPROXIMATE = 2  # only when asked for by name

    def __str__(self) -> str:
        return self.name.lower()


class NoInverse(ValueError):
    """The value loses information; the message says which."""


#: (from, to) pairs of element types where every value survives.
WIDENING = frozenset(
    {("F16", "F32"), ("BF16", "F32"), ("F16", "F64"), ("BF16", "F64"), ("F32", "F64"), ("F8_E4M3", "F16")}
    | {("F8_E4M3", "BF16"), ("F8_E4M3", "F32"), ("F8_E5M2", "F16"), ("F8_E5M2", "BF16"), ("F8_E5M2", "F32")}
)


@dataclass(frozen=True, slots=True)
class Expr:
    """A tensor over named axes."""

    axes: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str

    @property
    def whole(self) -> Region:
        return tuple((0, n) for n in self.shape)


@dataclass(frozen=True, slots=True)
class Moved(Expr):
    """Every element is an element of a source, or zero (a piece whose source is None)."""

    pieces: tuple[Piece, ...] = ()


@dataclass(frozen=True, slots=True)
class Value(Expr):
    """A computed tensor. ``inputs`` are read in the regions that ``needs`` names, in the same order."""

    inputs: tuple[Expr, ...] = ()

    exactness: ClassVar[Exactness] = Exactness.ALGEBRAIC
    new: ClassVar[bool] = False  # values that no model had before: rows of tokens that are added

    def needs(self, region: Region) -> tuple[Region, ...]:
        """Elementwise unless a subclass says otherwise."""
        return (region,) * len(self.inputs)

    def reads(self, region: Region) -> Iterable[tuple[Expr, Region]]:
        """What to read for a region, in the order in which ``compute`` gets it: one region of each input."""
        return zip(self.inputs, self.needs(region), strict=True)

    def compute(self, region: Region, *arrays: torch.Tensor) -> torch.Tensor:
        """The region's values from those of the inputs; ``arrays`` are nobody else's and may be written into."""
        raise NotImplementedError(type(self).__name__)

    def undo(self, expr: Expr) -> Expr:
        raise NoInverse(f"{type(self).__name__} has no inverse")

    def describe(self) -> str:
        """The operation in a few words, for plans and lineage."""
        return type(self).__name__.lower()


def zeros(axes: tuple[str, ...], shape: tuple[int, ...], dtype: str) -> Moved:
    """A tensor of zeros: moved from nowhere, so of class ``byte``."""
    return Moved(axes, shape, dtype, (Piece(None, 0, (0,) * len(shape), shape, (0,) * len(shape)),))


@dataclass(frozen=True, slots=True)
class Scaled(Value):
    """Every element times ``factor``."""

    factor: float = 1.0

    def compute(self, region: Region, *arrays: torch.Tensor) -> torch.Tensor:
        return arrays[0] * self.factor

    def undo(self, expr: Expr) -> Expr:
        return scaled(expr, 1.0 / self.factor)

    def describe(self) -> str:
        return f"times {self.factor:.9g}"


def scaled(expr: Expr, factor: float) -> Expr:
    """``expr`` times ``factor``; by one it is the very expression, so its bytes stay its bytes.

    >>> x = Moved(("n",), (3,), "F32", ())
    >>> scaled(x, 1.0) is x
    True
    >>> scaled(scaled(x, 4.0), 0.25) is x
    True
    """
    if isinstance(expr, Scaled):
        factor, expr = factor * expr.factor, expr.inputs[0]
    return expr if factor == 1.0 else Scaled(expr.axes, expr.shape, expr.dtype, (expr,), factor)


@dataclass(frozen=True, slots=True)
class Shifted(Value):
    """Every element plus ``amount``: Gemma stores its norm weights minus one."""

    amount: float = 0.0

    def compute(self, region: Region, *arrays: torch.Tensor) -> torch.Tensor:
        return arrays[0] + self.amount

    def undo(self, expr: Expr) -> Expr:
        return shifted(expr, -self.amount)

    def describe(self) -> str:
        return f"plus {self.amount:.9g}"


def shifted(expr: Expr, amount: float) -> Expr:
    """``expr`` plus ``amount``; opposite shifts cancel."""
    if isinstance(expr, Shifted):
        amount, expr = amount + expr.amount, expr.inputs[0]
    return expr if amount == 0.0 else Shifted(expr.axes, expr.shape, expr.dtype, (expr,), amount)


@dataclass(frozen=True, slots=True)
class UnitRows(Value):
    """Every row divided by its L2 norm along one axis (at least 1e-12): Baichuan 2's NormHead.

    torch.nn.functional.normalize with its defaults, in float32 whatever is stored: in bf16 arithmetic 19 % of the
    elements round differently.
    """

    along: str = "hidden"

    def needs(self, region: Region) -> tuple[Region, ...]:
        at = self.axes.index(self.along)
        return ((*region[:at], (0, self.shape[at]), *region[at + 1 :]),)

    def compute(self, region: Region, *arrays: torch.Tensor) -> torch.Tensor:
        import torch

        at = self.axes.index(self.along)
        norms = torch.linalg.vector_norm(arrays[0], dim=at, keepdim=True).clamp_min(1e-12)
        start, length = region[at]
        rows: torch.Tensor = arrays[0].narrow(at, start, length) / norms
        return rows

    def undo(self, expr: Expr) -> Expr:
        raise NoInverse("the norms of the rows are not stored once the rows are of unit length")

    def describe(self) -> str:
        return "rows divided by their L2 norm"


def unit_rows(expr: Expr, along: str) -> Expr:
    return UnitRows(expr.axes, expr.shape, expr.dtype, (expr,), along)


@dataclass(frozen=True, slots=True)
class Dequantised(Value):
    """Every element times the factor of its block: what DeepSeek-V3 stores as float8 with ``weight_scale_inv``.

    The factors (second input) are a matrix with one element per ``block`` of rows and columns of the file's matrix;
    ``rows`` and ``columns`` say, in their strides, which row and column an element of this role is. The product is
    taken in float32: deepseek-ai/DeepSeek-V3 inference/kernel.py:78-86 (multiply, in spite of the name).
    """

    rows: Leaf = _NOWHERE
    columns: Leaf = _NOWHERE
    block: tuple[int, int] = (1, 1)

    def needs(self, region: Region) -> tuple[Region, ...]:
        return region, tuple(_span(self._range(leaf, region), size) for leaf, size in self._lines())

    def compute(self, region: Region, *arrays: torch.Tensor) -> torch.Tensor:
        import torch

        weight, factors = arrays
        at = []
        for leaf, size in self._lines():
            index = torch.full((1,) * len(region), leaf.offset)
            for axis, ((first, count), stride) in enumerate(zip(region, leaf.strides, strict=True)):
                if stride:
                    shape = [count if i == axis else 1 for i in range(len(region))]
                    index = index + torch.arange(first, first + count).mul_(stride).reshape(shape)
            at.append(index // size - self._range(leaf, region)[0] // size)
        return weight * factors[at[0], at[1]]

    def _lines(self) -> tuple[tuple[Leaf, int], tuple[Leaf, int]]:
        return (self.rows, self.block[0]), (self.columns, self.block[1])

    @staticmethod
    def _range(leaf: Leaf, region: Region) -> Span:
        """The first and the last row (or column) that a region touches."""
        low = leaf.offset + sum(first * stride for (first, _), stride in zip(region, leaf.strides, strict=True))
        return low, low + sum((count - 1) * stride for (_, count), stride in zip(region, leaf.strides, strict=True))

    def undo(self, expr: Expr) -> Expr:
        raise NoInverse("the scales of the blocks are not stored once the weights are multiplied by them")

    def describe(self) -> str:
        return f"blocks of {self.block[0]} x {self.block[1]} times their scales"


def _span(touched: Span, size: int) -> Span:
    first = touched[0] // size
    return first, touched[1] // size - first + 1


def dequantised(expr: Expr, factors: Expr, rows: Leaf, columns: Leaf, block: tuple[int, int]) -> Dequantised:
    """``expr`` times the ``factors`` of its blocks, stored as bfloat16 unless cast."""
    return Dequantised(expr.axes, expr.shape, "BF16", (expr, factors), rows, columns, block)


@dataclass(frozen=True, slots=True)
class Joined(Value):
    """Computed tensors laid one after another along one axis."""

    at: int = 0

    exactness: ClassVar[Exactness] = Exactness.BYTE

    def needs(self, region: Region) -> tuple[Region, ...]:
        (first, count), begin, found = region[self.at], 0, []
        for part in self.inputs:
            low, high = (min(max(edge - begin, 0), part.shape[self.at]) for edge in (first, first + count))
            found.append((*region[: self.at], (low, high - low), *region[self.at + 1 :]))
            begin += part.shape[self.at]
        return tuple(found)

    def compute(self, region: Region, *arrays: torch.Tensor) -> torch.Tensor:
        import torch

        return torch.cat(arrays, dim=self.at)

    def undo(self, expr: Expr) -> Expr:
        raise NoInverse("one tensor does not become several")

    def describe(self) -> str:
        return "joined"


def joined(first: Expr, second: Expr, axis: str) -> Expr:
    """``second`` behind ``first`` along ``axis``, however ``second`` calls that axis; what is moved stays moved."""
    at = first.axes.index(axis)
    begin = first.shape[at]
    shape = (*first.shape[:at], begin + second.shape[at], *first.shape[at + 1 :])
    if not (isinstance(first, Moved) and isinstance(second, Moved)):
        return Joined(first.axes, shape, first.dtype, (first, second), at)
    behind = tuple(replace(p, start=(*p.start[:at], p.start[at] + begin, *p.start[at + 1 :])) for p in second.pieces)
    return Moved(first.axes, shape, first.dtype, (*first.pieces, *behind))


def renamed(expr: E, old: str, new: str) -> E:
    """The same values with one axis called otherwise."""
    return replace(expr, axes=tuple(new if axis == old else axis for axis in expr.axes))


@dataclass(frozen=True, slots=True)
class Narrowed(Value):
    """A region of a computed tensor, as a tensor of its own."""

    start: tuple[int, ...] = ()

    exactness: ClassVar[Exactness] = Exactness.BYTE

    def needs(self, region: Region) -> tuple[Region, ...]:
        return (tuple((first + own, count) for (first, count), own in zip(region, self.start, strict=True)),)

    def compute(self, region: Region, *arrays: torch.Tensor) -> torch.Tensor:
        return arrays[0]

    def undo(self, expr: Expr) -> Expr:
        raise NoInverse("what lies outside the region is not stored")

    def describe(self) -> str:
        return "cut"


def narrowed(expr: Expr, region: Region) -> Expr:
    """The part of ``expr`` inside ``region``; of what is only moved, pieces of pieces."""
    start, shape = tuple(first for first, _ in region), tuple(count for _, count in region)
    if region == expr.whole:
        return expr
    if not isinstance(expr, Moved):
        return Narrowed(expr.axes, shape, expr.dtype, (expr,), start)
    inside = (part for piece in expr.pieces if (part := piece.within(region)) is not None)
    moved = tuple(replace(part, start=tuple(map(sub, part.start, start))) for part in inside)
    return Moved(expr.axes, shape, expr.dtype, moved)


@dataclass(frozen=True, slots=True)
class Cast(Value):
    """The same values as another element type; the writer rounds, so only a cast under another has something to compute.

    What exceeds the type is refused by the writer, or with ``clamp`` stored as the largest number it has.
    """

    clamp: bool = False

    def compute(self, region: Region, *arrays: torch.Tensor) -> torch.Tensor:
        (below,) = self.inputs
        return below.rounded(arrays[0]) if isinstance(below, Cast) else arrays[0]

    def rounded(self, exact: torch.Tensor) -> torch.Tensor:
        """Computed values as they would be read again from the type of this cast."""
        import torch

        dtype = getattr(torch, FLOATS[self.dtype])
        limit = torch.finfo(dtype).max
        beyond = exact.to(dtype).isinf() & exact.isfinite()
        if not self.clamp and bool(beyond.any()):
            raise ConversionError(
                f"{int(beyond.sum()):,} or more values exceed {limit:g}, the largest number of {FLOATS[self.dtype]}, which an "
                "edit asks for on the way to another type. Leave that step out, or let it clamp."
            )
        return torch.where(beyond, exact.clamp(-limit, limit), exact).to(dtype).to(exact.dtype)

    def undo(self, expr: Expr) -> Expr:
        if (self.inputs[0].dtype, self.dtype) not in WIDENING:
            raise NoInverse(f"{self.inputs[0].dtype} to {self.dtype} loses digits")
        return cast(expr, self.inputs[0].dtype)

    def describe(self) -> str:
        return f"{self.inputs[0].dtype} to {self.dtype}"


def cast(expr: Expr, dtype: str, clamp: bool = False) -> Expr:
    """``expr`` stored as ``dtype``; ``clamp`` as in ``Cast``."""
    if expr.dtype == dtype:
        return expr
    if isinstance(expr, Cast) and expr.inputs[0].dtype == dtype and (dtype, expr.dtype) in WIDENING:
        return expr.inputs[0]
    return Cast(expr.axes, expr.shape, dtype, (expr,), clamp)


def clamps(expr: Expr) -> bool:
    """Whether values that exceed the type of ``expr`` are to be stored as its largest."""
    return isinstance(expr, Value) and (getattr(expr, "clamp", False) or any(map(clamps, expr.inputs)))


def exactness(expr: Expr, *, kept: bool = False) -> Exactness:
    """The weakest step anywhere in an expression; with ``kept`` only of the values that were there before, not of new ones."""
    if kept and isinstance(expr, Value) and expr.new:
        return Exactness.BYTE
    if isinstance(expr, Cast):
        wider = (expr.inputs[0].dtype, expr.dtype) in WIDENING
        own = Exactness.BYTE if wider else Exactness.APPROXIMATE
        # Values that were computed are rounded once anyway: a cast on top of them only says to what.
        if not wider and isinstance(expr.inputs[0], Value) and expr.dtype == "F32":
            own = Exactness.ALGEBRAIC
        return max(own, exactness(expr.inputs[0], kept=kept))
    if isinstance(expr, Value):
        return max([type(expr).exactness, *(exactness(e, kept=kept) for e in expr.inputs)])
    return Exactness.BYTE


def operations(expr: Expr) -> tuple[str, ...]:
    """What is done to the bytes, innermost first."""
    if not isinstance(expr, Value):
        return ()
    inner: tuple[str, ...] = ()
    for source in expr.inputs:
        inner += operations(source)
    return (*inner, expr.describe())


def sources(expr: Expr) -> frozenset[str]:
    """The names of every source tensor that an expression reads."""
    if isinstance(expr, Moved):
        return frozenset(p.source for p in expr.pieces if p.source is not None)
    found: frozenset[str] = frozenset()
    for source in expr.inputs if isinstance(expr, Value) else ():
        found |= sources(source)
    return found


@dataclass(frozen=True, slots=True)
class Reindexed(Value):
    """Slices of a computed tensor at other indices of the axes ``at``: (new index, old index) pairs."""

    at: tuple[int, ...] = ()
    origin: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = ()

    exactness: ClassVar[Exactness] = Exactness.BYTE

    def needs(self, region: Region) -> tuple[Region, ...]:
        olds = tuple(zip(*(old for _, old in self._inside(region)), strict=True))
        return (_replaced(region, self.at, tuple((min(each), max(each) - min(each) + 1) for each in olds)),)

    def compute(self, region: Region, *arrays: torch.Tensor) -> torch.Tensor:
        (array,) = arrays
        out = array.new_empty([count for _, count in region])
        low, begin = (tuple(r[i][0] for i in self.at) for r in (self.needs(region)[0], region))
        whole = (slice(None),) * len(region)
        for new, old in self._inside(region):
            there, here = (tuple(map(sub, index, first)) for index, first in ((new, begin), (old, low)))
            out[_replaced(whole, self.at, tuple(slice(i, i + 1) for i in there))] = array[
                _replaced(whole, self.at, tuple(slice(i, i + 1) for i in here))
            ]
        return out

    def _inside(self, region: Region) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """The pairs whose new index lies in a region."""
        spans = [region[i] for i in self.at]
        return [(n, o) for n, o in self.origin if all(f <= i < f + c for i, (f, c) in zip(n, spans, strict=True))]

    def undo(self, expr: Expr) -> Expr:
        raise NoInverse("which of the repeated slices was the first is not stored")

    def describe(self) -> str:
        return "heads repeated"


def reindexed(
    expr: Expr,
    axes: tuple[str, ...],
    sizes: tuple[int, ...],
    origin: Iterable[tuple[tuple[int, ...], tuple[int, ...]]],
) -> Expr:
    """A tensor whose ``axes`` get new ``sizes``: each (new index, old index) of ``origin`` is one copy.

    Repeats key-value heads and regroups queries, where whole heads move and nothing else happens; what is only moved is
    still only moved.
    """
    at = tuple(expr.axes.index(axis) for axis in axes)
    shape = _replaced(expr.shape, at, sizes)
    if not isinstance(expr, Moved):
        return Reindexed(expr.axes, shape, expr.dtype, (expr,), at, tuple(origin))
    pieces = []
    for new, old in origin:
        region = _replaced(expr.whole, at, tuple((i, 1) for i in old))
        for piece in expr.pieces:
            if (part := piece.within(region)) is not None:
                pieces.append(replace(part, start=_replaced(part.start, at, new)))
    return Moved(expr.axes, shape, expr.dtype, tuple(pieces))


def _replaced(items: tuple[T, ...], at: Sequence[int], new: Sequence[T]) -> tuple[T, ...]:
    changed = list(items)
    for position, item in zip(at, new, strict=True):
        changed[position] = item
    return tuple(changed)
