"""docs/families.md: the families and directions as a page, computed from the tables."""

from __future__ import annotations

from convert.explain import LEGEND, cell, verdict
from mappings import families
from mappings.compare import Direction, direction, directions, names
from mappings.differences import differences
from mappings.elsewhere import ELSEWHERE
from mappings.family import Family

_HEAD = """# Families

Written by `convert families --markdown`; do not edit. Everything here is computed from the tables in `mappings/`.
"""


def families_page() -> str:
    """The page, ending in a newline."""
    parts = [_HEAD, *_matrix(), "## Each family, on its way to Llama", *map(_family, families()), *_elsewhere()]
    return "\n".join(parts).rstrip() + "\n"


def _matrix() -> list[str]:
    found = {(d.source.label, d.target.name): d for d in directions()}
    targets = names(families())
    head = "| read \\ written | " + " | ".join(targets) + " |"
    lines = ["## Directions", "", *(f"- {line.replace('*', chr(92) + '*')}" for line in LEGEND), "", head]
    lines.append("|---" * (len(targets) + 1) + "|")
    for source in families():
        cells = ["=" if source.name == t else cell(found[source.label, t]).replace("*", "\\*") for t in targets]
        lines.append(f"| {source.label} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _family(family: Family) -> str:
    lines = ["", f"### {family.title} (`{family.label}`)", "", f"Read in {family.source}.", ""]
    if family.name != "llama":
        lines += _way(direction(family, "llama"))
    return "\n".join([*lines, *(f"\n{note}" for note in family.notes)])


def _way(way: Direction) -> list[str]:
    """Only what costs something; `convert explain` has the rest."""
    told = [d for d in differences(way) if not d.cost.startswith("nothing")]
    if not told:
        return [f"To Llama: **{verdict(way)}**; names, layouts and keys are all that differs."]
    lines = [f"To Llama: **{verdict(way)}**.", "", "| what differs | here | Llama | cost |", "|---|---|---|---|"]
    return lines + [f"| {d.meaning} | {_plain(d.source)} | {_plain(d.target)} | {_plain(d.cost)} |" for d in told]


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")


def _elsewhere() -> list[str]:
    lines = ["", "## Models without a table of their own", "", "| model | answer | why | instead |", "|---|---|---|---|"]
    for one in ELSEWHERE:
        answer = f"read as `{one.family}`" if one.family else "not converted"
        lines.append(f"| {one.title} | {answer} | {_plain('; '.join(one.reasons))} | {_plain(one.instead)} |")
    return lines
