"""Values that add to a tensor: a product of low rank, another tensor, rows that it lacks."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import TYPE_CHECKING, ClassVar

from surgery.values import Expr, NoInverse, Region, Value, joined, zeros

if TYPE_CHECKING:
    import torch

#: the axis over which the two factors of a low-rank product are multiplied
RANK = "rank"
_BLOCK = 1 << 22  # elements of one block of a tensor that is folded


@dataclass(frozen=True, slots=True)
class LowRank(Value):
    """The first input plus ``factor`` times the product of the other two, in float32, rounded once.

    ``left`` is over some of the axes and then ``rank``, ``right`` over ``rank`` and then the others: LoRA's B and A.
    """

    factor: float = 1.0

    def needs(self, region: Region) -> tuple[Region, ...]:
        span = dict(zip(self.axes, region, strict=True))
        _, left, right = self.inputs
        return (
            region,
            (*(span[axis] for axis in left.axes[:-1]), (0, left.shape[-1])),
            ((0, right.shape[0]), *(span[axis] for axis in right.axes[1:])),
        )

    def compute(self, region: Region, *arrays: torch.Tensor) -> torch.Tensor:
        import torch

        base, left, right = arrays
        _, b, a = self.inputs
        axes = (*b.axes[:-1], *a.axes[1:])
        shape = (*left.shape[:-1], *right.shape[1:])
        order = [self.axes.index(axis) for axis in axes]
        rows = base.permute(order).reshape(prod(left.shape[:-1]), -1)
        factors = (left.reshape(rows.shape[0], -1).to(base.dtype), right.reshape(-1, rows.shape[1]).to(base.dtype))
        # a copy of the base costs a third of the product; rows that are no block of memory share theirs
        summed = (rows.addmm_ if rows.is_contiguous() else partial(torch.addmm, rows))(*factors, alpha=self.factor)
        return summed.reshape(shape).permute([axes.index(axis) for axis in self.axes])

    def undo(self, expr: Expr) -> Expr:
        return replace(self, inputs=(expr, *self.inputs[1:]), factor=-self.factor)

    def describe(self) -> str:
        return f"plus {self.factor:.9g} times a product of rank {self.inputs[1].shape[-1]}"


def low_rank(expr: Expr, left: Expr, right: Expr, factor: float) -> LowRank:
    return LowRank(expr.axes, expr.shape, expr.dtype, (expr, left, right), factor)


@dataclass(frozen=True, slots=True)
class Added(Value):
    """The first input plus ``factor`` times the second, in float32, rounded once."""

    factor: float = 1.0

    def compute(self, region: Region, *arrays: torch.Tensor) -> torch.Tensor:
        return arrays[0] + self.factor * arrays[1]

    def undo(self, expr: Expr) -> Expr:
        return replace(self, inputs=(expr, self.inputs[1]), factor=-self.factor)

    def describe(self) -> str:
        by = {1.0: "plus", -1.0: "minus"}.get(self.factor, f"plus {self.factor:.9g} times")
        return f"{by} another tensor"


def added(expr: Expr, other: Expr, factor: float = 1.0, dtype: str = "") -> Added:
    """``expr + factor * other``, stored as ``dtype`` (default: the type of ``expr``)."""
    assert (expr.axes, expr.shape) == (other.axes, other.shape), (expr, other)
    return Added(expr.axes, expr.shape, dtype or expr.dtype, (expr, other), factor)


@dataclass(frozen=True, slots=True)
class Folded(Value):
    """A value of which every region needs all of its input: that is handed over in ``blocks``, so memory is bounded."""

    def blocks(self) -> Iterator[Region]:
        """Regions that cover the input in a fixed order: blocks of whole rows."""
        (expr,) = self.inputs
        step = max(1, _BLOCK // max(1, prod(expr.shape[1:])))
        for first in range(0, expr.shape[0], step):
            yield ((first, min(step, expr.shape[0] - first)), *expr.whole[1:])

    def folded(self, state: torch.Tensor | None, array: torch.Tensor) -> torch.Tensor:
        """What is known after another block."""
        raise NotImplementedError(type(self).__name__)

    def settled(self, state: torch.Tensor) -> torch.Tensor:
        """What every region is made from, out of what is known after the last block; by default that itself."""
        return state

    def finished(self, region: Region, state: torch.Tensor) -> torch.Tensor:
        """The values of a region from what ``settled`` returned."""
        raise NotImplementedError(type(self).__name__)


@dataclass(frozen=True, slots=True)
class Norms(Folded):
    """L2 norms of the input over all its axes but those of this tensor, summed in float64."""

    def folded(self, state: torch.Tensor | None, array: torch.Tensor) -> torch.Tensor:
        import torch

        (expr,) = self.inputs
        kept = [expr.axes.index(axis) for axis in self.axes]
        over = [at for at in range(len(expr.axes)) if at not in kept]
        squares = array.double().square().permute(*kept, *over).reshape(*(array.shape[at] for at in kept), -1).sum(-1)
        if state is None:
            return squares
        return torch.cat((state, squares), kept.index(0)) if 0 in kept else state + squares

    def settled(self, state: torch.Tensor) -> torch.Tensor:
        return state.sqrt()

    def finished(self, region: Region, state: torch.Tensor) -> torch.Tensor:
        import torch

        for at, (first, count) in enumerate(region):
            state = state.narrow(at, first, count)
        return state.to(torch.float64 if self.dtype == "F64" else torch.float32)

    def describe(self) -> str:
        return "L2 norms"


@dataclass(frozen=True, slots=True)
class Renormed(Value):
    """The first input, of which each output gets the norm that the second says, in place of the third, its own."""

    def needs(self, region: Region) -> tuple[Region, ...]:
        span = dict(zip(self.axes, region, strict=True))
        return (region, *(tuple(span[axis] for axis in expr.axes) for expr in self.inputs[1:]))

    def compute(self, region: Region, *arrays: torch.Tensor) -> torch.Tensor:
        values, wanted, norms = arrays
        axes = self.inputs[1].axes
        order = sorted(range(len(axes)), key=lambda at: self.axes.index(axes[at]))
        shape = [count if axis in axes else 1 for axis, (_, count) in zip(self.axes, region, strict=True)]
        return values * (wanted / norms).permute(order).reshape(shape)

    def describe(self) -> str:
        return "each output given a norm of its own"


def renormed(expr: Expr, wanted: Expr) -> Renormed:
    """``expr`` with the L2 norms of ``wanted``, which is over the axes that tell outputs apart: DoRA's magnitudes."""
    norms = Norms(wanted.axes, wanted.shape, expr.dtype, (expr,))
    return Renormed(expr.axes, expr.shape, expr.dtype, (expr, wanted, norms))


