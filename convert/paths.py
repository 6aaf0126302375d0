"""Where output may go: judged before anything is written."""

from __future__ import annotations

import os
from pathlib import Path

from surgery.errors import OutputBusy, StorageFailed, UsageError, show


def check_output(out: Path, source: Path) -> Path:
    """``out`` as an absolute path whose parent exists and is not, and is not inside or around, ``source``."""
    if out.name in ("", ".", ".."):
        raise UsageError(f"OUT is {show(str(out))}: name a directory to be created.")
    parent = Path(os.path.realpath(out.parent))
    resolved = parent / out.name
    real_source, real_out = Path(os.path.realpath(source)), Path(os.path.realpath(resolved))
    for a, b, words in (
        (real_out, real_source, "OUT is, or is inside, SRC"),
        (real_source, real_out, "SRC is inside OUT"),
    ):
        if a == b or b in a.parents:
            raise UsageError(f"{words} ({show(str(out))}). The source is never written to; choose another place.")
    check_absent(resolved)
    if not parent.is_dir():
        raise StorageFailed(
            f"{show(str(out.parent))}, the directory that OUT should be created in, does not exist. Create it."
        )
    return resolved


def check_absent(out: Path) -> None:
    """``OutputBusy`` where something has this name, a link that leads nowhere included."""
    if os.path.lexists(out):
        raise OutputBusy(
            f"{show(str(out))} exists already, and nothing of it was touched. Choose another name, or move it away first."
        )


def staging_of(out: Path) -> Path:
    """The directory beside ``out`` in which it grows; left behind when a run is interrupted, and resumed from."""
    return out.with_name(f".{out.name}.partial")


def failed_of(out: Path) -> Path:
    """Where an output goes that did not verify."""
    return out.with_name(f"{out.name}.failed")
