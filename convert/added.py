"""What a plan adds to its source, in order, with the edits that stand before: what the verifier has to remake on its own."""

from __future__ import annotations

from typing import Any

from convert.planning import Plan

#: edits that add a checkpoint to the source, and those that change which tensors it has
ADDING, BETWEEN = ("merge-lora", "apply-delta"), ("untie", "tie")


def additions_of(plan: Plan) -> list[dict[str, Any]]:
    """What is added to the source, as JSON, and between these the edits that change to what the next is added.

    An edit behind the last of them is judged by its result, as all edits are.
    """
    left = list(plan.checkpoint.additions)
    told: list[dict[str, Any]] = []
    for edit in plan.wish.edits if plan.wish is not None else ():
        if edit.name in ADDING and left:
            one = left.pop(0)
            told.append({"kind": one.kind, "path": str(one.path), "options": dict(one.options)})
        elif edit.name in BETWEEN and left:
            told.append({"kind": edit.name})
    return told
