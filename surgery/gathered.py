"""Values that make rows out of rows: sums of chosen ones, rows drawn at random.

Rows run along the first axis, as in embeddings and output projections.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, ClassVar

from surgery.additions import Folded
from surgery.movement import Span
from surgery.values import Expr, NoInverse, Region, Value

if TYPE_CHECKING:
    import torch

#: (row, weight) of each part; none at all is a row of zeros
Mixture = tuple[tuple[int, float], ...]

_BLOCK = 1 << 22  # random numbers that are drawn at a time to be passed over
_LINE = 16  # numbers that torch draws together: a draw that begins elsewhere gives others
_NEAR = 1e-9  # of the covariance: transformers modeling_utils.py `_init_added_embeddings_weights_with_mean`


def mean_of(rows: Iterable[int]) -> Mixture:
    """Equal parts of these rows.

    >>> mean_of([4, 7, 4])
    ((4, 0.6666666666666666), (7, 0.3333333333333333))
    """
    counts = Counter(rows)
    return tuple((row, count / counts.total()) for row, count in counts.items())


@dataclass(frozen=True, slots=True)
class Mixed(Value):
    """Each row is a sum of rows of the input, each times its weight; a single row of weight 1 keeps every value."""

    mixtures: tuple[Mixture, ...] = ()

    new: ClassVar[bool] = True

    def reads(self, region: Region) -> Iterator[tuple[Expr, Region]]:
        """The rows that the region's mixtures name, in ascending runs."""
        for span in self._runs(region):
            yield self.inputs[0], (span, *region[1:])

    def compute(self, region: Region, *arrays: torch.Tensor) -> torch.Tensor:
        import torch

        (first, count), *rest = region
        parts = [
            (place, row, weight)
            for place, mixture in enumerate(self.mixtures[first : first + count])
            for row, weight in mixture
        ]
        shape = (count, *(length for _, length in rest))
        if not parts:
            return torch.zeros(shape)
        at: dict[int, int] = {}
        have = 0
        for begin, length in self._runs(region):
            at |= {begin + step: have + step for step in range(length)}
            have += length
        table = torch.cat(arrays)
        places = torch.tensor([place for place, _, _ in parts])
        rows = torch.tensor([at[row] for _, row, _ in parts])
        weights = torch.tensor([weight for _, _, weight in parts], dtype=table.dtype)
        summed = torch.zeros(shape, dtype=table.dtype)
        return summed.index_add_(0, places, table[rows] * weights.reshape(-1, *(1,) * len(rest)))

    def undo(self, expr: Expr) -> Expr:
        raise NoInverse("a sum of rows does not tell its parts")

    def describe(self) -> str:
        return f"{len(self.mixtures):,} rows mixed from others"

    def _runs(self, region: Region) -> list[Span]:
        first, count = region[0]
        runs: list[Span] = []
        for row in sorted({row for mixture in self.mixtures[first : first + count] for row, _ in mixture}):
            begin, length = runs[-1] if runs else (-1, 0)
            if runs and begin + length == row:
                runs[-1] = (begin, length + 1)
            else:
                runs.append((row, 1))
        return runs


def mixed(expr: Expr, mixtures: tuple[Mixture, ...]) -> Mixed:
    """Rows made of rows of ``expr``, one for each mixture."""
    return Mixed(expr.axes, (len(mixtures), *expr.shape[1:]), expr.dtype, (expr,), mixtures)


@dataclass(frozen=True, slots=True)
class Drawn(Value):
    """Normal numbers around zero; the stream of ``seed`` is passed through row by row, so blocks do not matter."""

    deviation: float = 1.0
    seed: int = 0

    new: ClassVar[bool] = True

    def compute(self, region: Region, *arrays: torch.Tensor) -> torch.Tensor:
        return _normal(region, self.shape, self.seed, 0) * self.deviation

    def describe(self) -> str:
        return f"{self.shape[0]:,} rows drawn with deviation {self.deviation:.4g}"


def drawn(expr: Expr, rows: int, deviation: float, seed: int) -> Drawn:
    """Rows as wide as those of ``expr``."""
    return Drawn(expr.axes, (rows, *expr.shape[1:]), expr.dtype, (), deviation, seed)


@dataclass(frozen=True, slots=True)
class NearMean(Folded):
    """Rows drawn from the normal distribution of the input's rows, its covariance made 1e-9 times as large.

    Equal to what ``resize_token_embeddings`` of transformers draws behind ``torch.manual_seed(seed)``; ``skipped`` is how
    many numbers it draws before. Where rows are fewer than columns there is no such distribution: then the mean itself.
    """

    seed: int = 0
    skipped: int = 0

    new: ClassVar[bool] = True

    def folded(self, state: torch.Tensor | None, array: torch.Tensor) -> torch.Tensor:
        """Sums of products of columns, and in the last row of columns themselves."""
        import torch

        rows = array.double()
        found = torch.cat((rows.T @ rows, rows.sum(0, keepdim=True)))
        return found if state is None else state.add_(found)

    def settled(self, state: torch.Tensor) -> torch.Tensor:
        """The covariance's lower factor, zero where there is none, and in the last row the mean."""
        import torch

        count = self.inputs[0].shape[0]
        mean = state[-1] / count
        covariance = (state[:-1] / count - torch.outer(mean, mean)).float() * _NEAR
        factor, failed = torch.linalg.cholesky_ex(covariance)
        return torch.cat((torch.zeros_like(covariance) if failed else factor, mean.float()[None]))

    def finished(self, region: Region, state: torch.Tensor) -> torch.Tensor:
        span, (first, length) = region
        rows = _normal((span, (0, self.shape[1])), self.shape, self.seed, self.skipped)
        return (state[-1] + rows @ state[:-1].T).narrow(1, first, length)

    def undo(self, expr: Expr) -> Expr:
        raise NoInverse("what was drawn does not tell from what")

    def describe(self) -> str:
        return f"{self.shape[0]:,} rows drawn close to the mean"


def near_mean(expr: Expr, rows: int, seed: int, skipped: int) -> NearMean:
    """Rows behind ``expr``, drawn from its rows' distribution."""
    return NearMean(expr.axes, (rows, *expr.shape[1:]), expr.dtype, (expr,), seed, skipped)


def drawn_numbers(count: int) -> int:
    """How many numbers of the stream torch takes for a tensor of ``count``: an incomplete line is drawn once more."""
    return count + (_LINE if count % _LINE and count >= _LINE else 0)


def _normal(region: Region, shape: tuple[int, ...], seed: int, skipped: int) -> torch.Tensor:
    """A region of the tensor of ``shape`` that torch would fill behind ``skipped`` numbers of the stream of ``seed``.

    Lines are kept whole, and the last sixteen numbers, which torch draws anew if the last line is not complete, are drawn
    with it: so any region holds the numbers that the whole tensor has there.
    """
    import torch

    width = prod(shape[1:])
    (first, count), *rest = region
    high = min(shape[0], -(-(first + count) // _LINE) * _LINE)
    high = shape[0] if (shape[0] - high) * width < _LINE else high
    low = first - first % _LINE
    low = max(0, low - _LINE) if (high - low) * width < _LINE else low
    generator = torch.Generator().manual_seed(seed)
    before = skipped + low * width
    for begin in range(0, before, _BLOCK):
        torch.empty(min(_BLOCK, before - begin)).uniform_(generator=generator)
    rows = torch.empty((high - low, *shape[1:])).normal_(generator=generator)[first - low :][:count]
    for at, (begin, length) in enumerate(rest, 1):
        rows = rows.narrow(at, begin, length)
    return rows
