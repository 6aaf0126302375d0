"""Plans in files: what was wished for and how, so that a plan can be looked at now and carried out later."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convert.checkpoint import open_checkpoint
from convert.checkpoint.files import whole_fingerprint
from convert.planning import Plan
from convert.prepare import plan_conversion
from surgery.errors import ConversionError, show

#: raised whenever an older file would be misread
FORMAT = 2


@dataclass(frozen=True)
class SavedPlan:
    """A plan made again from its file; ``options`` are those of ``plan_conversion``."""

    plan: Plan
    wish: Mapping[str, Any]  # src, to, from
    options: Mapping[str, Any]


def saved_text(plan: Plan, wish: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    """What ``--plan-out`` writes; the source's path is made one that holds from anywhere."""
    source = {**wish, "src": str(plan.checkpoint.path)}
    told = {**plan.summary(), "sources": whole_fingerprint(plan.checkpoint)}
    return json.dumps({"weightsmith_plan": FORMAT, "wish": source, "options": dict(options), **told}, indent=2) + "\n"


def load_plan(path: Path) -> SavedPlan:
    """The plan of a file, made again from its wish; headers are read, weights are not.

    ``ConversionError`` where the file is no plan, or where the same wish would now do something else.
    """
    try:
        saved = json.loads(path.read_text())
        if type(saved) is dict and saved.get("weightsmith_plan") not in (None, FORMAT):
            raise ConversionError(f"{show(str(path))} was saved by another version of this program. Make the plan again.")
        wish, options, digest, sources = saved["wish"], dict(saved["options"]), saved["digest"], saved["sources"]
        src, target, source = wish["src"], wish["to"], wish["from"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ConversionError(f"{show(str(path))} is not a plan saved by --plan-out.") from None
    try:
        plan = plan_conversion(open_checkpoint(src), target, source=source, **options)
    except (TypeError, AttributeError):
        raise ConversionError(f"{show(str(path))} holds a wish that no version of --plan-out writes.") from None
    if sources != whole_fingerprint(plan.checkpoint):
        raise ConversionError(
            f"{show(str(path))}: the source changed since the plan was saved: a file of {show(str(plan.checkpoint.path))} was "
            "replaced or written to (its size, times or inode differ). Make the plan again and look at it."
        )
    if plan.digest != digest:
        raise ConversionError(
            f"{show(str(path))}: this program, or its source, changed since the plan was saved, so that it would now do "
            "something else. Make the plan again and look at it."
        )
    return SavedPlan(plan, wish, options)
