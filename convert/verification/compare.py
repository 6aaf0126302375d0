"""Comparing two decoders: the embeddings, one sub-block, the logits in row blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from convert.verification.decoder import Decoder
from convert.verification.frame import Frame
from convert.verification.verdict import Logits, Stage, Tolerance

_PROBE = 2.0**-10  # relative size of the perturbation that measures amplification
_WORST = 12.0  # largest over rms of a bounded number of roughly normal differences
_SPREAD = 4.0  # the worst token's error over the typical one
_FAINT = 0.05
_DRAWS = 4  # of noise as small as rounding
_STEADY = 2.0  # times what a larger probe says of it: beyond that, a sub-block is not steady
_SYSTEMATIC = 8.0  # rounding errors of many weights cancel along the values themselves: a common factor may be so much less off
_VALUES = 1 << 20  # logits or embedding values in one block


def relative(difference: Tensor, of: Tensor) -> float:
    """rms of a difference over rms of what differs; infinite against zero, NaN where a value is not finite."""
    size, off = _rms(of), _rms(difference)
    return off / size if size else (0.0 if off == 0 else float("inf"))


def discrepancy(found: Tensor, expected: Tensor) -> float:
    """How far two contributions are apart: by rms, or by a common factor, which rounding does not make, eight times."""
    off = relative(found - expected, expected)
    size = float(expected.double().square().sum())
    common = float(((found - expected).double() * expected.double()).sum()) / size if size else 0.0
    return off if math.isnan(off) or math.isnan(common) else max(off, _SYSTEMATIC * abs(common))


def perturbed(x: Tensor, generator: torch.Generator, relative: float = _PROBE) -> Tensor:
    """`x` with noise of a relative size at every position."""
    noise = torch.randn(x.shape, generator=generator, dtype=torch.float32).to(x)
    size = x.double().square().mean(-1, keepdim=True).sqrt()  # float32 has no square of 1e20
    return x + relative * size.to(x) * noise


def sub_block(
    label: str,
    source: tuple[Decoder, int],
    output: tuple[Decoder, int],
    frame: Frame,
    x: Tensor,
    ids: Tensor,
    tolerance: Tolerance,
    generator: torch.Generator,
    free: Tensor | None = None,
) -> tuple[Stage, Tolerance, Tensor, Tensor | None]:
    """Run one sub-block on both sides from `x`; returns the stage, its tolerance, the source's and the free output's stream.

    `free` is the output's own stream when it runs freely; it shares one pass with the comparison, so that every weight
    is read once.
    """
    (one, layer), (other, twin) = source, output
    probe = perturbed(x[:1], generator)
    with one.weights.recorded() as theirs:
        both = one.step(label, layer, torch.cat((x, probe)), torch.cat((ids, ids[:1])))
    after, probed = both[:-1], both[-1:]
    start = frame(x)
    together, tokens = (start, ids) if free is None else (torch.cat((start, free)), torch.cat((ids, ids)))
    with other.weights.recorded() as ours:
        result = other.step(label, twin, together, tokens)
    own = tolerance.of(ours, theirs)
    forced, free_after = result[: len(x)], result[len(x) :] if free is not None else None

    expected = frame(after) - frame(x)
    amplification = relative(probed - probe - (after - x)[:1], (after - x)[:1]) / _PROBE
    shrink = _rms(start) / (_rms(expected) or 1.0)
    error = discrepancy(forced - start, expected)
    allowed = own.sub_block(amplification) + own.cancellation * shrink
    flips = False
    if allowed < error < math.inf:
        unsteady = _unsteady(label, source, x, after, ids, own.noise, generator)
        flips = unsteady > _STEADY * max(amplification, 1.0) * own.noise
        allowed = max(allowed, own.safety * unsteady) if flips else allowed
    stage = Stage(
        f"layer {layer} {label}",
        error,
        allowed,
        None if free_after is None else relative(free_after - frame(after), frame(after)),
        flips,
    )
    return stage, own, after, free_after


def _unsteady(
    label: str, side: tuple[Decoder, int], x: Tensor, after: Tensor, ids: Tensor, noise: float, generator: torch.Generator
) -> float:
    """How far a sub-block of one model is from itself where what it reads is rounded otherwise: the worst of a few draws.

    A softmax that a rounding flips moves by all or nothing, in few places: no multiple of a larger probe's effect bounds it.
    """
    decoder, layer = side
    worst = 0.0
    for _ in range(_DRAWS):
        moved = perturbed(x, generator, max(noise, 2.0 * torch.finfo(x.dtype).eps))
        again = decoder.step(label, layer, moved, ids)
        worst = max(worst, discrepancy(again - moved, after - x))
    return worst


def embedding(
    source: Decoder, output: Decoder, frame: Frame, blocks: list[tuple[int, int]], tolerance: Tolerance
) -> tuple[Stage, Tolerance, float]:
    """Compare the embeddings of the tokens in `blocks`, one by one; the stage's error is that of the worst token.

    Returned are its tolerance, too, and the rms of the output's largest embedding.
    """
    worst, largest = 0.0, 0.0
    for start, stop in blocks:
        ids = torch.arange(start, stop)[:, None]
        with source.weights.recorded() as theirs:
            expected = frame(source.embed(ids)).double()
        with output.weights.recorded() as ours:
            found = output.embed(ids).double()
        tolerance = tolerance.of(ours, theirs)
        largest = max(largest, float(found.square().mean(-1).sqrt().max()))
        size = expected.square().mean(-1).sqrt()
        off = (found - expected).square().mean(-1).sqrt()
        floor = _FAINT * size.mean() + 1e-300  # rows of tokens that were never trained may be next to nothing
        worst = max(worst, float((off / size.clamp(min=float(floor))).nan_to_num(nan=math.inf).max()))
    return Stage("embedding", worst, _SPREAD * tolerance.sub_block(1.0), None), tolerance, largest


def logits(
    source: Decoder,
    output: Decoder,
    hidden: tuple[Tensor, Tensor],
    blocks: list[tuple[int, int]],
    tolerance: Tolerance,
    *,
    alone: bool = True,
) -> tuple[Logits, float, Tensor]:
    """Compare the logits of the given row blocks, never holding more than one block of each side.

    `hidden` are both sides' residual streams after the last layer; the last sequence is the first one with a perturbed
    start, so that the difference between the two says how much the model amplifies: the second value returned. The third
    are the best of the output's logits at every position. Where the output was not run on it, it has a sequence less.
    ``alone``: nothing came before the head, so that only its own types count.
    """
    with source.weights.recorded() as theirs, output.weights.recorded() as ours:
        one, other = source.finish(hidden[0]).flatten(0, 1), output.finish(hidden[1]).flatten(0, 1)
        length, count = hidden[0].shape[1], other.shape[0]
        seen, moved = _Seen(count), 0.0
        for start, stop in blocks:
            a, b = (side.head(x, start, stop).double().cpu() for side, x in ((source, one), (output, other)))
            seen.add(a[:count], b, start)
            moved += float((a[-length:] - a[:length]).square().sum())
    tolerance = tolerance.of(ours, theirs) if alone else tolerance
    amplification = (moved / (length * seen.tokens)) ** 0.5 / (seen.spread() or 1.0) / _PROBE
    return seen.verdict(tolerance.logits(amplification)), amplification, seen.top[1][:, 0]


def free_logits(
    sides: tuple[Decoder, Decoder],
    hidden: tuple[Tensor, Tensor],
    frame: Frame,
    blocks: list[tuple[int, int]],
    tolerance: Tolerance,
    before: Sequence[Tolerance],
    generator: torch.Generator,
) -> tuple[Logits, float, Stage, Tolerance, Tensor]:
    """`logits` of two models that ran freely, and the final norm and head as one more stage, from the source's own stream.

    Both share one pass over each head. `before` are the tolerances of the stages before the head; with its own they make
    that of the logits, which is returned too. Last come the best of the output's logits at every position.
    """
    x, free = hidden
    probe = perturbed(x[:1], generator)
    length, count = x.shape[1], x.shape[0] * x.shape[1]
    seen, forced, moved, alone = _Seen(count), _Seen(count), 0.0, 0.0
    with sides[0].weights.recorded() as theirs, sides[1].weights.recorded() as ours:
        one = sides[0].finish(torch.cat((x, probe))).flatten(0, 1)
        other = sides[1].finish(torch.cat((free, frame(x)))).flatten(0, 1)
        for start, stop in blocks:
            a, b = (side.head(y, start, stop).double().cpu() for side, y in zip(sides, (one, other), strict=True))
            seen.add(a[:count], b[:count], start)
            forced.add(a[:count], b[count:], start)
            moved += float((a[count - length : count] - a[:length]).square().sum())
            alone += float((a[count:] - a[:length]).square().sum())
    spread = seen.spread() or 1.0
    amplification, own = ((part / (length * seen.tokens)) ** 0.5 / spread / _PROBE for part in (moved, alone))
    own_types = tolerance.of(ours, theirs)
    whole = tolerance.over((*before, own_types))
    allowed = own_types.sub_block(own)
    head = Stage("head", max(forced.verdict(allowed).error, _SYSTEMATIC * abs(forced.common())), allowed, None)
    return seen.verdict(whole.logits(amplification)), amplification, head, whole, seen.top[1][:, 0]


#: logits [position, start..stop] of all positions in order, from wherever they come
Rows = Callable[[int, int], Tensor]


def rows_of(decoder: Decoder, hidden: Tensor) -> Rows:
    """The logits that a decoder makes of its residual stream [batch, position, hidden]."""
    finished = decoder.finish(hidden).flatten(0, 1)
    return lambda start, stop: decoder.head(finished, start, stop)


def rows(one: Rows, other: Rows, blocks: list[tuple[int, int]], allowed: float) -> Logits:
    """Compare two sources of logits, `allowed` relative to the spread of the first."""
    seen: _Seen | None = None
    for start, stop in blocks:
        a, b = one(start, stop).double().cpu(), other(start, stop).double().cpu()
        seen = seen or _Seen(a.shape[0])
        seen.add(a, b, start)
    assert seen is not None
    return seen.verdict(allowed)


def grid(stop: int, width: int) -> list[tuple[int, int]]:
    """The tokens below `stop` in blocks small enough to hold `width` values of each."""
    step = max(1, _VALUES // max(1, width))
    return [(low, min(low + step, stop)) for low in range(0, stop, step)]


class _Seen:
    """Running sums over blocks of logits [position, tokens]; all in float64."""

    def __init__(self, positions: int) -> None:
        zero = torch.zeros(positions, dtype=torch.float64)
        self.positions, self.tokens = positions, 0
        self.largest, self.absolute, self.square = 0.0, 0.0, 0.0
        self.sum, self.sum_square = zero.clone(), zero.clone()
        self.off, self.cross = zero.clone(), zero.clone()
        self.top = [torch.full((positions, 1), float("-inf"), dtype=torch.float64)] * 2
        self.id = [torch.full((positions, 1), -1)] * 2
        self.peak, self.mass, self.weighted = [zero - float("inf")] * 2, [zero.clone()] * 2, [zero.clone()] * 2

    def add(self, a: Tensor, b: Tensor, start: int) -> None:
        off = a - b
        size = off.abs()
        self.tokens += a.shape[1]
        self.largest = max(self.largest, float(size.max())) if size.isfinite().all() else float("nan")
        self.absolute += float(size.sum())
        self.square += float(off.square().sum())
        self.sum, self.sum_square = self.sum + a.sum(1), self.sum_square + a.square().sum(1)
        self.off, self.cross = self.off - off.sum(1), self.cross - (a * off).sum(1)
        for side, (x, sign) in enumerate(((a, 1.0), (b, -1.0))):
            peak = torch.maximum(self.peak[side], x.amax(1))
            kept, share = (self.peak[side] - peak).exp(), (x - peak[:, None]).exp()
            self.mass[side] = self.mass[side] * kept + share.sum(1)
            self.weighted[side] = self.weighted[side] * kept + (share * off).sum(1) * sign
            self.peak[side] = peak
            best, where = x.topk(min(5, x.shape[1]), 1)
            merged = torch.cat((self.top[side], best), 1)
            ids = torch.cat((self.id[side], where + start), 1)
            self.top[side], order = merged.topk(min(5, merged.shape[1]), 1)
            self.id[side] = ids.gather(1, order)

    def spread(self) -> float:
        """rms of the source logits around each position's mean: a shift of all logits is no change."""
        variance = self.sum_square / self.tokens - (self.sum / self.tokens).square()
        return float(variance.clamp(min=0).mean().sqrt())

    def common(self) -> float:
        """By what factor, less one, all logits of the output are larger, each position's mean left out."""
        along = float((self.cross - self.sum / self.tokens * self.off).sum())
        size = self.spread() ** 2 * self.positions * self.tokens
        return along / size if size else 0.0

    def verdict(self, allowed: float) -> Logits:
        count = self.positions * self.tokens
        spread = self.spread() or 1e-300
        total = [peak + mass.log() for peak, mass in zip(self.peak, self.mass, strict=True)]
        between = total[0] - total[1]
        same = (self.id[0][:, :, None] == self.id[1][:, None, :]).any(2)
        return Logits(
            positions=self.positions,
            tokens=self.tokens,
            largest=self.largest,
            mean=self.absolute / count,
            error=(self.square / count) ** 0.5 / spread,
            allowed=allowed,
            worst=self.largest / spread,
            worst_allowed=_WORST * allowed,
            kl_source_output=float((self.weighted[0] / self.mass[0] - between).mean()),
            kl_output_source=float((self.weighted[1] / self.mass[1] + between).mean()),
            top1=float((self.id[0][:, 0] == self.id[1][:, 0]).double().mean()),
            top5=float(same.double().mean()),
        )


def _rms(x: Tensor) -> float:
    return float(x.double().square().mean().sqrt())
