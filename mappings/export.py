"""The tables as JSON values, expanded, under a stable schema: for other tools, and for the documentation.

Within a ``schema`` number keys are added and never removed, and what a key means stays.
"""

from __future__ import annotations

from typing import Any

from mappings import families
from mappings.compare import directions
from mappings.elsewhere import ELSEWHERE
from mappings.family import Family, Fixed, Of

SCHEMA = 1


def export() -> dict[str, Any]:
    """Every family and every direction."""
    return {
        "schema": SCHEMA,
        "families": [_family(f) for f in families()],
        "directions": [
            {
                "from": d.source.label,
                "to": d.target.name,
                "exactness": None if d.exactness is None else str(d.exactness),
                "passes": [p.name for p in d.passes],
                "conditions": [str(condition) for condition in d.conditions],
                "refused": [{"fact": r.fact, "value": r.value, "reason": r.reason or r.origin} for r in d.refusals],
            }
            for d in directions()
        ],
        "elsewhere": [
            {
                "title": one.title,
                "names": list(one.names),
                "family": one.family or None,
                "reasons": list(one.reasons),
                "instead": one.instead,
                "source": one.source,
            }
            for one in ELSEWHERE
        ],
    }


def _family(family: Family) -> dict[str, Any]:
    return {
        "name": family.name,
        "variant": family.variant,
        "title": family.title,
        "architecture": family.architecture,
        "model_type": family.model_type,
        "source": family.source,
        "rows": [
            {"name": r.name, "roles": r.roles.split(), "layout": r.layout, "when": r.when, "bias": r.bias} for r in family.rows
        ],
        "settings": [
            {"facts": [s.fact], "fixed": _value(s.value), "why": s.why}
            if isinstance(s, Fixed)
            else {"facts": list(s.facts), "keys": list(s.keys), "default": _value(s.default), "via": s.via.name}
            | ({"absent": {key: _value(value) for key, value in s.absent.items()}} if s.absent else {})
            for s in family.settings
        ],
        "left": [{"name": item.name, "why": item.why} for item in family.leave],
        "harmless": [key for one in family.harmless for key in one.keys.split()],
        "harmless_at": {key: list(one.at) for one in family.harmless if one.at is not None for key in one.keys.split()},
        "notes": list(family.notes),
    }


def _value(value: Any) -> Any:
    if isinstance(value, Of):
        return "required" if not value.fact else {"of": value.fact, "over": value.over, "times": value.times}
    return [_value(item) for item in value] if isinstance(value, tuple) else value
