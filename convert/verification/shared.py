"""A decoder seen through some of its tokens: what two models of different vocabularies have in common."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from convert.verification.decoder import Decoder
from convert.verification.meaning import Meaning

_GAP = 64  # rows of a head that are computed for nothing rather than begin anew


class Renumbered(Decoder):
    """A decoder whose token ``i`` is the token ``ids[i]`` of another, and that knows no others."""

    def __init__(self, decoder: Decoder, ids: Sequence[int]) -> None:
        super().__init__(decoder.weights, decoder.config)
        self._decoder, self._ids = decoder, torch.tensor(ids, dtype=torch.long)
        self.steps, self.layers, self.hidden, self.vocab = decoder.steps, decoder.layers, decoder.hidden, len(ids)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_decoder"], name)

    @property
    def whole(self) -> Decoder:
        return self._decoder

    @property
    def others(self) -> list[int]:
        """The tokens that have no number here."""
        known = torch.zeros(self._decoder.vocab, dtype=torch.bool)
        known[self._ids] = True
        return (~known).nonzero()[:, 0].tolist()

    @property
    def context(self) -> int | None:
        return self._decoder.context

    def embed(self, ids: Tensor) -> Tensor:
        return self._decoder.embed(self._ids[ids])

    def step(self, label: str, layer: int, x: Tensor, ids: Tensor) -> Tensor:
        return self._decoder.step(label, layer, x, self._ids[ids])

    def finish(self, x: Tensor) -> Tensor:
        return self._decoder.finish(x)

    def head(self, x: Tensor, start: int, stop: int) -> Tensor:
        wanted = self._ids[start:stop]
        out = torch.empty((*x.shape[:-1], len(wanted)), dtype=x.dtype, device=x.device)
        for low, high in _spans(sorted(wanted.tolist())):
            inside = (wanted >= low) & (wanted < high)
            out[..., inside] = self._decoder.head(x, low, high)[..., wanted[inside] - low]
        return out


def shared_texts(texts: Sequence[Sequence[int]], ids: Sequence[int]) -> list[list[int]]:
    """Token ids of texts as numbers in ``ids``; those that are not there are left out."""
    number = {token: place for place, token in enumerate(ids)}
    return [[number[token] for token in text if token in number] for text in texts]


def moved_ids(meaning: Meaning | None, shared: tuple[Sequence[int], Sequence[int]]) -> Meaning | None:
    """The source's meaning with its named tokens (eos ...) under the output's ids; one that the output lacks has none (-1).

    An id beyond all rows, which configs may name, stays what it is where no id has moved.
    """
    if meaning is None:
        return None
    number = dict(zip(*shared, strict=True))
    beyond = max(number, default=-1) + 1 if all(one == other for one, other in number.items()) else math.inf
    named = {
        name: None if found is None else tuple(sorted({number.get(t, t if t >= beyond else -1) for t in found}))
        for name, found in meaning.ids.items()
    }
    return replace(meaning, ids=named)


def _spans(rows: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Ranges that cover ascending row numbers."""
    low = rows[0]
    for row, after in zip(rows, [*rows[1:], rows[-1] + 2 * _GAP], strict=True):
        if after - row > _GAP:
            yield low, row + 1
            low = after
