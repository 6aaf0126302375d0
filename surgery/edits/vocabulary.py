"""Edits of the vocabulary's size: rows of the embeddings and of the output projection added, taken out, replaced.

The tokenizer's half of these edits is ``surgery.tokenizer``; ``convert.edits.vocabulary`` does both together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from surgery.additions import MeanRows
from surgery.edits.edit import S, edited, model_of
from surgery.errors import UsageError
from surgery.gathered import Mixture, drawn, drawn_numbers, mixed, near_mean
from surgery.model import Model
from surgery.movement import Piece
from surgery.values import Expr, Moved, joined, narrowed, zeros

AXIS = "vocab"


@dataclass(frozen=True)
class Wanted:
    """New rows that are asked for: ``count`` of them, behind or among ``old`` ones, in a matrix of ``rows``."""

    old: Expr  # the rows that tokens have
    count: int
    rows: int
    place: int  # 0 for the embeddings, 1 for an output projection of its own


Fill = Callable[[Wanted], Expr]


def zero_rows(wanted: Wanted) -> Expr:
    """Zeros: in an output projection their logit is 0, above that of most trained tokens."""
    return zeros(wanted.old.axes, (wanted.count, *wanted.old.shape[1:]), wanted.old.dtype)


def mean_rows(wanted: Wanted) -> Expr:
    """The mean of the old rows: its logit is the mean of the old logits, so it never is the largest."""
    return MeanRows(wanted.old.axes, (wanted.count, *wanted.old.shape[1:]), wanted.old.dtype, (wanted.old,))


def near_mean_rows(seed: int) -> Fill:
    """What ``resize_token_embeddings`` of transformers gives behind ``torch.manual_seed(seed)``."""

    def fill(wanted: Wanted) -> Expr:
        if len(wanted.old.shape) != 2:
            return mean_rows(wanted)
        width = wanted.old.shape[1]
        fresh, sample = wanted.rows * width, wanted.count * width
        # it makes each new matrix with torch's own initialisation first, which takes numbers too
        skipped = drawn_numbers(fresh) + wanted.place * (drawn_numbers(sample) + fresh)
        return near_mean(wanted.old, wanted.count, seed, skipped)

    return fill


def normal_rows(deviation: float, seed: int) -> Fill:
    """Normal numbers of this deviation; each matrix has a stream of its own."""
    return lambda wanted: drawn(wanted.old, wanted.count, deviation, seed + wanted.place)


def mixed_rows(*mixtures: Sequence[Mixture]) -> Fill:
    """Sums of old rows, one mixture a row; a second sequence is for an output projection of its own."""

    def fill(wanted: Wanted) -> Expr:
        chosen = mixtures[min(wanted.place, len(mixtures) - 1)]
        assert len(chosen) == wanted.count, (len(chosen), wanted.count)
        return mixed(wanted.old, tuple(chosen))

    return fill


def extend_rows(
    subject: S, count: int, fill: Fill, *, first: int | None = None, rows: int | None = None, padding: Fill = mean_rows
) -> S:
    """The model with ``count`` new rows from row ``first`` (default: behind the last), and ``rows`` rows in all.

    Rows before ``first`` keep their bytes. Where the model has more (padding), the new ones replace those, and what is
    left of them stays; what is lacking to ``rows`` comes from ``padding``.
    """
    old = model_of(subject).facts[AXIS]
    first = old if first is None else first
    least = max(old, first + count)
    rows = least if rows is None else rows
    if first > old or rows < least:
        raise UsageError(
            f"{count} rows from row {first} on do not fit a matrix of {old} rows that is to have {rows}: begin at "
            f"{old} or before, and ask for at least {least} rows."
        )

    def resized(expr: Expr, place: int) -> Expr:
        own = narrowed(expr, ((0, first), *expr.whole[1:]))
        parts = [own]
        if count:
            parts.append(fill(Wanted(own, count, rows, place)))
        if first + count < old:
            parts.append(narrowed(expr, ((first + count, old - first - count), *expr.whole[1:])))
        if rows > least:
            parts.append(padding(Wanted(own, rows - least, rows, place)))
        whole = parts[0]
        for part in parts[1:]:
            whole = joined(whole, part, AXIS)
        return whole

    says = f"vocabulary: {old} rows become {rows}, {count} of them for new tokens"
    return edited(subject, partial(_resized, rows=rows, change=resized), says)


def keep_rows(subject: S, kept: Sequence[int], *, rows: int | None = None, padding: Fill = mean_rows) -> S:
    """The model with these old rows alone, in this order, every one moved; ``rows`` pads as in ``extend_rows``."""
    old = model_of(subject).facts[AXIS]
    rows = len(kept) if rows is None else rows
    if not kept or rows < len(kept) or min(kept) < 0 or max(kept) >= old:
        raise UsageError(f"{len(kept)} rows to keep of {old}, in a matrix of {rows}: ids must lie below {old}, and all must fit.")

    def resized(expr: Expr, place: int) -> Expr:
        whole = _moved(expr, kept)
        if rows > len(kept):
            whole = joined(whole, padding(Wanted(whole, rows - len(kept), rows, place)), AXIS)
        return whole

    says = f"vocabulary: {len(kept)} of {old} rows are kept, {rows} in all"
    return edited(subject, partial(_resized, rows=rows, change=resized), says)


def replace_rows(subject: S, fill: Fill, rows: int, *, padded: int | None = None, padding: Fill = mean_rows) -> S:
    """The model with ``rows`` rows that are all made from the old ones, for another tokenizer's tokens."""
    old = model_of(subject).facts[AXIS]
    padded = rows if padded is None else padded

    def resized(expr: Expr, place: int) -> Expr:
        whole = fill(Wanted(expr, rows, padded, place))
        if padded > rows:
            whole = joined(whole, padding(Wanted(expr, padded - rows, padded, place)), AXIS)
        return whole

    return edited(subject, partial(_resized, rows=padded, change=resized), f"vocabulary: {old} rows are replaced by {padded}")


def _resized(model: Model, rows: int, change: Callable[[Expr, int], Expr]) -> Model:
    held = [name for name, expr in model.tensors.items() if AXIS in expr.axes]
    ordered = sorted(held, key=lambda name: (not name.startswith("embed"), name))  # as transformers resizes them
    assert all(model.tensors[name].axes[0] == AXIS for name in ordered), "rows of the vocabulary run along the first axis"
    changed = {name: change(model.tensors[name], place) for place, name in enumerate(ordered)}
    return model.using(changed).having("vocabulary resized", vocab=rows)


def _moved(expr: Expr, kept: Sequence[int]) -> Expr:
    """These rows of ``expr``; of what is only moved, pieces of pieces."""
    if not isinstance(expr, Moved):
        return mixed(expr, tuple(((row, 1.0),) for row in kept))
    pieces: list[Piece] = []
    for begin, row, length in _runs(kept):
        region = ((row, length), *expr.whole[1:])
        inside = (part for piece in expr.pieces if (part := piece.within(region)) is not None)
        pieces += [replace(part, start=(part.start[0] - row + begin, *part.start[1:])) for part in inside]
    return Moved(expr.axes, (len(kept), *expr.shape[1:]), expr.dtype, tuple(pieces))


def _runs(kept: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """(new row, old row, length) of each run of rows that follow each other."""
    begin = 0
    for place in range(1, len(kept) + 1):
        if place == len(kept) or kept[place] != kept[place - 1] + 1:
            yield begin, kept[begin], place - begin
            begin = place
