"""Rows that only one side has: nobody can compare them, but a token that is gone, and one that always wins, can be seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from convert.verification.asked import Asked
from convert.verification.decoder import Decoder
from convert.verification.made import matrices, remade
from convert.verification.shared import Renumbered
from convert.verification.verdict import Finding, Status
from surgery.errors import listed

_OUTSIZED = 4.0  # times the largest row that both have: more is said, and nothing that a mean or a mixture is made of comes to it
_ABSURD = 1000.0  # times that: no row that is to be trained begins so, whoever asked for it
_SOME = 4096  # rows of a head that stand for all of them
_UNKNOWN = ", and they cannot be made again here; if they were meant, say --other-rows"
_AGAIN = ", and made again from the other rows they are what it says"
_BLOCK = 1 << 20  # logits or embedding values at a time
_SPAN = 1024  # rows of a head that are computed at a time


@dataclass(frozen=True)
class Others:
    """The tokens without a counterpart, by their own side's ids."""

    source: list[int]
    output: list[int]
    decoder: Decoder  # of the output, with all its tokens
    idle: bool  # whether the source's may go

    @classmethod
    def of(cls, source: Decoder, output: Decoder, asked: Asked) -> Others:
        if isinstance(source, Renumbered) and isinstance(output, Renumbered):
            gone, further, whole = source.others, output.others, output.whole
        else:
            gone, further, whole = list(range(output.vocab, source.vocab)), list(range(source.vocab, output.vocab)), output
        between, beyond = asked.idle or ((), math.inf)
        idle = set(between)
        return cls(gone, further, whole, all(token >= beyond or token in idle for token in gone))


def other_rows(
    others: Others, largest: float, hidden: Tensor | None, best: Tensor, asked: Asked
) -> tuple[Finding, ...]:
    """Findings about rows without a counterpart; ``asked`` is what asked for them, if anything did.

    ``largest`` is the rms of the largest embedding of the output's other tokens, ``hidden`` its stream behind the last layer
    (None: its logits were not all looked at), of which the first sequences are those that ``best`` has the best logits of.
    """
    found: list[Finding] = []
    if others.source:
        reason = asked.gone or (asked.idle_because if others.idle else "")
        why = f"{reason}: they are compared with nothing" if reason else "texts that have them can no longer be read"
        gone = f"{len(others.source)} tokens ({listed(others.source, 3)})"
        found.append(Finding("tokens that are gone", gone, "", "explained" if reason else "fails", why))
    if others.output:
        found.append(_further(others, largest, hidden, best, asked))
    return tuple(found)


def _further(others: Others, largest: float, hidden: Tensor | None, best: Tensor, asked: Asked) -> Finding:
    decoder, rows = others.decoder, others.output
    told = f"{len(rows)} rows ({listed(rows, 3)})"

    def finding(status: Status, because: str) -> Finding:
        return Finding("further tokens", "", told, status, because)

    size = _largest(decoder, rows)
    top = _top(decoder, rows, hidden, len(best)) if hidden is not None else torch.full_like(best, -torch.inf)
    if not math.isfinite(size) or top.isnan().any() or (top == torch.inf).any():
        return finding("fails", "their rows are no numbers: every logit beside them is lost")
    proven, other = remade(decoder, asked.made)
    if other:
        return finding("fails", other)
    known = bool(asked.made) and proven.issuperset(rows)
    reason = asked.further or (asked.claimed if known else "")
    times = max(size / largest if largest else math.inf, 0.0 if known else _head_times(others))
    wins = int((top > best).sum())
    if wins or times > _OUTSIZED:
        often = f"they win at {wins} of {len(best)} positions over every token that the source has" if wins else ""
        length = f"their rows are up to {times:.2g} times as large as any other" if times > _OUTSIZED else ""
        status: Status = "warns" if reason else "open" if asked.claimed else "fails"
        if times > _ABSURD and not known:
            status = "fails"
        more = _AGAIN if known else _UNKNOWN if status == "open" else ""
        by = f"{reason or asked.claimed or 'nobody asked for them'}{more}"
        return finding(status, f"{' and '.join(filter(None, (often, length)))}; {by}")
    if known:
        return finding("explained", f"{reason}{_AGAIN}")
    why = "they are compared with nothing; no prompt made one of them the likeliest"
    return finding("explained", f"{reason}: {why}") if reason else finding("warns", why)


def _largest(decoder: Decoder, rows: Sequence[int]) -> float:
    """The rms of the largest embedding; NaN or infinite where one is."""
    wide = max(1, _BLOCK // decoder.hidden)
    sizes = torch.cat([
        decoder.embed(torch.tensor(rows[at : at + wide])[:, None])[:, 0].double().square().mean(-1).sqrt()
        for at in range(0, len(rows), wide)
    ])  # fmt: skip
    return float(sizes.max()) if sizes.isfinite().all() else math.nan


def _head_times(others: Others) -> float:
    """How many times as large as any other row that was looked at the largest of these is, in a head of its own."""
    decoder = others.decoder
    names = matrices(decoder)
    if len(names) < 2:
        return 0.0
    strange = set(others.output)
    rest = [row for row in range(decoder.vocab) if row not in strange]
    some = rest[:: max(1, len(rest) // _SOME)]

    def largest(rows: Sequence[int]) -> float:
        wide = max(1, _BLOCK // decoder.hidden)
        blocks = (decoder.weights.embed(torch.tensor(rows[at : at + wide]), names[1]) for at in range(0, len(rows), wide))
        return max((float(block.double().square().mean(-1).sqrt().max()) for block in blocks), default=0.0)

    base = largest(some)
    return largest(others.output) / base if base else 0.0


def _top(decoder: Decoder, rows: list[int], hidden: Tensor, positions: int) -> Tensor:
    """The largest logit of the tokens ``rows`` at every position; NaN where one is."""
    read = decoder.finish(hidden).flatten(0, 1)[:positions]
    top = torch.full((positions,), -torch.inf, dtype=torch.float64)
    wanted = torch.tensor(rows)
    for low in range(rows[0], rows[-1] + 1, _SPAN):
        inside = wanted[(wanted >= low) & (wanted < low + _SPAN)]
        if len(inside):
            logits = decoder.head(read, int(inside[0]), int(inside[-1]) + 1)[:, inside - int(inside[0])]
            top = torch.maximum(top, logits.double().cpu().amax(1))
    return top
