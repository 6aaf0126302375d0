"""Families and pairs in words, computed from the tables."""

from __future__ import annotations

from mappings import families
from mappings.compare import Correspondence, Direction, correspond, direction, directions, names
from mappings.differences import TOPICS, differences
from mappings.elsewhere import Elsewhere, answer
from mappings.family import Family
from surgery.errors import UsageError, show
from surgery.facts import FACTS
from surgery.values import Exactness

_LETTERS = {Exactness.BYTE: "B", Exactness.ALGEBRAIC: "A", Exactness.APPROXIMATE: "X"}
LEGEND = (
    "B byte: every output byte is a copy of an input byte (in a wider type the same value), or a written zero or one",
    "A algebraic: the same real function, each computed value rounded once",
    "- impossible",
    "* for checkpoints that meet conditions: `convert explain FROM TO` lists them, and what a refusal is about",
)


def matrix_text() -> str:
    """All families, and for every source and target how exactly it converts at best."""
    sources, targets = families(), names(families())
    found = {(d.source.label, d.target.name): d for d in directions()}
    width = max(len(f.label) for f in sources) + 2
    wide = max(len(name) for name in targets) + 6
    legend = [f"{number:>2} {name}" for number, name in enumerate(targets, 1)]
    lines = ["Rows are read, columns are written.", ""]
    lines += ["".join(f"{entry:<{wide}}" for entry in legend[at : at + 5]).rstrip() for at in range(0, len(legend), 5)]
    lines += ["", " " * width + " ".join(f"{number:>2}" for number in range(1, len(targets) + 1))]
    for source in sources:
        cells = [" =" if source.name == name else f"{cell(found[source.label, name]):>2}" for name in targets]
        lines.append(f"{source.label:<{width}}" + " ".join(cells))
    return "\n".join([*lines, "", *LEGEND])


def cell(way: Direction) -> str:
    """A direction in a letter, and a star where it has conditions."""
    if way.exactness is None:
        return "-"
    return _LETTERS[way.exactness] + ("*" if way.conditions else "")


def explanation(name: str, target: str) -> str:
    """How each variant of a family differs from a target, what that costs, and what is impossible."""
    told = [f for f in families() if name in (f.name, f.label)]
    other = None if told else answer(name)
    if not told and other is None:
        raise UsageError(f"there is no family {show(name)}; `convert families` lists them.")
    if other is not None and not other.family:
        return answered(other)
    target = _target(target)
    if other is not None:
        told = [f for f in families() if f.name == other.family]
    parts = [_explain(source, target) for source in told]
    return "\n\n".join([answered(other), *parts] if other is not None else parts)


def answered(one: Elsewhere) -> str:
    """What there is to say about a model without a table."""
    lines = [f"{one.title}: {f'read as {one.family}' if one.family else 'not converted'}", *(f"  {r}" for r in one.reasons)]
    lines += [f"  instead: {one.instead}"] if one.instead else []
    return "\n".join([*lines, f"  read in {one.source}"])


def verdict(way: Direction) -> str:
    """A direction's class in words."""
    if way.exactness is None:
        return "impossible"
    return f"{way.exactness}{' under conditions' if way.conditions else ''}"


def _target(name: str) -> str:
    """The family that is meant; one without a table is the family that reads it."""
    known = names(families())
    if name in known:
        return name
    if (one := answer(name)) is not None and one.family:
        return one.family
    said = f": {one.title} is {one.reasons[0]}" if one is not None else ""
    raise UsageError(f"there is no family {show(name)} to write{said}; `convert families` lists them.")


def _explain(source: Family, target: str) -> str:
    if source.name == target:
        return f"{source.title} ({source.label}): the same family; converting normalises names, config and files\n" + "\n".join(
            [f"  read in {source.source}", *(f"  note: {note}" for note in source.notes)]
        )
    way = direction(source, target)
    lines = [f"{source.title} ({source.label}) -> {way.target.title}: {verdict(way)}", f"  read in {source.source}"]
    lines += ["  names and layouts", *_tensor_lines(way)]
    told = differences(way)
    for topic, _ in TOPICS:
        found = [d for d in told if d.topic == topic]
        if topic == "experts" and not found:
            continue
        lines.append(f"  {topic}" + ("" if found else ": the same"))
        for one in found:
            lines.append(f"    {one.meaning} ({one.fact}): {one.source}  ->  {one.target}")
            lines.append(f"        {one.cost}" if one.cost.startswith(("impossible", "only")) else f"        costs {one.cost}")
    lines += [f"  step {step.name} ({step.exactness}): {step.says}" for step in way.passes]
    for refusal in way.refusals:
        reason = refusal.reason or "no key of the target states it"
        lines.append(f"  impossible: {FACTS[refusal.fact].meaning} ({refusal.fact}) is {refusal.value}; {reason}")
    if way.exactness is not None:
        lines += [f"  only if: {condition}" for condition in way.conditions]
    return "\n".join([*lines, *(f"  note: {note}" for note in source.notes)])


def _tensor_lines(way: Direction) -> list[str]:
    lines = []
    for group in correspond(way.source, way.target):
        left, right = (" + ".join(_short(r.name) for r in rows) for rows in (group.source, group.target))
        lines.append(f"    {left}  ->  {right or '(nothing)'}   {_change(group)}")
        if group.change not in ("as it is", "renamed"):
            lines += [f"        {r.layout}" for r in group.source]
            lines += [f"        -> {r.layout}" for r in group.target]
    return lines + [f"    {_short(item.name)}  is left: {item.why}" for item in way.source.leave]


def _change(group: Correspondence) -> str:
    return group.change if group.change in ("has no place", "as it is") else f"{group.change}: bytes move, none changes"


def _short(name: str) -> str:
    name = name.removeprefix("model.").removesuffix(".weight")
    return name.replace("layers.{layer}.", "N.").replace("h.{layer}.", "N.")
