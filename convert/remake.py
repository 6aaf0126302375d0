"""Making a plan again from its wish, for a checkpoint of the family that the wish was about."""

from __future__ import annotations

from collections.abc import Iterable

from convert.checkpoint import Checkpoint
from convert.planning import Plan
from convert.prepare import open_artefact, plan_artefact
from convert.recipe import Edit
from convert.wish import Wish
from surgery.model import Applied, Artefact


def remake(wish: Wish, checkpoint: Checkpoint) -> Plan:
    """The plan that ``wish`` is for ``checkpoint``: opened as its family, every edit done in order, written as its target."""
    options = {key: value for key, value in wish.options.items() if key != "accept"}
    return plan_artefact(edited(opened(wish, checkpoint), wish.edits), wish.to, **options)


def opened(wish: Wish, checkpoint: Checkpoint) -> Artefact:
    """The checkpoint as the family and variant that the wish reads, with the keys that its user called harmless."""
    accept = wish.options.get("accept", ())
    return open_artefact(checkpoint, source=wish.family, variant=wish.variant or None, accept=accept)


def edited(artefact: Artefact, edits: Iterable[Applied]) -> Artefact:
    """The artefact after every edit, in order."""
    for edit in edits:
        artefact = Edit(edit.name, edit.arguments)(artefact)
    return artefact
