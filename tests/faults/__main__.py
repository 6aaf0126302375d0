"""`make faults`: every path through every kind of bad day, or those asked for; exits 1 when a check fails."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.faults.bench import Check
from tests.faults.modes import MODES
from tests.faults.page import COUNTS, counted, keep, page, read, shown
from tests.faults.paths import NAMES
from tests.faults.suite import tried


def main(words: Sequence[str] | None = None) -> int:
    told = _options().parse_args(words)
    if told.page:
        print(page(read(told.json)))
        return 0
    counts, passed, began = {}, True, time.monotonic()
    for path in told.paths:
        result = tried(path, told.modes, points=told.points, seed=told.seed, told=_all if told.all else _failures)
        counts[path] = counted(result.checks)
        passed &= not result.failed
        keep({path: counts[path]}, told.json)  # at once: what comes later may be interrupted
        print(f"{path}: {len(result.checks)} checks, {len(result.failed)} failed, {time.monotonic() - began:.0f} s", flush=True)
        for mode, reason in result.skipped.items():
            print(f"{path}: {mode} was left out: {reason}", flush=True)
    print(shown(counts))
    return not passed


def _all(check: Check) -> None:
    print("    " if check.passed else "FAIL", check, flush=True)


def _failures(check: Check) -> None:
    if not check.passed:
        _all(check)


def _names(known: Sequence[str]) -> object:
    """Reads a list with commas of names that are known."""

    def read_names(text: str) -> list[str]:
        names = text.split(",")
        if strange := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"{strange[0]!r} is none of {', '.join(known)}")
        return names

    return read_names


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--paths", type=_names(NAMES), default=list(NAMES), metavar="A,B", help=", ".join(NAMES))
    parser.add_argument("--modes", type=_names(tuple(MODES)), default=list(MODES), metavar="A,B", help=", ".join(MODES))
    parser.add_argument("--points", type=int, default=60, help="trials of each mode in which chance chooses")
    parser.add_argument("--seed", type=int, default=0, help="of chance")
    parser.add_argument("--json", type=Path, default=COUNTS, metavar="FILE", help="where the counts are kept")
    parser.add_argument("--page", action="store_true", help="print the kept counts as the table of the documentation")
    parser.add_argument("--all", action="store_true", help="print every check, not only what fails")
    return parser


if __name__ == "__main__":
    sys.exit(main())