@dataclass(frozen=True, slots=True)
class RowsReplaced(Value):
    """The first input with the rows ``at``, in ascending order, replaced by those of the second that ``by`` names."""

    at: tuple[int, ...] = ()
    by: tuple[int, ...] = ()

    def reads(self, region: Region) -> Iterator[tuple[Expr, Region]]:
        yield self.inputs[0], region
        for place in self._inside(region):
            yield self.inputs[1], ((self.by[place], 1), *region[1:])

    def compute(self, region: Region, *arrays: torch.Tensor) -> torch.Tensor:
        for place, row in zip(self._inside(region), arrays[1:], strict=True):
            arrays[0][self.at[place] - region[0][0]] = row[0]
        return arrays[0]

    def undo(self, expr: Expr) -> Expr:
        raise NoInverse("the rows that stood there are not stored")

    def describe(self) -> str:
        return f"{len(self.at):,} rows replaced"

    def _inside(self, region: Region) -> range:
        first, count = region[0]
        return range(bisect_left(self.at, first), bisect_left(self.at, first + count))


def with_rows(expr: Expr, at: Sequence[int], new: Expr) -> RowsReplaced:
    """``expr`` with its rows ``at`` replaced by those of ``new``, in their order."""
    assert len(at) == new.shape[0] and max(at, default=0) < expr.shape[0], (len(at), new.shape, expr.shape)
    by = sorted(range(len(at)), key=lambda place: at[place])
    return RowsReplaced(expr.axes, expr.shape, expr.dtype, (expr, new), tuple(at[place] for place in by), tuple(by))


@dataclass(frozen=True, slots=True)
class MeanRows(Folded):
    """Rows that are each the mean of all rows of the input, summed in float64."""

    new: ClassVar[bool] = True

    def folded(self, state: torch.Tensor | None, array: torch.Tensor) -> torch.Tensor:
        total = array.double().sum(0)
        return total if state is None else state + total

    def finished(self, region: Region, state: torch.Tensor) -> torch.Tensor:
        import torch

        mean = (state / self.inputs[0].shape[0]).to(torch.float64 if self.dtype == "F64" else torch.float32)
        for at, (first, count) in enumerate(region[1:]):
            mean = mean.narrow(at, first, count)
        return mean.expand(region[0][1], *mean.shape)

    def describe(self) -> str:
        return "rows of the mean"


def with_zero_rows(expr: Expr, rows: int) -> Expr:
    """``expr`` with zeros behind its last row until it has ``rows``; what is only moved is still only moved."""
    lacking = zeros(expr.axes, (rows - expr.shape[0], *expr.shape[1:]), expr.dtype)
    return joined(expr, lacking, expr.axes[0]) if rows != expr.shape[0] else expr


def with_mean_rows(expr: Expr, rows: int) -> Expr:
    """``expr`` with the mean of its rows behind the last, until it has ``rows``."""
    lacking = MeanRows(expr.axes, (rows - expr.shape[0], *expr.shape[1:]), expr.dtype, (expr,))
    return joined(expr, lacking, expr.axes[0]) if rows != expr.shape[0] else expr
