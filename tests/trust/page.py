"""The page: kept counts in tables, in the words of those who counted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.corpus.__main__ import COUNTS as BAD
from tests.corpus.judge import VERIFY
from tests.faults import page as faults
from tests.fuzz import corpus_of as fuzz

PAGE = Path(__file__).resolve().parents[2] / "docs" / "trust.md"

_HEAD = """# What was tried against it

Written by `make trust` from the counts that the sweeps keep when they run; [SECURITY.md](../SECURITY.md) says what is
promised, and which tests hold it on every run.
"""
_FAULTS = """## Bad days

`make faults` breaks every way to make an output in the ways below, at instants that chance chooses. A check passes where OUT
is absent, or complete and byte for byte what a run without a fault writes; where nothing of the source has changed and nothing
strange lies beside OUT; where the run ended with the exit status that is documented for it; and where the same command, run
again, completes OUT from what was proven. Counts are checks; those that failed are in parentheses.
"""
_BAD = """## Bad checkpoints

`make corpus` converts every bad, hostile, or odd but good checkpoint of `tests/corpus`, from a family that moves bytes and from
one that computes, with verification and without. Counts are those that ended as they must, of those that were tried: refused
with the status that is documented and nothing under OUT, or converted to the tensors that were put in.
"""
_FUZZ = """## Strangers' files

`make fuzz` mutates good files (bytes, structure, numbers, nesting; by coverage with `--guided`) and puts each to the reader
that a command would. A case is found if it gives a traceback, Python's own words, a status that is not documented, a control
character on the terminal, or takes seconds or memory beyond the limits. What was found is mended, kept as a file, and tried
first in every run.
"""


def page() -> str:
    """docs/trust.md."""
    tried = faults.read(faults.COUNTS)
    mutated = json.loads(fuzz.COUNTS.read_text(encoding="utf-8")) if fuzz.COUNTS.is_file() else {}
    bad = json.loads(BAD.read_text(encoding="utf-8")) if BAD.is_file() else {}
    return "\n".join([_HEAD, _FAULTS, faults.page(tried), "", _BAD, _kinds(bad), "", _FUZZ, _surfaces(mutated), ""])


def _kinds(counts: Mapping[str, Mapping[str, Mapping[str, int]]]) -> str:
    lines = [f"| | {' | '.join(f'`--verify {verify}`' for verify in VERIFY)} |", f"|---|{'---:|' * len(VERIFY)}"]
    for kind, by in counts.items():
        lines.append(f"| {kind} | {' | '.join('{right} of {of}'.format(**by[verify]) for verify in VERIFY)} |")
    return "\n".join(lines)


def _surfaces(counts: Mapping[str, Mapping[str, Any]]) -> str:
    lines = ["| file | cases | minutes | found, and mended |", "|---|---:|---:|---:|"]
    for name, told in counts.items():
        lines.append(f"| {name} | {told['cases']:,} | {told['seconds'] / 60:.0f} | {told['found']} |")
    total = {key: sum(told[key] for told in counts.values()) for key in ("cases", "seconds", "found")}
    lines.append(f"| **all** | {total['cases']:,} | {total['seconds'] / 60:.0f} | {total['found']} |")
    return "\n".join(lines)
