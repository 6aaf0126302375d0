"""One path under test: what its run without faults does, and the rule that is checked after every fault."""

from __future__ import annotations

import os
import random
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.calls import CHANGES, READS, WRITES, Call, read_log, steady, unsynced
from tests.faults.paths import Case
from tests.faults.running import Child, Ended, Trace
from tests.faults.state import State, Tree, state, tree

OUT = "OUT"
LOG = "calls.log"
#: files in which tensors lie, however they are called while they grow
_TENSORS = (".safetensors", ".zst")


@dataclass(frozen=True)
class Check:
    """One thing that was checked: what happened to the run, and what is wrong, if anything is."""

    mode: str
    what: str
    wrong: tuple[str, ...] = ()
    redone: float | None = None  # share of the output's bytes that a run after the fault wrote again

    @property
    def passed(self) -> bool:
        return not self.wrong

    def __str__(self) -> str:
        return f"{self.mode}: {self.what}" + (f": {'; '.join(self.wrong)}" if self.wrong else "")


@dataclass(frozen=True)
class Clean:
    """What runs without faults did: their files, how long they took, and what every run asks of the kernel (under strace)."""

    files: Tree
    nbytes: int
    seconds: float
    before: float  # of these, until something appeared beside OUT
    calls: tuple[Call, ...] = ()  # that change something beside or under OUT
    reads: tuple[Call, ...] = ()  # of the source

    @property
    def shard_writes(self) -> list[Call]:
        """The calls by which tensors were written."""
        return [call for call in self.calls if call.nbytes and _holds_tensors(call.file)]

    @property
    def documents(self) -> list[str]:
        """The files of OUT without tensors."""
        return [name for name in self.files if not _holds_tensors(name)]


def _holds_tensors(name: str) -> bool:
    return name.split(".tmp.")[0].endswith(_TENSORS)


