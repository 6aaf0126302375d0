"""What is known to be wrong: patterns of ids, the kind of fault, and in words what is wrong. It is to become empty.

Strict both ways: a case that a pattern matches must fail so, and a pattern must match a case that does. Whoever mends a
cause takes its line out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from tests.differential.case import Kind, Outcome


@dataclass(frozen=True)
class Expected:
    """A cause: every case whose id is matched as a whole by ``ids`` has a fault of this kind, for this reason."""

    ids: str
    kind: Kind
    because: str

    def covers(self, outcome: Outcome, kind: Kind) -> bool:
        return self.kind == kind and re.fullmatch(self.ids, outcome.id) is not None


EXPECTED: tuple[Expected, ...] = ()


@dataclass(frozen=True)
class Reckoning:
    """Outcomes held against the table."""

    outcomes: tuple[Outcome, ...]
    new: tuple[Outcome, ...]  # faults that no line expects
    mended: tuple[tuple[Expected, Outcome], ...]  # a line expects a fault, and the case has none of this kind
    idle: tuple[Expected, ...]  # lines that match no case that was run


def reckoned(outcomes: Iterable[Outcome], table: Iterable[Expected] = EXPECTED) -> Reckoning:
    """Every outcome with what the table says of it."""
    found, new, mended, used = [], [], [], set()
    lines = tuple(table)
    for outcome in outcomes:
        lines_here = [line for line in lines if re.fullmatch(line.ids, outcome.id)]
        kinds = {fault.kind for fault in outcome.faults}
        unexpected = tuple(fault for fault in outcome.faults if fault.kind not in {line.kind for line in lines_here})
        if unexpected:
            new.append(replace(outcome, faults=unexpected))
        used.update(line for line in lines_here if line.kind in kinds)
        mended += [(line, outcome) for line in lines_here if line.kind not in kinds]
        found.append(replace(outcome, expected=bool(outcome.faults) and not unexpected))
    idle = tuple(line for line in lines if line not in used)
    return Reckoning(tuple(found), tuple(new), tuple(mended), idle)
