"""Making a plan again from its wish, for a checkpoint of the family that the wish was about."""

from __future__ import annotations

from convert.checkpoint import Checkpoint
from convert.planning import Plan
from convert.prepare import open_artefact, plan_artefact
from convert.recipe import Edit
from convert.wish import Wish


def remake(wish: Wish, checkpoint: Checkpoint) -> Plan:
    """The plan that ``wish`` is for ``checkpoint``: opened as its family, every edit done in order, written as its target."""
    options = dict(wish.options)
    accept = options.pop("accept", ())
    artefact = open_artefact(checkpoint, source=wish.family, variant=wish.variant or None, accept=accept)
    for edit in wish.edits:
        artefact = Edit(edit.name, edit.arguments)(artefact)
    return plan_artefact(artefact, wish.to, **options)
