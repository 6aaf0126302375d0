"""Both miniatures as functions: which prompts they read, who computes them, and how far apart they come out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from convert.witness.vocabulary import Vocabulary

_LENGTHS = (1, 9, 40)  # always; the lengths that configs name come beside them
_PAST = 3  # tokens beyond a length that something is about
_LONGEST = 4608
_AFFORDABLE = 20e9  # multiplications of one prompt in one model
_NAMED = ("position", "window", "length", "context", "chunk", "floor_scale", "max_seq", "block_size", "n_ctx")
_ROUNDOFF = 2.0**-24
_GROWTH = 24.0  # roundoffs that a layer adds at most, on the way to the logits (measured: 2 to 9)
_FLIPS = 0.02  # share of positions at which two experts may be so near that rounding chooses


@dataclass(frozen=True)
class Shape:
    """What a run of a miniature costs by."""

    layers: int
    width: int  # of all query heads together
    weights: int  # elements that one token passes through, at most

    def cost(self, length: int) -> float:
        """Multiplications of one prompt of this length, in both directions of attention."""
        return float(length * self.weights + 2 * self.layers * self.width * length**2)


def lengths(configs: Sequence[Mapping[str, Any]], shape: Shape, limit: int | None) -> tuple[int, ...]:
    """How long the prompts are: some short ones, and past every length that a config names, where that is affordable.

    ``limit`` is the length up to which both sides claim to be the same, if they do not claim it for any.
    """
    named = {value for config in configs for value in _named(config)}
    wanted = {*_LENGTHS, *(value + _PAST for value in named)}
    if limit is not None:
        wanted = {min(length, limit) for length in wanted}
    return tuple(sorted(n for n in wanted if n <= _LONGEST and shape.cost(n) <= _AFFORDABLE))


def _named(config: Mapping[str, Any]) -> set[int]:
    found: set[int] = set()
    for key, value in config.items():
        if isinstance(value, Mapping):
            found |= _named(value)
        elif type(value) is int and value > 0 and any(word in key for word in _NAMED):
            found.add(value)
    return found


def prompts(vocabulary: Vocabulary, wanted: Sequence[int]) -> tuple[list[Tensor], list[Tensor]]:
    """Random prompts of tokens that both sides have, in each side's ids."""
    random = torch.Generator().manual_seed(5)
    pairs = torch.tensor(vocabulary.pairs)
    drawn = [torch.randint(len(pairs), (2 if length < 100 else 1, length), generator=random) for length in wanted]
    return [pairs[one, 0] for one in drawn], [pairs[one, 1] for one in drawn]


@dataclass(frozen=True)
class Distance:
    """How far the output's logits are from the source's, relative to their spread, and what rounding may do."""

    error: float
    allowed: float
    length: int  # at which the error is largest

    @property
    def passed(self) -> bool:
        return self.error <= self.allowed  # false for NaN


def distance(
    source: Sequence[Tensor], output: Sequence[Tensor], vocabulary: Vocabulary, layers: int, choosing: bool
) -> Distance:
    """The largest error over all prompts; where experts are chosen, of the positions but for a few."""
    pairs = torch.tensor(vocabulary.pairs)
    found = []
    for one, other in zip(source, output, strict=True):
        a, b = one[..., pairs[:, 0]].double(), other[..., pairs[:, 1]].double()
        spread = (a - a.mean(-1, keepdim=True)).square().mean().sqrt().clamp(min=1e-30)
        off = (a - b).square().mean(-1).sqrt().flatten() / spread
        if choosing and off.isfinite().all():
            off = off.sort().values[: max(1, int(len(off) * (1 - _FLIPS)))]
        # angles are taken in float32 by some and in float64 by others: each position adds a roundoff
        allowed = _GROWTH * (layers + 1) * _ROUNDOFF + one.shape[-2] * _ROUNDOFF
        error = float(off.square().mean().sqrt())
        found.append(Distance(error, allowed, one.shape[-2]))
    return max(found, key=lambda each: (not each.passed, each.error / each.allowed))
