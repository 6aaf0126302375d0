"""Two runs into one OUT, where locks work and where they always say yes."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from tests.faults.bench import OUT, Bench
from tests.faults.calls import read_log
from tests.faults.running import Ended, Trace


def concurrent(bench: Bench) -> None:
    """A second run that begins somewhere within the first: one of them completes OUT."""
    for off in _offsets(bench, 1.05):
        with bench.trial() as folder:
            out = folder / OUT
            ended = _both(bench, out, off, ())
            found = bench.state(out)
            wrong = _crashes(ended)
            if found.word != "complete":
                wrong.append(f"OUT is {found}")
            if all(each.status for each in ended):
                wrong.append(f"neither run succeeded: {ended[0].last} / {ended[1].last}")
            left = sorted(set(os.listdir(folder)) - {OUT})
            if left:
                wrong.append(f"left behind: {', '.join(left[:3])}")
            bench.note("concurrent", _said(bench, off, ended), wrong)


def nolock(bench: Bench) -> None:
    """The same where flock always succeeds, as on Lustre, GPFS and some NFS: OUT is never damaged, nothing foreign is in it."""
    for off in _offsets(bench, 1.0):
        with bench.trial() as folder:
            out = folder / "run" / OUT
            out.parent.mkdir()
            traces = [Trace(folder / f"{number}.log", ("flock",), "flock:retval=0") for number in range(2)]
            ended = _both(bench, out, off, traces)
            found = bench.state(out)
            wrong = _crashes(ended)
            if found.word not in ("complete", "absent"):
                wrong.append(f"OUT is {found}")
            if found.word == "absent" and not all(each.status for each in ended):
                wrong.append("exit 0, and no output")
            if not any(call.injected for trace in traces for call in read_log(trace.log, folder)):
                wrong.append("not reached: neither run asked for a lock")
            bench.note("nolock", _said(bench, off, ended), wrong)
            if not wrong:
                bench.recovers("nolock", f"again after {_said(bench, off, ended)}", out)


def _offsets(bench: Bench, most: float) -> list[float]:
    """Seconds after which the second run begins; the first pair begins at once."""
    count = max(4, bench.points // 2)
    return [0.0, *(bench.rng.uniform(0, most) * bench.clean.seconds for _ in range(count - 1))]


def _both(bench: Bench, out: Path, off: float, traces: Sequence[Trace]) -> tuple[Ended, Ended]:
    one, other = traces or (None, None)
    first = bench.start(out, trace=one)
    time.sleep(off)
    second = bench.start(out, trace=other)
    return first.wait(bench.seconds), second.wait(bench.seconds)


def _crashes(ended: Sequence[Ended]) -> list[str]:
    return [wrong for each in ended for wrong in each.crashes()]


def _said(bench: Bench, off: float, ended: Sequence[Ended]) -> str:
    return f"the second begins at {off / bench.clean.seconds:.0%}: exits {ended[0].status}, {ended[1].status}"
