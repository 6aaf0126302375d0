"""New rows made again as an edit says that they begin, from the output's own old rows, and compared value by value.

Written from what the edits promise and not from what makes the rows: means in float64, torch's own stream of normal numbers,
and around the mean what transformers' `_init_added_embeddings_weights_with_mean` draws, whose covariance is 1e-9 of the rows'.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from convert.verification.asked import Made
from convert.verification.decoder import Decoder
from convert.verification.verdict import ROUNDOFF

_ROUNDED = 4.0  # roundoffs of the stored type that a row may be off by: it is rounded once, and what it is made of was too
_SUMMED = 2.0**-20  # of its parts' size, which sums in float32 may lose
_NEAR = 1e-9**0.5
_DEVIATIONS = 8.0  # that a row drawn close to the mean may be away from it
_BLOCK = 1 << 20  # values at a time


def remade(decoder: Decoder, made: Sequence[Made]) -> tuple[frozenset[int], str]:
    """The rows that are what they were said to be, in the embeddings and the head; and the first that is not, in words."""
    names = matrices(decoder)
    if not names:
        return frozenset(), ""
    proven: set[int] = set()
    for one in made:
        for place, name in enumerate(names):
            if (row := _first_other(decoder, name, place, one)) is not None:
                return frozenset(proven), f"row {row} of {name} is not what weightsmith.json says of it ({_words(one)})"
        proven |= set(range(one.first, one.first + one.count))
    return frozenset(proven), ""


def matrices(decoder: Decoder) -> tuple[str, ...]:
    """The names of the embeddings, and of the head where it is another tensor; none where files are no whole matrices."""
    names = (getattr(decoder, end, None) for end in ("embedding", "output"))
    return tuple(dict.fromkeys(name for name in names if isinstance(name, str) and decoder.weights.has(name)))


def _first_other(decoder: Decoder, name: str, place: int, made: Made) -> int | None:
    """The first row that is none of those that it may be."""
    weights, width = decoder.weights, decoder.hidden
    mean, spread = _moments(decoder, name, made.old) if made.how in ("mean", "mean-cov") else (torch.zeros(()), 0.0)
    with weights.recorded() as kinds:
        weights.rows(name, 0, 1)
    loss = _ROUNDED * max(ROUNDOFF.get(kind, 0.0) for kind in kinds)
    drawn = _drawn(made, place, width) if made.how == "normal" else None
    step = max(1, _BLOCK // width)
    for low in range(0, made.count, step):
        count = min(step, made.count - low)
        found = weights.rows(name, made.first + low, made.first + low + count).double()
        if made.how == "mixed":
            for at, ways in enumerate(made.ways[low : low + count]):
                if not any(_near(found[at], _mixed(decoder, name, way), loss) for way in ways):
                    return made.first + low + at
            continue
        wanted = drawn[low : low + count].double() if drawn is not None else mean.expand_as(found)
        away = _DEVIATIONS * _NEAR if made.how == "mean-cov" else _SUMMED
        sizes = wanted.square().mean(-1).sqrt()
        right = (found - wanted).square().mean(-1).sqrt() <= (loss + _SUMMED) * sizes + away * spread
        if not right.all():
            return made.first + low + int((~right).nonzero()[0, 0])
    return None


def _near(found: Tensor, parts: Tensor, loss: float) -> bool:
    """Whether a row is the sum of these parts, as far as rounding lets it be."""
    wanted = parts.sum(0)
    off, size = ((row.square().mean().sqrt()) for row in (found - wanted, wanted))
    return bool(off <= loss * size + _SUMMED * parts.square().mean(-1).sqrt().sum())


def _mixed(decoder: Decoder, name: str, way: Sequence[tuple[int, float]]) -> Tensor:
    """The parts of a row, one below the other."""
    if not way:
        return torch.zeros((0, decoder.hidden), dtype=torch.float64)
    rows = decoder.weights.embed(torch.tensor([row for row, _ in way]), name).double()
    return rows * torch.tensor([weight for _, weight in way], dtype=torch.float64)[:, None]


def _moments(decoder: Decoder, name: str, old: int) -> tuple[Tensor, float]:
    """The mean of the old rows, and the root mean square of what they are away from it."""
    total = torch.zeros(decoder.hidden, dtype=torch.float64)
    square = 0.0
    for low, high in _steps(old, decoder.hidden):
        rows = decoder.weights.rows(name, low, high).double().cpu()
        total += rows.sum(0)
        square += float(rows.square().sum())
    mean = total / old
    return mean, max(square / (old * decoder.hidden) - float(mean.square().mean()), 0.0) ** 0.5


def _drawn(made: Made, place: int, width: int) -> Tensor:
    """What torch draws of the seed's stream; each matrix has a stream of its own."""
    generator = torch.Generator().manual_seed(made.seed + place)
    return torch.empty((made.count, width)).normal_(generator=generator) * made.deviation


def _steps(rows: int, width: int) -> Iterator[tuple[int, int]]:
    step = max(1, _BLOCK // width)
    yield from pairwise([*range(0, rows, step), rows])


def _words(made: Made) -> str:
    return {
        "mean": f"the mean of the {made.old} old rows", "mean-cov": f"drawn close to the mean of the {made.old} old rows",
        "zero": "zeros", "normal": f"normal numbers of deviation {made.deviation:.4g} and seed {made.seed}",
        "mixed": "the mean of the rows that its token was cut into before",
    }[made.how]  # fmt: skip
