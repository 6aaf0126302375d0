"""Whose a staging directory is: a note in it, for messages and for file systems whose locks are granted to everybody.

The note says which process it is, by what no other process ever is: the machine's boot, the number and the time it began.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convert.note import read_note
from surgery.errors import OutputBusy, show

NAME = "owner.json"
_LARGEST = 1 << 16


@dataclass(frozen=True)
class Owner:
    """A run, as its note tells it."""

    pid: int
    host: str
    boot: str
    began: str
    run: str  # a word of this run alone: one process may have several

    @property
    def alive(self) -> bool:
        """Whether it is known to be another process that runs now; of another machine nothing is known."""
        if self.pid == os.getpid() or not self.boot or self.boot != _boot():
            return False
        return bool(self.began) and self.began == _began(self.pid)

    def __str__(self) -> str:
        return f"process {self.pid} on {show(self.host)}"


def this() -> Owner:
    """A note for a run of this process."""
    return Owner(os.getpid(), os.uname().nodename, _boot(), _began(os.getpid()), secrets.token_hex(8))


def written(folder: Path, owner: Owner) -> None:
    """Put the note into a directory, whole."""
    temporary = folder / f"{NAME}.tmp.{owner.pid}.{owner.run[:8]}"
    temporary.write_text(json.dumps(owner.__dict__))
    os.rename(temporary, folder / NAME)


def found(folder: Path) -> Owner | None:
    """The note in a directory, if there is one that can be read."""
    try:
        told: Any = json.loads(read_note(folder / NAME, _LARGEST) or b"")
        texts = (str(told[key]) for key in ("host", "boot", "began", "run"))
        return Owner(int(told["pid"]), *texts)
    except (OSError, ValueError, KeyError, TypeError, RecursionError, OutputBusy):
        return None


def _boot() -> str:
    return _read("/proc/sys/kernel/random/boot_id")


def _began(pid: int) -> str:
    """When a process began, in the system's ticks; empty where there is none, or where that cannot be asked."""
    behind = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()  # the name before it may hold anything
    return behind[19] if len(behind) > 19 and behind[0] not in "ZX" else ""


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""
