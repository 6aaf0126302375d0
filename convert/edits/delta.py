"""Additive deltas: what FastChat's and Stanford's recovery scripts add to LLaMA, tensor by tensor, and how to make one.

A delta is a checkpoint of the target's shapes that holds target minus base. Where the target has more tokens, the base
is padded first: with zeros by FastChat (fastchat/model/apply_delta.py, Vicuna v0), with the mean of the old rows by Stanford
Alpaca (weight_diff.py, train.py:81). The files cannot tell which, so it has to be said.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from convert.checkpoint import Checkpoint, open_checkpoint, refuse_quantised
from convert.edits.origin import documents_with, family_of
from convert.prepare import check_alike
from mappings.config import read_facts
from mappings.family import Family
from mappings.rows import decode
from surgery.additions import added, with_mean_rows, with_zero_rows
from surgery.errors import ConversionError, UsageError, listed, show
from surgery.facts import FACTS
from surgery.model import Applied, Artefact, Model
from surgery.values import Expr

Pad = Literal["zero", "mean"]

_PADDED = {"zero": with_zero_rows, "mean": with_mean_rows}


def apply_delta(artefact: Artefact, delta: str | Path, *, pad: Pad | None = None, total: float | None = None) -> Artefact:
    """The artefact plus a delta, in float32, stored in the delta's element type, described by the delta's config.

    ``pad`` says what the base is padded with where the delta has more tokens. ``total`` is what all weights must add up
    to, as Stanford Alpaca publishes it; it is checked before the output appears.
    """
    if total is not None and not math.isfinite(total):
        raise UsageError(f"the sum of the weights is said to be {total}, which no weights that work add up to.")
    read = open_checkpoint(delta)
    joined, named = artefact.origin.joined("delta", read, {"pad": pad or "zero", "total": total})
    other = _model(family_of(artefact), named, f"the delta {show(str(read.path))}")
    base = _padded(artefact.model, other, pad, "the delta")
    summed = {name: added(expr, base[name]) for name, expr in other.tensors.items()}
    grown = other.facts["vocab"] != artefact.model.facts["vocab"]
    documents, told = documents_with(artefact.origin, read, grown=grown)
    rows = f", the base padded with {pad} from {artefact.model.facts['vocab']} rows" if grown else ""
    step = f"a delta is added ({read.path.name}){rows}: sums in float32, rounded once"
    return replace(
        artefact,
        model=Model(other.facts, summed),
        origin=replace(joined, documents=documents, config=read.config),
        steps=(*artefact.steps, step),
        notes=(*artefact.notes, *read.warnings, *told),
        edits=(*artefact.edits, Applied("apply-delta", {"delta": str(read.path), "pad": pad})),
    )


def make_delta(base: Artefact, target: Artefact, *, pad: Pad | None = None) -> Artefact:
    """What has to be added to ``base`` to get ``target``, as a checkpoint of the target's shapes.

    Each difference is rounded once, so that applying it gives the target up to a rounding; a lossless delta gives its
    bits.
    """
    checkpoint: Checkpoint = target.origin
    joined, named = checkpoint.joined("base", base.origin, {})
    other = _model(family_of(base), named, f"the base {show(str(base.origin.path))}")
    if (base.family, base.variant) != (target.family, target.variant):
        raise ConversionError(
            f"the base is {base.label} and the target {target.label}: their tensors do not correspond. Convert one of them first."
        )
    model = Model(target.model.facts, target.model.tensors)
    padded = _padded(other, model, pad, "the target")
    taken = {name: added(expr, padded[name], -1.0) for name, expr in model.tensors.items()}
    step = f"the base is subtracted ({base.origin.path.name}): differences in float32, rounded once"
    return replace(target, model=Model(model.facts, taken), origin=joined, steps=(*target.steps, step))


def _model(family: Family, named: Checkpoint, what: str) -> Model:
    """A further checkpoint of the same family as a model; its tensors are named as they lie among the first's."""
    refuse_quantised(named)
    headers = {name.partition("/")[2]: stored for name, stored in named.tensors.items()}
    try:
        decoded = decode(family, read_facts(family, named.config), headers)
    except ConversionError as error:
        raise ConversionError(f"{what} is not of the base's family, {family.label}: {error}") from None
    check_alike(named, decoded.alike)
    return decoded.model


def _padded(model: Model, other: Model, pad: Pad | None, what: str) -> Mapping[str, Expr]:
    """The tensors of ``model`` in the shapes of ``other``: more rows of the vocabulary are the only difference allowed."""
    sizes = [n for n, f in FACTS.items() if f.kind == "size" and n != "vocab" and model.facts[n] != other.facts[n]]
    if sizes:
        told = "; ".join(f"{FACTS[n].meaning}: {model.facts[n]} in the base, {other.facts[n]} in {what}" for n in sizes)
        raise ConversionError(f"{what} belongs to another base ({told}). Get the base that it was made for.")
    if strange := sorted(model.tensors.keys() ^ other.tensors.keys()):
        raise ConversionError(f"{what} and the base do not hold the same tensors ({listed(strange)}): it is of another base.")
    old, new = model.facts["vocab"], other.facts["vocab"]
    if new < old:
        raise ConversionError(f"{what} has {new} tokens and the base {old}: it was made for another base, with fewer.")
    if new > old and pad is None:
        raise UsageError(
            f"{what} has {new} tokens and the base {old}, and its files cannot tell what stood in the rows that the "
            "base lacks. Say --pad zero (FastChat: Vicuna v0) or --pad mean (Stanford Alpaca)."
        )
    return {name: _PADDED[pad or "zero"](expr, other.tensors[name].shape[0]) for name, expr in model.tensors.items()}
