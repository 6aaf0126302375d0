"""Storage that fails: full, with errors, with writes that report success and store nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.faults.bench import LOG, OUT, Bench
from tests.faults.calls import CHANGES, RENAMES, SYNCS, WRITES, Call, read_log
from tests.faults.running import Child, Trace, mount, unmount

_FILLED = (0.05, 0.35, 0.65, 0.95)  # shares of what the output needs
_LEAST = 65536
#: which calls fail, with what, and the words that a message must then have
_ERRORS = (
    (tuple(WRITES), (("ENOSPC", "space"), ("EIO", "input/output"), ("EDQUOT", ""))),
    (SYNCS, (("EIO", "input/output"), ("ENOSPC", "space"))),
    (RENAMES, (("EXDEV", ""), ("EACCES", ""), ("EIO", "input/output"))),
)


def enospc(bench: Bench) -> None:
    """A disk that becomes full: one of our own where it can be mounted, else a limit on a file's size."""
    for share in _FILLED:
        with bench.trial() as folder:
            if "mount" in bench.missing:
                _limited(bench, folder / OUT, share)
            else:
                _mounted(bench, folder / "disk", share)


def _mounted(bench: Bench, disk: Path, share: float) -> None:
    disk.mkdir()
    size = max(_LEAST, int(bench.clean.nbytes * share))
    if not mount(disk, "-t", "tmpfs", "-o", f"size={size}", "tmpfs"):
        raise OSError(f"no tmpfs could be mounted at {disk}")
    try:
        ended = bench.run(disk / OUT)
        bench.note("enospc", f"{share:.0%} of the space needed", bench.fails_cleanly(ended, disk / OUT, "space"))
        mount(disk, "-o", f"remount,size={4 * bench.clean.nbytes + 2**22}")
        bench.recovers("enospc", f"again with more space than {share:.0%}", disk / OUT)
    finally:
        unmount(disk)


def _limited(bench: Bench, out: Path, share: float) -> None:
    largest = max((call.nbytes for call in bench.clean.shard_writes), default=_LEAST)
    limit = max(4096, int(largest * share))
    ended = Child(bench.case.command(bench.case.folder, out), out.parent, largest=limit).wait(bench.seconds)
    bench.note("enospc", f"no file above {share:.0%} of the largest write", bench.fails_cleanly(ended, out))
    bench.recovers("enospc", "again without the limit", out)


def error(bench: Bench) -> None:
    """Calls that fail: writes, syncs and renames of the output, reads of the source."""
    for call, code, word in _failing(bench):
        with bench.trial() as folder:
            out = folder / OUT
            trace = Trace(folder / LOG, (call.name,), f"{call.name}:error={code}:when={call.nth}")
            ended = bench.run(out, trace=trace)
            what = f"{code} on {call.name} {call.nth} ({call.file})"
            wrong = bench.fails_cleanly(ended, out, word)
            if ended.status == 0 and bench.state(out).word == "complete" and call.name not in SYNCS:
                wrong = []  # tried again, and it worked
            if not _injected(trace.log, folder):
                wrong = ["not reached"]
            bench.note("error", what, wrong)
            bench.recovers("error", f"again after {what}", out)


def _failing(bench: Bench) -> Iterator[tuple[Call, str, str]]:
    for names, codes in _ERRORS:
        calls = [call for call in bench.clean.calls if call.name in names]
        for code, word in codes if calls else ():
            yield bench.rng.choice(calls), code, word
    for share in (0.3, 0.8) if bench.clean.reads else ():
        yield bench.clean.reads[int(share * len(bench.clean.reads))], "EIO", "input/output"


def lostwrite(bench: Bench) -> None:
    """A write of tensors or of a document that reports success and stores nothing: exit 0 must not hide it.

    The number it reports is never more than was asked for, whichever thread comes there first: else the fault would be one
    that no kernel makes.
    """
    writes = bench.clean.shard_writes
    several = len({call.thread for call in writes}) > 1
    least = min((call.nbytes for call in writes), default=0)
    documents = [call for call in bench.clean.calls if call.nbytes and call.file.partition(".tmp.")[0] in bench.clean.documents]
    chosen = {(call.name, call.nth): call for call in [*bench.sample(writes, max(3, bench.points // 3)), *documents]}
    for call in chosen.values():
        reported = least if several and call not in documents else call.nbytes
        with bench.trial() as folder:
            out = folder / OUT
            trace = Trace(folder / LOG, CHANGES, f"{call.name}:retval={reported}:when={call.nth}")
            ended = bench.run(out, trace=trace)
            found = bench.state(out)
            wrong = ended.crashes()
            if not _injected(trace.log, folder):
                wrong.append("not reached")
            if found.word != "complete" and (ended.status == 0 or found.word != "absent"):
                wrong.append(f"exit {ended.status}, OUT is {found}")
            bench.note("lostwrite", f"{call.name} {call.nth} of {call.file}, {reported} bytes", wrong)


def _injected(log: Path, folder: Path) -> bool:
    return any(call.injected for call in read_log(log, folder))
