"""`make differential`: every case, or those asked for; publishes the counts of sweeps that were run whole."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Iterator
from itertools import groupby

from tests.differential.case import Outcome
from tests.differential.expected import Reckoning, reckoned
from tests.differential.page import counted, publish, table
from tests.differential.running import run, sampled
from tests.differential.sweeps import SWEEPS, cases


def main(words: list[str] | None = None) -> int:
    told = _options().parse_args(words)
    chosen = [case for case in cases(*told.sweep) if re.search(told.only, case.id)]
    if told.sample:
        chosen = sampled(chosen, told.sample, told.seed)
    whole = not (told.only or told.sample)
    passed, counts = True, {}
    for _, outcomes in groupby(_shown(run(chosen, told.workers), len(chosen), told.all), key=sweep_of):
        found = reckoned(outcomes)
        counts |= counted(found.outcomes)
        passed &= _said(found, whole)
        if whole:  # at once: what comes later may be interrupted
            publish(counted(found.outcomes))
    print(table(counts))
    return not passed


def sweep_of(outcome: Outcome) -> str:
    """The first word of an id."""
    return outcome.id.partition("/")[0]


def _shown(outcomes: Iterator[Outcome], total: int, everything: bool) -> Iterator[Outcome]:
    """The outcomes as they come; what is new, or everything, is printed."""
    started = time.monotonic()
    for number, outcome in enumerate(outcomes, 1):
        new = bool(reckoned([outcome]).new)
        if new or everything:
            print("NEW   " if new else "      ", outcome.line, flush=True)
        if number % 500 == 0:
            print(f"... {number} of {total} cases, {time.monotonic() - started:.0f} s", flush=True)
        yield outcome


def _said(found: Reckoning, whole: bool) -> bool:
    """Whether a sweep is as the table of known faults says; what of that table is no longer true is printed."""
    sweeps = {sweep_of(outcome) for outcome in found.outcomes}
    idle = [line for line in found.idle if whole and line.ids.partition("/")[0] in sweeps]
    for line, outcome in found.mended:
        print("MENDED", outcome.id, "is expected to fail", f"({line.kind}: {line.because})", "and does not:", outcome.verdict)
    for line in idle:
        print("IDLE  ", line.ids, f"({line.kind}: {line.because})", "matches no failure")
    return not (found.new or found.mended or idle)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description=__doc__)
    parser.add_argument("--sweep", action="append", default=[], choices=sorted(SWEEPS), help="only this one; may be repeated")
    parser.add_argument("--only", default="", metavar="PATTERN", help="only cases whose id this regular expression finds")
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="only so many cases, over all sweeps")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--all", action="store_true", help="print every outcome, not only what is new")
    return parser


if __name__ == "__main__":
    sys.exit(main())
