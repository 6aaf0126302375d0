"""Plans in files: what was wished for and how, so that a plan can be looked at now and carried out later."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convert.checkpoint import open_checkpoint
from convert.checkpoint.documents import NotStrict, parse_json
from convert.checkpoint.files import whole_fingerprint
from convert.checkpoint.kinds import COUNT, FLAG, TABLE, TEXT, TEXTS, Kind, optional, read
from convert.given import content
from convert.planning import Plan
from convert.prepare import plan_conversion
from surgery.errors import ConversionError, show

#: raised whenever an older file would be misread
FORMAT = 2
_LARGEST = 256 << 20  # bytes: every tensor has a line
_WISH = {"src": TEXT, "to": TEXT, "from": optional(TEXT)}
_OPTIONS = {
    "variant": optional(TEXT), "dtype": optional(TEXT), "mends": TEXTS, "prefer": TEXTS, "accept": TEXTS, "consumers": TEXTS,
    "max_shard_size": COUNT, "tensor_parallel": COUNT, "mtp": TEXT, "tokenizer": TEXT, "vocab_mismatch": FLAG,
}  # fmt: skip
_UNKNOWN = Kind("nothing: no version of --plan-out writes such a key", lambda value: False)


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
    where = show(str(path))
    try:
        saved = parse_json(content(path, _LARGEST, "a plan"))
    except NotStrict as error:
        raise ConversionError(f"{where} is not a plan saved by --plan-out: {error}.") from None
    if not TABLE.holds(saved):
        raise ConversionError(f"{where} is not a plan saved by --plan-out: a plan is a table.")
    if saved.get("weightsmith_plan") not in (None, FORMAT):
        raise ConversionError(f"{where} was saved by another version of this program. Make the plan again.")
    wish, told = read(saved, "wish", TABLE, where), read(saved, "options", TABLE, where)
    digest = read(saved, "digest", TEXT, where)
    options = {key: read(told, key, _OPTIONS.get(key, _UNKNOWN), f"{where}, options") for key in told}
    src, target, source = (read(wish, key, kind, f"{where}, wish") for key, kind in _WISH.items())
    plan = plan_conversion(open_checkpoint(src), target, source=source, **options)
    if saved.get("sources") != whole_fingerprint(plan.checkpoint):
        raise ConversionError(
            f"{where}: the source changed since the plan was saved: a file of {show(str(plan.checkpoint.path))} was "
            "replaced or written to (its size, times or inode differ). Make the plan again and look at it."
        )
    if plan.digest != digest:
        raise ConversionError(
            f"{show(str(path))}: this program, or its source, changed since the plan was saved, so that it would now do "
            "something else. Make the plan again and look at it."
        )
    return SavedPlan(plan, wish, options)
