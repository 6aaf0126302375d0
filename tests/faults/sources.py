"""Sources that change while they are converted, or between a crash and the run after it.

What may come out is an error, or exactly the conversion of the source as it was before, or as it is after; never a mixture.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.faults.bench import OUT, Bench
from tests.faults.state import tree

Change = Callable[[Path, bytes, random.Random], None]
_SOURCE = "source"


def _flipped(path: Path, other: bytes, rng: random.Random) -> None:
    """One bit, in the second half: behind the header."""
    content = bytearray(path.read_bytes())
    content[int(len(content) * rng.uniform(0.5, 0.99))] ^= 0x10
    with open(path, "r+b") as file:
        file.write(content)


def _flipped_in_secret(path: Path, other: bytes, rng: random.Random) -> None:
    info = path.stat()
    _flipped(path, other, rng)
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


def _cut(path: Path, other: bytes, rng: random.Random) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _replaced(path: Path, other: bytes, rng: random.Random) -> None:
    """By a file with other values, renamed into its place."""
    beside = path.with_name(f"{path.name}.new")
    shutil.copy(path, beside)
    _flipped(beside, other, rng)
    os.rename(beside, path)


def _deleted(path: Path, other: bytes, rng: random.Random) -> None:
    path.unlink()


def _rewritten(path: Path, other: bytes, rng: random.Random) -> None:
    path.write_bytes(other)


def _exchanged(path: Path, other: bytes, rng: random.Random) -> None:
    beside = path.with_name(f"{path.name}.new")
    beside.write_bytes(other)
    os.rename(beside, path)


def _linked(path: Path, other: bytes, rng: random.Random) -> None:
    """For a link to a file outside the checkpoint, which must never be published."""
    outside = path.parent.parent / f"outside-{path.name}"
    outside.write_bytes(other)
    path.unlink()
    path.symlink_to(outside)


_OF_WEIGHTS: Mapping[str, Change] = {
    "a bit flipped": _flipped, "a bit flipped, time restored": _flipped_in_secret, "cut": _cut, "replaced by rename": _replaced,
    "deleted": _deleted,
}  # fmt: skip
_OF_DOCUMENTS: Mapping[str, Change] = {
    "rewritten": _rewritten, "replaced by rename": _exchanged, "deleted": _deleted, "replaced by a link": _linked,
}  # fmt: skip
#: shares of the writing after which the source changes (negative: of the planning that is left); None: after a kill, before
#: the command runs again
_WHEN = (-0.2, 0.0, 0.15, 0.5, 0.8, None)
Kind = Literal["weights", "document"]


@dataclass(frozen=True)
class _Trial:
    """One change of one file at one time."""

    kind: Kind
    file: str
    how: str
    when: float | None

    def __str__(self) -> str:
        return f"{self.kind} {self.file} {self.how} {self._when}"

    @property
    def _when(self) -> str:
        if self.when is None:
            return "between crash and re-run"
        return f"at {self.when:.0%} of the writing" if self.when >= 0 else f"with {-self.when:.0%} of the planning left"


def weights(bench: Bench) -> None:
    """Changes of files with tensors: each kind of change at least once."""
    trials = [_Trial("weights", bench.rng.choice(bench.case.weights), how, when) for how in _OF_WEIGHTS for when in _WHEN]
    _tried(bench, trials, _OF_WEIGHTS)


def documents(bench: Bench) -> None:
    """Changes of every document: configs, tokenizers, licences, adapters' settings, recipes."""
    trials = [_Trial("document", name, how, when) for name in bench.case.others for how in _OF_DOCUMENTS for when in _WHEN]
    _tried(bench, trials, _OF_DOCUMENTS)


def _tried(bench: Bench, trials: list[_Trial], changes: Mapping[str, Change]) -> None:
    """As many of the trials as there are points, and of every file and every change some."""
    bench.rng.shuffle(trials)
    chosen: dict[_Trial, None] = {}
    for told in ("file", "how"):
        chosen |= dict.fromkeys({getattr(trial, told): trial for trial in trials}.values())
    chosen |= dict.fromkeys(trials[: max(0, bench.points - len(chosen))])
    for trial in chosen:
        with bench.trial() as folder:
            _changed(bench, folder, trial, changes[trial.how])


def _changed(bench: Bench, folder: Path, trial: _Trial, change: Change) -> None:
    out, source = folder / "run" / OUT, folder / _SOURCE
    out.parent.mkdir()
    shutil.copytree(bench.case.folder, source)
    victim, other = source / trial.file, bench.case.others.get(trial.file, b"")
    child = bench.start(out, source=source)
    bench.moment(child, out, 0.5 if trial.when is None else trial.when)
    if trial.when is None:
        child.send(signal.SIGKILL)
        child.wait(bench.seconds)
        change(victim, other, bench.rng)
        ended = bench.run(out, source=source)
    else:
        change(victim, other, bench.rng)
        ended = child.wait(bench.seconds)
    wrong = ended.crashes()
    if ended.status == 0 or out.exists():
        found = bench.state(out)
        if found.word != "complete" and not _of_the_new(bench, folder, source, out):
            wrong.append(f"exit {ended.status}, OUT is of neither the old nor the new source: {found}")
    mode = "mutate" if trial.kind == "weights" else "documents"
    bench.note(mode, f"{trial}: exit {ended.status}", wrong)


def _of_the_new(bench: Bench, folder: Path, source: Path, out: Path) -> bool:
    """Whether OUT is what the source as it is now gives; asked again, since the change may have come a moment too early."""
    again = folder / "again" / OUT
    again.parent.mkdir()
    ended = bench.run(again, source=source)
    return ended.status == 0 and tree(again) == tree(out)
