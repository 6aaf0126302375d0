"""Odd places for OUT and for IN: whatever lies there stays as it is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.faults.bench import OUT, Bench
from tests.faults.running import Ended, mount, unmount
from tests.faults.state import tree


@dataclass(frozen=True)
class Placed:
    """Where a run reads and writes, and what must be the same after it as before."""

    out: Path
    source: Path
    watched: Path | None = None
    mounted: Path | None = None


def _foreign(bench: Bench, folder: Path) -> Placed:
    out = folder / OUT
    out.mkdir()
    (out / "precious.txt").write_text("keep me")
    (out / "config.json").write_text("{}")
    return Placed(out, bench.case.folder, out)


def _empty(bench: Bench, folder: Path) -> Placed:
    out = folder / OUT
    out.mkdir()
    return Placed(out, bench.case.folder, out)


def _a_file(bench: Bench, folder: Path) -> Placed:
    (folder / OUT).write_text("keep me")
    return Placed(folder / OUT, bench.case.folder, folder)


def _the_source(bench: Bench, folder: Path) -> Placed:
    copy = _copy(bench, folder)
    return Placed(copy / bench.case.source, copy, copy)


def _a_link_to_the_source(bench: Bench, folder: Path) -> Placed:
    copy = _copy(bench, folder)
    (folder / OUT).symlink_to(copy / bench.case.source)
    return Placed(folder / OUT, copy, copy)


def _inside_the_source(bench: Bench, folder: Path) -> Placed:
    copy = _copy(bench, folder)
    return Placed(copy / bench.case.source / "sub", copy, copy)


def _a_dangling_link(bench: Bench, folder: Path) -> Placed:
    (folder / OUT).symlink_to(folder / "nowhere")
    return Placed(folder / OUT, bench.case.folder)


def _no_parent(bench: Bench, folder: Path) -> Placed:
    return Placed(folder / "no" / "such" / OUT, bench.case.folder)


def _a_read_only_parent(bench: Bench, folder: Path) -> Placed:
    disk = folder / "disk"
    disk.mkdir()
    assert mount(disk, "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs")
    return Placed(disk / OUT, bench.case.folder, mounted=disk)


def _a_read_only_source(bench: Bench, folder: Path) -> Placed:
    copy = folder / "source"
    copy.mkdir()
    assert mount(copy, "--bind", str(bench.case.folder))
    mount(copy, "-o", "remount,bind,ro")
    return Placed(folder / OUT, copy, mounted=copy)


def _copy(bench: Bench, folder: Path) -> Path:
    shutil.copytree(bench.case.folder, folder / "source")
    return folder / "source"


def _refused(bench: Bench, placed: Placed, ended: Ended) -> list[str]:
    return ["exit 0"] if ended.status == 0 else []


def _completed(bench: Bench, placed: Placed, ended: Ended) -> list[str]:
    found = bench.state(placed.out)
    return [] if ended.status == 0 and found.word == "complete" else [f"exit {ended.status}, OUT is {found}: {ended.last}"]


def _either(bench: Bench, placed: Placed, ended: Ended) -> list[str]:
    """Refused with nothing made, or completed."""
    if ended.status:
        return ["OUT was made"] if placed.out.exists() else []
    return _completed(bench, placed, ended)


def _not_written_through(bench: Bench, placed: Placed, ended: Ended) -> list[str]:
    through = ["wrote through the link"] if os.path.lexists(placed.out.parent / "nowhere") else []
    return [*through, *([] if ended.status else _completed(bench, placed, ended))]


_Setting = Callable[[Bench, Path], Placed]
_Judge = Callable[[Bench, Placed, Ended], list[str]]
_PLACES: tuple[tuple[str, _Setting, _Judge], ...] = (
    ("OUT exists, with files of others", _foreign, _refused),
    ("OUT exists, empty", _empty, _refused),
    ("OUT is a file", _a_file, _refused),
    ("OUT is the source", _the_source, _refused),
    ("OUT is a link to the source", _a_link_to_the_source, _refused),
    ("OUT is inside the source", _inside_the_source, _refused),
    ("OUT is a dangling link", _a_dangling_link, _not_written_through),
    ("the parent of OUT is missing", _no_parent, _either),
)
_MOUNTED: tuple[tuple[str, _Setting, _Judge], ...] = (
    ("the parent of OUT is read-only", _a_read_only_parent, _refused),
    ("the source is read-only", _a_read_only_source, _completed),
)


def place(bench: Bench) -> None:
    """Every odd place once."""
    for what, setting, judge in (*_PLACES, *(() if "mount" in bench.missing else _MOUNTED)):
        with bench.trial() as folder:
            placed = setting(bench, folder)
            try:
                before = tree(placed.watched) if placed.watched is not None else None
                ended = bench.run(placed.out, source=placed.source, cwd=folder)
                wrong = [*ended.crashes(), *judge(bench, placed, ended)]
                if placed.watched is not None and tree(placed.watched) != before:
                    wrong.append("what was there has changed")
            finally:
                if placed.mounted is not None:
                    unmount(placed.mounted)
            bench.note("place", what, wrong)
