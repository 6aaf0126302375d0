"""``weightsmith.json``: where an output comes from, in a form that is the same whenever it is made again.

No dates, hosts, absolute paths or measured numbers: the same input, options and version give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from convert.checkpoint.kinds import COUNT, TABLE, TABLES, TEXT, TEXTS, Kind, optional
from convert.planning import Plan, document
from convert.version import VERSION

NAME = "weightsmith.json"
SCHEMA = 1
_TEXT_BY_NAME = Kind("a table of texts", lambda value: TABLE.holds(value) and TEXTS.holds([*value.values()]))
#: what each key holds; whoever reads a manifest gets nothing else under it
_KEYS: Mapping[str, Kind] = {
    "schema": COUNT, "tool": TEXT, "version": TEXT, "source": TABLE, "target": TEXT, "options": TABLE, "exactness": TEXT,
    "steps": TEXTS, "edits": TABLES, "left": _TEXT_BY_NAME, "outputs": TABLES, "documents": TEXTS, "tokenizer": optional(TABLE),
    "verification": Kind("a table or a text", lambda value: isinstance(value, dict | str)),
}  # fmt: skip


def manifest(
    plan: Plan,
    hashes: Mapping[str, str],
    verdict: Mapping[str, Any] | None,
    tokenizer: Mapping[str, Any] | None = None,
    documents: Iterable[str] = (),
) -> bytes:
    """The provenance of a finished output; ``verdict`` is None when it was not verified, and the manifest says so.

    ``documents`` are the files without weights that were made anew: all others are the source's, byte for byte.
    """
    return document(
        {
            "schema": SCHEMA,
            "tool": "weightsmith",
            "version": VERSION,
            "source": {
                "family": plan.source,
                **({"card": dict(plan.card)} if plan.card else {}),
                "files": [
                    {"name": f.name, "size": f.size, **({"sha256": f.sha256} if f.sha256 else {})}
                    for _, f in sorted(plan.checkpoint.files.items())
                ],
            },
            "target": plan.target,
            "options": dict(plan.options),
            "exactness": str(plan.exactness),
            "steps": list(plan.steps),
            "edits": plan.wish.without_places() if plan.wish is not None else [],
            "left": dict(plan.left),
            "outputs": [{"name": f.name, "size": f.size, "xxh3_128": hashes[f.name]} for f in plan.files],
            "documents": sorted(documents),
            "tokenizer": dict(tokenizer) if tokenizer is not None else None,
            "verification": dict(verdict) if verdict is not None else "not verified",
        }
    )


def told(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a manifest says as far as it says it in our form: whoever wrote the output may have written anything."""
    return {key: value[key] for key, kind in _KEYS.items() if key in value and kind.holds(value[key])}
