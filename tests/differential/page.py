"""What was counted: of one run as a table, and of the last whole run of every sweep as docs/differential.md."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.differential.case import Outcome
from tests.differential.expected import EXPECTED
from tests.differential.sweeps import SWEEPS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "differential.md"
COUNTS = Path(__file__).with_name("counts.json")
_COLUMNS = ("sources", "cases", "same", "refused", "no judge", "known to fail", "new failures")

Count = Mapping[str, Any]  # of a sweep: a number for each column, and `causes`: [words, kind, cases, the id of one]


def counted(outcomes: Sequence[Outcome]) -> dict[str, Count]:
    """What became of each sweep's cases."""
    by: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by.setdefault(outcome.id.partition("/")[0], []).append(outcome)
    return {name: _count(by[name]) for name in SWEEPS if name in by}


def table(counts: Mapping[str, Count]) -> str:
    """The numbers, by sweep."""
    total = {column: sum(count[column] for count in counts.values()) for column in _COLUMNS}
    rows = [_row(f"`{name}`", counts[name]) for name in SWEEPS if name in counts]
    return "\n".join([f"| sweep | {' | '.join(_COLUMNS)} |", f"|---|{'---:|' * len(_COLUMNS)}", *rows, _row("**all**", total)])


def publish(counts: Mapping[str, Count]) -> None:
    """Keep the counts of these sweeps in the place of what was counted before, and write the page."""
    kept = json.loads(COUNTS.read_text(encoding="utf-8")) if COUNTS.is_file() else {}
    kept |= counts
    COUNTS.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    PAGE.write_text(page(kept), encoding="utf-8")


def page(counts: Mapping[str, Count]) -> str:
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
        table(counts),
        "",
        "## The sweeps",
        "",
        *(f"- `{name}`: {says}." for name, (_, says) in SWEEPS.items()),
        "",
        "## What is known to be wrong",
        "",
        *_causes(counts),
        "",
        "A sample of every sweep runs with the tests. `python -m tests.differential --only PATTERN --all` shows single cases.",
        "",
    ]
    return "\n".join(lines)


def _count(outcomes: Sequence[Outcome]) -> Count:
    told = Counter(outcome.verdict for outcome in outcomes)
    known = sum(outcome.expected for outcome in outcomes)
    sources = {one.id.partition("->")[0] for one in outcomes}
    numbers = (len(sources), len(outcomes), told["same"], told["refused"], told["no judge"], known, told["failed"] - known)
    failing: dict[tuple[str, str], list[str]] = {}
    for line in EXPECTED:
        ids = [one.id for one in outcomes if re.fullmatch(line.ids, one.id)]
        failing.setdefault((line.because, line.kind), []).extend(ids)
    causes = [[because, kind, len(ids), ids[0]] for (because, kind), ids in failing.items() if ids]
    return {**dict(zip(_COLUMNS, numbers, strict=True)), "causes": causes}


def _row(name: str, count: Count) -> str:
    return f"| {name} | {' | '.join(f'{count[column]:,}' for column in _COLUMNS)} |"


def _causes(counts: Mapping[str, Count]) -> list[str]:
    """Each cause with how many cases fail by it, and one of them."""
    causes = [cause for name in SWEEPS if name in counts for cause in counts[name]["causes"]]
    rows = [f"| {because} | {kind} | {cases:,} | `{one}` |" for because, kind, cases, one in causes]
    return ["| cause | kind | cases | such as |", "|---|---|---:|---|", *rows] if rows else ["Nothing."]
