"""What was counted, as the command prints it and as docs/differential.md holds it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from tests.differential.case import Outcome
from tests.differential.expected import EXPECTED, Reckoning
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
    lines = [
        "# Thousands of small checkpoints, and what an outsider says of them",
        "",
        "Written by `make differential`. Every case is a tiny checkpoint that is converted, edited or merged in this process,",
        "and judged by somebody else: transformers' stock classes (logits of the source and of the output, float32, eager",
        "attention), peft's unmerged forward, or the logits of the vendors' own code that the goldens hold. Where transformers",
        "has no class for what was written, the reference decoder of that family is asked: the second best, since it is ours.",
        "",
        "- **same**: accepted; the output loads with no tensor missing or left over and computes what the source computes;",
        "  `validate` finds no error in it that its source has not; planned to its own family it is recognised as the variant",
        "  that was written, and gives the same config and tensors. Cells, saved and random checkpoints and adapters also pass",
        "  the product's own verification, and cells come back to the family that they came from.",
        "- **refused**: in words, before anything is written.",
        "- **no judge**: nobody outside computes the source (a value that its class refuses, a cell without a golden).",
        "- **known to fail**: wrong today, and listed below with the cause. A listed case that does not fail is an error too.",
        "",
        table(found),
        "",
        "## The sweeps",
        "",
        *(f"- `{name}`: {says}." for name, (_, says) in SWEEPS.items()),
        "",
        "## What is known to be wrong",
        "",
        *_causes(found.outcomes),
        "",
        "A sample of every sweep runs with the tests. `python -m tests.differential --only PATTERN --all` shows single cases.",
        "",
    ]
    return "\n".join(lines)


def _row(name: str, outcomes: Sequence[Outcome]) -> str:
    told = Counter(outcome.verdict for outcome in outcomes)
    known = sum(outcome.expected for outcome in outcomes)
    cells = (len(outcomes), told["same"], told["refused"], told["no judge"], known, told["failed"] - known)
    return f"| {name} | {' | '.join(f'{cell:,}' for cell in cells)} |"


def _causes(outcomes: Sequence[Outcome]) -> list[str]:
    """Each cause with how many cases fail by it, and one of them."""
    told: dict[tuple[str, str], list[str]] = {}
    for line in EXPECTED:
        failing = [one.id for one in outcomes if re.fullmatch(line.ids, one.id)]
        told.setdefault((line.because, line.kind), []).extend(failing)
    if not told:
        return ["Nothing."]
    rows = [
        f"| {because} | {kind} | {len(ids):,} | `{ids[0]}` |" for (because, kind), ids in told.items() if ids
    ]
    return ["| cause | kind | cases | such as |", "|---|---|---:|---|", *rows]
