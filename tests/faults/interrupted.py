"""Runs that are cut short: killed at an instant or at a call, by lost power, with a torn file, by a signal."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterable
from pathlib import Path

from tests.faults.bench import LOG, OUT, Bench
from tests.faults.calls import CHANGES, Call, read_log, unsynced
from tests.faults.running import Trace

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PATIENCE = 30.0  # seconds in which a run must stop that was asked to


def kill(bench: Bench) -> None:
    """SIGKILL at instants spread over the time in which there is something to lose."""
    for _ in range(bench.points):
        with bench.trial() as folder:
            share = _killed_somewhere(bench, folder, 1.02)
            bench.recovers("kill", f"at {share:.0%} of the writing", folder / OUT)


def _killed_somewhere(bench: Bench, folder: Path, latest: float) -> float:
    """Kill a run at an instant of its writing, up to ``latest`` of it; returns which."""
    share = bench.rng.uniform(0, latest)
    child = bench.start(folder / OUT)
    bench.moment(child, folder / OUT, share)
    child.send(signal.SIGKILL)
    child.wait(bench.seconds)
    return share


def syscall(bench: Bench) -> None:
    """SIGKILL as a call begins that would change something."""
    for call in bench.sample(bench.clean.calls, bench.points):
        with bench.trial() as folder:
            wrong = _killed_at(bench, folder, call)
            bench.recovers("syscall", f"before {_said(call)}", folder / OUT, wrong)


def powerloss(bench: Bench) -> None:
    """SIGKILL as a call begins, and whatever was not synced by then is damaged; also just after exit 0."""
    for call in bench.sample(bench.clean.calls, bench.points):
        with bench.trial() as folder:
            wrong = _killed_at(bench, folder, call)
            lost = unsynced(read_log(folder / LOG, folder))
            _damage(lost, bench.rng)
            bench.recovers("powerloss", f"at {_said(call)}, {len(lost)} files damaged", folder / OUT, wrong)
    with bench.trial() as folder:
        bench.run(folder / OUT, trace=Trace(folder / LOG, CHANGES))
        _damage(unsynced(read_log(folder / LOG, folder)), bench.rng)
        found = bench.state(folder / OUT)
        bench.note("powerloss", "just after exit 0", [] if found.word == "complete" else [f"OUT is {found}"])


def torn(bench: Bench) -> None:
    """SIGKILL at an instant, and the file that was written last is cut anywhere."""
    for _ in range(bench.points):
        with bench.trial() as folder:
            share = _killed_somewhere(bench, folder, 1.0)
            newest = None if (folder / OUT).exists() else _newest(folder)  # what was published was synced before
            if newest is not None:
                os.truncate(newest, bench.rng.randrange(newest.stat().st_size))
            cut = f"{newest.name} cut" if newest is not None else "nothing to cut"
            bench.recovers("torn", f"at {share:.0%} of the writing, {cut}", folder / OUT)


def stopped(bench: Bench) -> None:
    """SIGINT, SIGTERM and SIGHUP: it ends soon, as the signal's status says, without a traceback."""
    for place in range(max(len(_SIGNALS), bench.points // 2)):
        number = _SIGNALS[place % len(_SIGNALS)]
        with bench.trial() as folder:
            share = bench.rng.uniform(0, 0.9)
            child = bench.start(folder / OUT)
            bench.moment(child, folder / OUT, share)
            child.send(number)
            ended = child.wait(_PATIENCE)
            wrong = [] if ended.status == -number else ended.crashes()
            if ended.status not in (128 + number, -number, 0):
                wrong.append(f"exit {ended.status}: {ended.last}")
            if ended.status == 0 and (found := bench.state(folder / OUT)).word != "complete":
                wrong.append(f"exit 0, OUT is {found}")
            bench.recovers("signal", f"{number.name} at {share:.0%} of the writing", folder / OUT, wrong)


def _killed_at(bench: Bench, folder: Path, call: Call) -> list[str]:
    """Run until a thread makes that call for the nth time, and kill it there; what is wrong where it was not."""
    inject = f"{call.name}:signal=SIGKILL:when={call.nth}"
    ended = bench.run(folder / OUT, trace=Trace(folder / LOG, CHANGES, inject))
    return ["not reached: the run ended with 0"] if ended.status == 0 else []


def _said(call: Call) -> str:
    return f"{call.name} {call.nth} ({call.file})"


def _damage(paths: Iterable[str], rng: random.Random) -> None:
    """What a file system may make of data that was never synced: nothing, a part, zeros."""
    for path in sorted(paths):
        size = os.path.getsize(path)
        kept = rng.randrange(size + 1)
        how = rng.choice(("empty", "cut", "zeros"))
        os.truncate(path, 0 if how == "empty" else kept)
        if how == "zeros":
            os.truncate(path, size)


def _newest(folder: Path) -> Path | None:
    """The file with something in it that changed last."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size]
    return max(files, key=lambda path: path.stat().st_mtime_ns, default=None)
