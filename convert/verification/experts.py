"""Mixtures of experts: choosing, and running one expert at a time on the tokens that chose it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def top(scores: Tensor, count: int, *, among: Tensor | None = None) -> Tensor:
    """`scores` with all but the `count` best experts of each token at zero; `among` decides who is best."""
    chosen = (scores if among is None else among).topk(count, -1).indices
    return torch.zeros_like(scores).scatter(-1, chosen, scores.gather(-1, chosen))


def normalised(shares: Tensor) -> Tensor:
    """Shares that sum to one per token."""
    return shares / shares.sum(-1, keepdim=True)


def mixture(h: Tensor, shares: Tensor, expert: Callable[[int, Tensor], Tensor], *, at_input: bool = False) -> Tensor:
    """The sum of the experts' outputs weighted by `shares` [batch, position, expert]; zero means not chosen.

    With `at_input` the share scales what the expert reads instead of what it writes.
    """
    tokens, weights = h.flatten(0, 1), shares.flatten(0, 1)
    total = torch.zeros_like(tokens)
    for number in range(weights.shape[-1]):
        (here,) = weights[:, number].nonzero(as_tuple=True)
        if not len(here):
            continue
        share = weights[here, number, None]
        read = tokens[here] * share if at_input else tokens[here]
        written = expert(number, read)
        total[here] += written if at_input else written * share
    return total.reshape(h.shape)