@dataclass
class Bench:
    """A path, a folder for trials, and chance; ``checks`` grows."""

    case: Case
    room: Path
    points: int
    rng: random.Random
    missing: dict[str, str]  # tools that do not work here, with the reason
    seconds: float = 300.0  # after which a run hangs
    told: Callable[[Check], None] = lambda check: None
    checks: list[Check] = field(default_factory=list)
    clean: Clean = Clean({}, 0, 0.0, 0.0)
    _trials: int = 0

    @contextmanager
    def trial(self) -> Iterator[Path]:
        """A folder for one trial, removed after it."""
        self._trials += 1
        folder = self.room / f"trial-{self._trials:04d}"
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def start(self, out: Path, *, source: Path | None = None, trace: Trace | None = None, cwd: Path | None = None) -> Child:
        return Child(self.case.command(source or self.case.folder, out), cwd or out.parent, trace)

    def run(self, out: Path, *, source: Path | None = None, trace: Trace | None = None, cwd: Path | None = None) -> Ended:
        return self.start(out, source=source, trace=trace, cwd=cwd).wait(self.seconds)

    def state(self, out: Path) -> State:
        """What lies under OUT, compared with the run without faults."""
        return state(out, self.clean.files)

    def note(self, mode: str, what: str, wrong: Sequence[str] = (), redone: float | None = None) -> None:
        check = Check(mode, what, tuple(wrong), redone)
        self.checks.append(check)
        self.told(check)

    def recovers(self, mode: str, what: str, out: Path, wrong: Sequence[str] = ()) -> None:
        """After a fault: OUT is absent or complete, and the same command again completes it and leaves nothing beside it."""
        found = list(wrong)
        after = self.state(out)
        if after.word not in ("absent", "complete"):
            found.append(f"after the fault OUT is {after}")
        began = time.time()
        ended = self.run(out)
        again = self.state(out)
        if again.word != "complete":
            found.append(f"run again: OUT is {again}, exit {ended.status}: {ended.last}")
        elif ended.status and after.word != "complete":  # where OUT is complete, the second run may refuse to write it
            found.append(f"run again: exit {ended.status}: {ended.last}")
        found += ended.crashes()
        left = sorted(set(os.listdir(out.parent)) - {out.name, LOG})
        if again.word == "complete" and ended.status == 0 and left:
            found.append(f"left behind: {', '.join(left[:3])}")
        self.note(mode, what, found, _newer(out, began) / max(1, self.clean.nbytes) if again.word == "complete" else None)

    def fails_cleanly(self, ended: Ended, out: Path, word: str = "") -> list[str]:
        """What is wrong with how a run ended that could not succeed; ``word`` is what its message must contain."""
        found = ended.crashes()
        if ended.status == 0:
            found.append("exit 0")
        if word and word.lower() not in ended.text.lower():
            found.append(f"the message does not say {word!r}: {ended.last}")
        after = self.state(out)
        if after.word not in ("absent", "complete"):
            found.append(f"OUT is {after}")
        return found

    def moment(self, child: Child, out: Path, share: float) -> None:
        """Wait until a share of the time has gone by in which the run without faults wrote: from its first folder to its end.

        A negative share is of the time before that, in which it reads and plans: -0.2 is when a fifth of it is left.
        """
        if share < 0:
            time.sleep((1 + share) * self.clean.before)
            return
        deadline = time.monotonic() + self.seconds
        while time.monotonic() < deadline and not child.ended() and not _begun(out):
            time.sleep(0.001)
        time.sleep(max(0.0, share * (self.clean.seconds - self.clean.before)))

    def sample(self, calls: Sequence[Call], count: int) -> list[Call]:
        """Calls chosen by chance, half of them the rare ones (renames, syncs, ...), which tell more than writes."""
        by = {(call.name, call.nth): call for call in calls}
        writes = [call for call in by.values() if call.name in WRITES]
        rare = [call for call in by.values() if call.name not in WRITES]
        few = min(len(rare), max((count + 1) // 2, count - len(writes)))
        return self.rng.sample(rare, few) + self.rng.sample(writes, min(len(writes), count - few))

    def baseline(self) -> None:
        """Runs without faults: what they wrote is what every other run is held to."""
        before = tree(self.case.folder)
        times = []
        for number in range(2):
            with self.trial() as folder:
                out = folder / OUT
                child = self.start(out)
                began = time.monotonic()
                self.moment(child, out, 0)
                appeared = time.monotonic() - began
                ended = child.wait(self.seconds)
                times.append((ended.seconds, appeared))
                if ended.status or state(out).word != "complete":
                    raise RuntimeError(f"{self.case.name} fails without a fault, exit {ended.status}: {ended.text[-2000:]}")
                if number == 0:
                    nbytes = sum(path.stat().st_size for path in out.iterdir())
                    self.clean = Clean(tree(out), nbytes, 0, 0)
                found = self.state(out)
                left = sorted(set(os.listdir(folder)) - {OUT})
                self.note("baseline", f"run {number + 1} writes the same bytes", [str(found)] if found.word != "complete" else [])
                self.note("baseline", f"run {number + 1} leaves nothing beside OUT", left)
        seconds, appeared = (statistics.mean(column) for column in zip(*times, strict=True))
        self.clean = Clean(self.clean.files, self.clean.nbytes, seconds, appeared)
        if "strace" not in self.missing:
            self._traced()
        self.note("baseline", "the input is untouched", [] if tree(self.case.folder) == before else ["it changed"])

    def _traced(self) -> None:
        with self.trial() as folder:
            out = folder / OUT
            trace = Trace(folder / LOG, (*CHANGES, *READS))
            self.run(out, trace=trace)
            calls = read_log(trace.log, folder)
            sure = steady(calls)
            own = [call for call in calls if (call.name, call.nth) in sure]
            changes = tuple(call for call in own if call.name in CHANGES and call.within(folder))
            reads = tuple(call for call in own if call.name in READS and call.within(self.case.folder))
            self.clean = Clean(self.clean.files, self.clean.nbytes, self.clean.seconds, self.clean.before, changes, reads)
            dirty = sorted(os.path.basename(path) for path in unsynced(call for call in calls if call.within(folder)))
            self.note("baseline", "every file of OUT is synced after its last write", dirty[:3])


def _begun(out: Path) -> bool:
    """Whether anything of a run lies beside OUT, or OUT itself."""
    return any(name != LOG for name in os.listdir(out.parent))


def _newer(out: Path, when: float) -> int:
    """Bytes of the files that were written after a moment; a rename does not count."""
    found = (path.stat() for path in out.rglob("*") if path.is_file())
    return sum(info.st_size for info in found if info.st_mtime >= when)
