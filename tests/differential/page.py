"""What was counted, as the command prints it and as docs/differential.md holds it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tests.differential.case import Outcome
from tests.differential.expected import Reckoning
from tests.differential.sweeps import SWEEPS

_COLUMNS = ("cases", "same", "refused", "no judge", "known to fail", "new failures")


def table(found: Reckoning) -> str:
    """Verdicts by sweep."""
    by: dict[str, list[Outcome]] = {}
    for outcome in found.outcomes:
        by.setdefault(outcome.id.partition("/")[0], []).append(outcome)
    lines = [f"| sweep | {' | '.join(_COLUMNS)} |", f"|---|{'---:|' * len(_COLUMNS)}"]
    lines += [_row(name, by[name]) for name in SWEEPS if name in by]
    return "\n".join([*lines, _row("**all**", found.outcomes)])


def page(found: Reckoning) -> str:
    """docs/differential.md."""
    return table(found)


def _row(name: str, outcomes: Sequence[Outcome]) -> str:
    told = Counter(outcome.verdict for outcome in outcomes)
    known = sum(outcome.expected for outcome in outcomes)
    cells = (len(outcomes), told["same"], told["refused"], told["no judge"], known, told["failed"] - known)
    return f"| {name} | {' | '.join(f'{cell:,}' for cell in cells)} |"
