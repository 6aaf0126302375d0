"""`make differential`: every case, or those asked for; publishes the counts of the sweeps that were run whole."""

from __future__ import annotations

import argparse
import re
import sys
import time

from tests.differential.expected import reckoned
from tests.differential.page import counted, publish, table
from tests.differential.running import run, sampled
from tests.differential.sweeps import SWEEPS, cases


def main(words: list[str] | None = None) -> int:
    told = _options().parse_args(words)
    chosen = [case for case in cases(*told.sweep) if re.search(told.only, case.id)]
    if told.sample:
        chosen = sampled(chosen, told.sample, told.seed)
    outcomes, started = [], time.monotonic()
    for outcome in run(chosen, told.workers):
        outcomes.append(outcome)
        (seen,) = reckoned([outcome]).outcomes
        if told.all or (seen.faults and not seen.expected):
            print("NEW   " if seen.faults and not seen.expected else "      ", outcome.line, flush=True)
        if len(outcomes) % 500 == 0:
            print(f"... {len(outcomes)} of {len(chosen)} cases, {time.monotonic() - started:.0f} s", flush=True)
    found = reckoned(outcomes)
    whole = not (told.only or told.sample)
    ours = tuple(line for line in found.idle if line.ids.partition("/")[0] in (told.sweep or SWEEPS)) if whole else ()
    for line, outcome in found.mended:
        print("MENDED", outcome.id, "is expected to fail", f"({line.kind}: {line.because})", "and does not:", outcome.verdict)
    for line in ours:
        print("IDLE  ", line.ids, f"({line.kind}: {line.because})", "matches no failure")
    counts = counted(found.outcomes)
    print(table(counts))
    if whole:
        publish(counts)
    return bool(found.new or found.mended or ours)


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
