"""What new rows do before they are trained: how much probability they take, how far they move the rest, how long they are.

Both models are run by the reference decoders, from their own files, in a process of its own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import convert.children as children
from convert.refusal import kind_of
from surgery.errors import ConversionError

if TYPE_CHECKING:
    import torch

    from convert.verification.decoder import Decoder

_ROWS = 1 << 14  # rows whose norms are taken at once


@dataclass(frozen=True)
class Effect:
    """Measured on text that needs no new token; probabilities and divergences are means over positions, in nats."""

    positions: int
    leak: float  # probability that falls on new rows
    leak_most: float
    divergence: float  # KL of the base from the output
    wins: int  # positions at which a new row is the most likely
    norms: tuple[tuple[str, float, float], ...]  # role, mean norm of old rows, of new ones

    @property
    def lines(self) -> list[str]:
        """The same for a person."""
        norms = "; ".join(f"{name} {new:.4g} (old rows {old:.4g})" for name, old, new in self.norms)
        told = [f"mean norm of new rows: {norms}"]
        if not self.positions:
            return [*told, "no text without new tokens is at hand, so what the new rows take was not measured"]
        return [
            *told,
            f"on {self.positions} positions of text that needs no new token: {self.leak:.2%} of the probability falls on "
            f"new rows (at most {self.leak_most:.1%}), KL from the base {self.divergence:.4f} nats, a new row is the most "
            f"likely at {self.wins}",
        ]


def effect(
    base: Path | str,
    output: Path | str,
    fresh: tuple[int, int],
    texts: Sequence[Sequence[int]],
    *,
    variants: tuple[str | None, str | None] = (None, None),
) -> Effect:
    """What the rows ``fresh`` (from, up to) of ``output`` do on ``texts``, which are ids that both models have."""
    task = {
        "paths": [str(base), str(output)],
        "fresh": list(fresh),
        "texts": [list(t) for t in texts],
        "variants": variants,
    }
    done = children.run("convert.edits.effect:child", task)
    try:
        found = json.loads(done.answer("measures the new rows"))
    except ConversionError as refused:
        why = f"the effect of the new rows could not be measured: {str(refused).rstrip('.')}. The output is there."
        raise kind_of(refused.status)(why) from None
    return Effect(**{**found, "norms": tuple(tuple(norm) for norm in found["norms"])})


def child() -> None:
    """The child: a task as JSON on stdin, an effect as JSON on stdout."""
    from surgery.apart.confined import forbid_network

    task: dict[str, Any] = json.load(sys.stdin)
    forbid_network()
    json.dump(_measured(task), sys.stdout)


def _measured(task: dict[str, Any]) -> dict[str, Any]:
    import torch

    from convert.checkpoint import open_checkpoint
    from convert.verification.decoders import decoder_for
    from convert.verification.stated import check_config
    from convert.verification.weights import open_weights

    first, last = task["fresh"]
    leaks, divergences, wins = [torch.zeros(0)], [torch.zeros(0)], 0
    checkpoints = [open_checkpoint(Path(path)) for path in task["paths"]]
    for checkpoint in checkpoints:
        check_config(checkpoint)
    sides = [
        decoder_for(checkpoint.config, open_weights(checkpoint), variant)
        for checkpoint, variant in zip(checkpoints, task["variants"], strict=True)
    ]
    with torch.inference_mode():
        streams = [_streams(side, task["texts"]) for side in sides]
        for number, ids in enumerate(task["texts"]):
            before, after = (
                side.head(stream[number, : len(ids)], 0, side.vocab).log_softmax(-1)
                for side, stream in zip(sides, streams, strict=True)
            )
            known = min(first, before.shape[1])
            old = before[:, :known].log_softmax(-1)
            leaks.append(after[:, first:last].exp().sum(1))
            divergences.append((old.exp() * (old - after[:, :known])).sum(1))
            best = after.argmax(1)
            wins += int(((best >= first) & (best < last)).sum())
        norms = _norms(checkpoints[1], task["variants"][1], first, last)
    leak, divergence = torch.cat(leaks), torch.cat(divergences)
    some = leak if len(leak) else torch.zeros(1)
    return {
        "positions": len(leak), "leak": float(some.mean()), "leak_most": float(some.max()),
        "divergence": float(divergence.mean()) if len(divergence) else 0.0, "wins": wins, "norms": norms,
    }  # fmt: skip


def _streams(side: Decoder, texts: Sequence[Sequence[int]]) -> torch.Tensor:
    """What the head reads at every position of every text; texts are filled up behind, where nothing looks."""
    import torch

    ids = torch.zeros((len(texts), max(map(len, texts), default=0)), dtype=torch.long)
    for number, text in enumerate(texts):
        ids[number, : len(text)] = torch.tensor(text)
    if not ids.numel():
        return torch.zeros(0)
    x = side.embed(ids)
    for layer in range(side.layers):
        x = side.layer(layer, x, ids)
    return side.finish(x)


def _norms(checkpoint: Any, variant: str | None, first: int, last: int) -> list[tuple[str, float, float]]:
    import torch

    from convert.checkpoint import open_sources
    from convert.evaluate import evaluate
    from convert.prepare import open_artefact
    from convert.stream import Scratch, Source

    artefact = open_artefact(checkpoint, variant=variant)
    found = []
    with open_sources(checkpoint) as sources:
        source, scratch = Source(checkpoint.tensors, sources.read_into), Scratch()
        for name, expr in artefact.model.tensors.items():
            if name not in ("embed", "head"):
                continue
            starts = range(0, expr.shape[0], _ROWS)
            spans = [(start, min(_ROWS, expr.shape[0] - start)) for start in starts]
            norms = torch.cat([evaluate(expr, (span, *expr.whole[1:]), source, scratch).norm(dim=1) for span in spans])
            found.append((name, float(norms[:first].mean()), float(norms[first:last].mean())))
    return found
