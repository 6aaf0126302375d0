"""Edits of attention heads."""

from __future__ import annotations

from functools import partial

from surgery.edits.edit import S, edited, model_of
from surgery.errors import UsageError
from surgery.model import Applied
from surgery.passes.repeat_kv import repeat_kv as _repeat_kv


def repeat_kv(subject: S, kv: int | None = None) -> S:
    """The model with ``kv`` key-value heads (default: one per query head), each old one repeated for its queries.

    For programs that split heads among more devices than there are. ``UsageError`` unless ``kv`` is a multiple of the
    present number and divides the number of query heads.
    """
    facts = model_of(subject).facts
    old, heads = facts["kv"], facts["heads"]
    new = heads if kv is None else kv
    if new < old or new % old or heads % new:
        fitting = [n for n in range(old, heads + 1, old) if heads % n == 0]
        raise UsageError(
            f"{old} key-value heads of {heads} query heads cannot become {new}: heads are repeated whole, so the "
            f"number must be one of {', '.join(map(str, fitting))}."
        )
    says = f"{old} key-value heads are repeated to {new}"
    return edited(subject, partial(_repeat_kv, kv=new), says, Applied("repeat-kv", {"kv": kv}))
