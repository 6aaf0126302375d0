"""Families and pairs in words, computed from the tables."""

from __future__ import annotations

from mappings import families
from mappings.compare import Direction, correspond, direction, directions, names
from mappings.family import Family, Fixed, Setting
from surgery.errors import UsageError, show
from surgery.facts import FACTS
from surgery.values import Exactness


_LETTERS = {Exactness.BYTE: "B", Exactness.ALGEBRAIC: "A", Exactness.APPROXIMATE: "X"}


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
        cells = [" =" if source.name == name else _cell(found[source.label, name]) for name in targets]
        lines.append(f"{source.label:<{width}}" + " ".join(cells))
    return "\n".join(
        [
            *lines,
            "",
            "B byte: every output byte is a copy of an input byte, or a written zero or one",
            "A algebraic: the same real function, each computed value rounded once",
            "- impossible",
            "* for checkpoints that meet conditions: `convert explain FROM TO` lists them, and what a refusal is about",
        ]
    )


def _cell(way: Direction) -> str:
    letter = "-" if way.exactness is None else _LETTERS[way.exactness]
    return f"{letter}*" if _conditional(way) else f" {letter}"


def explanation(name: str, target: str) -> str:
    """How each variant of a family differs from a target, what that costs, and what is impossible."""
    sources = [f for f in families() if name in (f.name, f.label)]
    if not sources:
        raise UsageError(f"there is no family {show(name)}; `convert families` lists them.")
    if target not in names(families()):
        raise UsageError(f"there is no family {show(target)}; `convert families` lists them.")
    return "\n\n".join(_explain(source, target) for source in sources)


def _explain(source: Family, target: str) -> str:
    way = direction(source, target)
    lines = [f"{source.title} ({source.label}) -> {way.target.title}: {_verdict(way)}", f"  read in {source.source}", "  tensors"]
    for group in correspond(source, way.target):
        left = " + ".join(_short(r.name) for r in group.source)
        right = " + ".join(_short(r.name) for r in group.target) or "(nothing)"
        lines.append(f"    {left}  ->  {right}   {group.change}")
        if group.change not in ("as it is", "renamed"):
            lines += [f"        {r.layout}" for r in group.source]
            lines += [f"        -> {r.layout}" for r in group.target]
    lines += [f"    {_short(item.name)}  is left: {item.why}" for item in source.leave]
    lines.append("  config")
    lines += [f"    {line}" for line in _config_lines(source, way.target)]
    for step in way.passes:
        lines.append(f"  step {step.name} ({step.exactness}): {step.says}")
    for refusal in way.refusals:
        lines.append(f"  impossible: {FACTS[refusal.fact].meaning} is {refusal.value}; {refusal.reason or refusal.origin or 'no setting states it'}")
    for condition in way.conditions:
        lines.append(f"  only if: {condition}")
    lines += [f"  note: {note}" for note in source.notes]
    return "\n".join(lines)


def _verdict(way: Direction) -> str:
    if way.exactness is None:
        return "impossible"
    return f"{way.exactness}{' under conditions' if _conditional(way) else ''}"


def _conditional(way: Direction) -> bool:
    return way.exactness is not None and bool(way.conditions)


def _short(name: str) -> str:
    return name.removeprefix("model.").removesuffix(".weight").replace("layers.{layer}.", "N.").replace("h.{layer}.", "N.")


def _config_lines(source: Family, target: Family) -> list[str]:
    """Facts that the two state differently."""
    theirs = {fact: s for s in target.settings for fact in s.fact.split()}
    lines = []
    for setting in source.settings:
        for fact in setting.fact.split():
            other = theirs.get(fact)
            mine, yours = _states(setting), _states(other) if other is not None else "not stated"
            if mine != yours:
                lines.append(f"{FACTS[fact].meaning} ({fact}): {mine}  ->  {yours}")
    return lines


def _states(setting: Setting | Fixed) -> str:
    if isinstance(setting, Fixed):
        return f"always {setting.value if not hasattr(setting.value, 'fact') else _of(setting.value)}"
    how = "" if setting.via.name == "same" else f" ({setting.via.name})"
    return f"{' / '.join(setting.keys)}{how}"


def _of(value: object) -> str:
    over = getattr(value, "over", "")
    return f"{getattr(value, 'fact', '')}{f' / {over}' if over else ''}"
