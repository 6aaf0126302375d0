"""A verdict as one self-contained page: no script, no network, nothing but what was measured and what it was held against."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from convert.verification.meaning import Meaning
from convert.verification.verdict import Stage, Verdict
from surgery.errors import visible

_TEMPLATE = "page.html.jinja"
_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 920, 268, 56, 12, 34


@dataclass(frozen=True)
class Side:
    """One checkpoint as the page shows it: where it lies, its files with sizes and hashes, and what its config means."""

    role: str
    path: str
    family: str
    files: Sequence[tuple[str, int, str]]  # name, bytes, hash with its kind before it
    meaning: Meaning | None


@dataclass(frozen=True)
class Tensor:
    """Where an output tensor comes from."""

    name: str
    dtype: str
    shape: Sequence[int]
    ranges: Sequence[str]  # "source[first .. last] -> [first .. last]", as many as are worth showing
    operations: Sequence[str]


@dataclass(frozen=True)
class Bar:
    """One stage in the plot, in the plot's own units."""

    x: float
    width: float
    error: float  # y of the top
    allowed: float
    residual: float | None
    stage: Stage

    @property
    def kind(self) -> str:
        return "bad" if not self.stage.passed else "mlp" if self.stage.label.endswith("mlp") else "other"


def render(
    verdict: Verdict,
    sides: Sequence[Side],
    *,
    passed: bool,
    wrong: Sequence[str] = (),
    right: Sequence[str] = (),
    advice: str = "",
    tensors: Sequence[Tensor] = (),
    exactness: str = "",
    steps: Sequence[str] = (),
) -> str:
    """The page: what is ``wrong`` first, then what is ``right`` (by default the verdict), then what to do.

    Everything from a checkpoint is escaped by the template.
    """
    from jinja2 import Environment, StrictUndefined

    text = (Path(__file__).parent / _TEMPLATE).read_text(encoding="utf-8")
    template = Environment(
        autoescape=True, finalize=_shown, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(text)
    bars, ticks = _plot(verdict.stages)
    return template.render(
        verdict=verdict,
        stamp="verified" if passed else "cannot judge" if verdict.undecided else "not the same function",
        wrong=wrong or (() if verdict.passed or right else (verdict.sentence,)),
        right=right or ((verdict.sentence,) if verdict.passed and not wrong else ()),
        advice=advice,
        sides=sides,
        facts=_facts(sides),
        bars=bars,
        ticks=ticks,
        plot={"width": _WIDTH, "height": _HEIGHT, "left": _LEFT, "bottom": _BOTTOM},
        labels=[bar for i, bar in enumerate(bars) if i % max(1, len(bars) // 12) == 0],
        tensors=tensors,
        exactness=exactness,
        steps=steps,
    )


def _shown(value: Any) -> Any:
    """A value as the template then escapes it: a name of a stranger's file may hold what is not to be seen."""
    return visible(value) if type(value) is str else value


def _plot(stages: Sequence[Stage]) -> tuple[list[Bar], list[tuple[float, str]]]:
    """Bars on a logarithmic scale that holds every error and bound, and its ticks (y, label)."""
    found = [value for s in stages for value in (s.error, s.allowed, s.residual or 0.0) if 0 < value < math.inf]
    low = math.floor(math.log10(min(found))) - 1 if found else -8
    high = math.ceil(math.log10(max(found))) if found else 0
    inner = _HEIGHT - _BOTTOM - _TOP

    def y(value: float) -> float:
        if not 0 < value < math.inf:  # a difference of zero lies on the ground, one that is no number at the top
            return float(_TOP + inner) if value == 0 else float(_TOP)
        return _TOP + inner * (1 - (math.log10(value) - low) / max(1, high - low))

    step = (_WIDTH - _LEFT) / max(1, len(stages))
    bars = [
        Bar(_LEFT + i * step, step * 0.8, y(s.error), y(s.allowed), None if s.residual is None else y(s.residual), s)
        for i, s in enumerate(stages)
    ]
    every = max(1, (high - low) // 6)
    return bars, [(y(10.0**power), f"1e{power}") for power in range(low, high + 1, every)]


def _facts(sides: Sequence[Side]) -> list[tuple[str, str, str, bool]]:
    """Every statement of both configs: its name, both values in words, whether they are the same."""
    one, other = (side.meaning for side in sides)
    if one is None or other is None:
        return []
    rows = []
    for field in fields(Meaning):
        a, b = (_said(getattr(m, field.name)) for m in (one, other))
        rows.append((field.name.replace("_", " "), a, b, a == b))
    return rows


def _said(value: Any) -> str:
    if isinstance(value, tuple) and value and len(set(value)) == 1:
        return f"{_said(value[0])} in each of {len(value)} layers"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_said(inner)}" for key, inner in value.items()) or "none"
    return "none" if value is None else str(value)
