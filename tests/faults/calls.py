"""What a traced run asked of the kernel: strace's log as values.

A call of one thread that another thread interrupts is logged in two lines, ``<unfinished ...>`` and ``resumed``; both are one
call here, with the result of the second. A call that never came back has no result.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

#: calls that put bytes into a file or change its length, with the place of that file among the descriptors they name
WRITES = {
    "write": 0, "pwrite64": 0, "writev": 0, "pwritev": 0, "pwritev2": 0, "copy_file_range": 1, "sendfile": 0,
    "ftruncate": 0, "fallocate": 0,
}  # fmt: skip
_SIZES = ("ftruncate", "fallocate")  # of WRITES: they return no number of bytes
SYNCS = ("fsync", "fdatasync", "sync_file_range", "syncfs")
RENAMES = ("rename", "renameat", "renameat2")
_REMOVALS = ("unlink", "unlinkat", "rmdir")
_OTHERS = ("mkdir", "mkdirat", "link", "linkat", "symlink", "symlinkat", "truncate")
READS = ("read", "pread64", "readv", "preadv", "preadv2")
CHANGES = (*WRITES, *SYNCS, *RENAMES, *_REMOVALS, *_OTHERS)

_BEGUN = re.compile(r"(?P<thread>\d+) +(?P<call>\w+)\((?P<rest>.*)")
_RESUMED = re.compile(r"(?P<thread>\d+) +<\.\.\. (?P<call>\w+) resumed>(?P<rest>.*)")
_UNFINISHED = " <unfinished ...>"
_WORD = re.compile(r'(?:AT_FDCWD|\d+)<(?P<open>/[^>]*)>|"(?P<path>(?:[^"\\]|\\.)*)"')
_RESULT = re.compile(r"= (-?\d+)(?: \w+ \([^)]*\))?(?P<injected> \(INJECTED\))?\s*$")


@dataclass(frozen=True)
class Call:
    """One call of one thread; ``nth`` counts that thread's calls of this name, as strace's ``when=`` does."""

    thread: int
    name: str
    nth: int
    paths: tuple[str, ...]
    result: int | None  # None: the process ended before the call did
    injected: bool = False

    @property
    def done(self) -> bool:
        return self.result is not None and self.result >= 0

    @property
    def nbytes(self) -> int:
        """How many bytes it wrote."""
        counts = self.done and self.name in WRITES and self.name not in _SIZES
        return self.result or 0 if counts else 0

    @property
    def file(self) -> str:
        """The name, without its folder, of what it acted on last."""
        return os.path.basename(self.paths[-1]) if self.paths else ""

    def within(self, folder: Path) -> bool:
        """Whether it acted on something in this folder, links resolved."""
        root = os.path.realpath(folder)
        return any(_below(path, root) for path in self.paths)


def _below(path: str, root: str) -> bool:
    real = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    return real == root or real.startswith(root + os.sep)


def read_log(log: Path, cwd: Path) -> tuple[Call, ...]:
    """Every call of the log in the order in which they ended; those that never did come last."""
    with open(log, encoding="utf-8", errors="replace") as lines:
        return tuple(parsed(lines, str(cwd)))


def parsed(lines: Iterable[str], cwd: str) -> Iterator[Call]:
    """The calls of a log's lines; ``cwd`` is what relative paths are relative to."""
    counts: dict[tuple[int, str], int] = {}
    open_: dict[int, tuple[str, int, str]] = {}  # thread -> the call it is in, its number, the words so far
    for line in lines:
        if begun := _BEGUN.match(line):
            thread, name, rest = int(begun["thread"]), begun["call"], begun["rest"]
            nth = counts[thread, name] = counts.get((thread, name), 0) + 1
            if rest.endswith(_UNFINISHED):
                open_[thread] = (name, nth, rest.removesuffix(_UNFINISHED))
            else:
                yield _call(thread, name, nth, rest, cwd)
        elif (resumed := _RESUMED.match(line)) and int(resumed["thread"]) in open_:
            thread = int(resumed["thread"])
            name, nth, words = open_.pop(thread)
            assert name == resumed["call"], line
            yield _call(thread, name, nth, words + resumed["rest"], cwd)
    for thread, (name, nth, words) in open_.items():
        yield _call(thread, name, nth, words, cwd)


def _call(thread: int, name: str, nth: int, words: str, cwd: str) -> Call:
    result = _RESULT.search(words)
    value = int(result[1]) if result else None
    return Call(thread, name, nth, _paths(name, words, cwd), value, bool(result and result["injected"]))


def _paths(name: str, words: str, cwd: str) -> tuple[str, ...]:
    """The files that a call acts on, absolute: of its open file, or of its names relative to the folders given with them."""
    open_files, named, folder = [], [], cwd
    for word in _WORD.finditer(words):
        if word["open"] is not None:
            folder = word["open"]
            open_files.append(folder)
        else:
            named.append(os.path.join(folder, word["path"]))
    if name in WRITES:
        return tuple(open_files[WRITES[name] :][:1])
    return tuple(open_files[:1]) if name in (*SYNCS, *READS) else tuple(named)


def steady(calls: Sequence[Call]) -> frozenset[tuple[str, int]]:
    """The (name, nth) that a thread reaches in every run, however workers share out their files.

    What the first thread does is the same each time; of ``total`` calls that ``n`` others share, one of them makes at least
    ``total / n``.
    """
    main = calls[0].thread if calls else 0
    made: dict[str, dict[int, int]] = {}
    for call in calls:
        by = made.setdefault(call.name, {})
        by[call.thread] = max(call.nth, by.get(call.thread, 0))
    reached = set()
    for name, by in made.items():
        others = [count for thread, count in by.items() if thread != main]
        most = max(by.get(main, 0), -(-sum(others) // len(others)) if others else 0)
        reached |= {(name, nth) for nth in range(1, most + 1)}
    return frozenset(reached)


def unsynced(calls: Iterable[Call]) -> frozenset[str]:
    """The files, at the names they have at the end, that were written to and not synced since: what lost power may damage."""
    dirty: set[str] = set()
    for call in calls:
        if call.paths:
            effect = _EFFECTS.get(call.name)
            if effect is not None:
                effect(call, dirty)
    return frozenset(path for path in dirty if os.path.isfile(path))


def _written(call: Call, dirty: set[str]) -> None:
    dirty.add(call.paths[0])  # whether or not it came back


def _synced(call: Call, dirty: set[str]) -> None:
    if call.done:
        dirty.discard(call.paths[0])


def _all_synced(call: Call, dirty: set[str]) -> None:
    if call.done:
        dirty.clear()


def _renamed(call: Call, dirty: set[str]) -> None:
    if call.result is not None and call.result < 0:
        return
    old, new = call.paths[-2:]
    for path in [path for path in dirty if path == old or path.startswith(old + os.sep)]:
        dirty.add(new + path.removeprefix(old))
        if call.done:  # of one that never came back nobody knows whether it happened; what is not there is left out at the end
            dirty.discard(path)


def _removed(call: Call, dirty: set[str]) -> None:
    if call.done:
        dirty.discard(call.paths[-1])


_EFFECTS: dict[str, Callable[[Call, set[str]], None]] = {
    **dict.fromkeys(WRITES, _written),
    **dict.fromkeys(("fsync", "fdatasync"), _synced),
    "syncfs": _all_synced,
    **dict.fromkeys(RENAMES, _renamed),
    **dict.fromkeys(("unlink", "unlinkat"), _removed),
}
