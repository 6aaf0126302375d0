"""Everything that lies in a directory, seen without following a link or opening a file."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

#: directories of tools: they are told about, and what is in them does not count
PRIVATE = frozenset({".git", ".cache", ".hg", ".svn", "__pycache__", ".ipynb_checkpoints", ".venv", ".idea", ".vscode"})
MOST_ENTRIES = 200_000


@dataclass(frozen=True)
class Entry:
    """A name in the tree: relative, with ``/`` between its parts."""

    name: str
    path: Path
    info: os.stat_result  # of the link itself where it is one

    @property
    def is_link(self) -> bool:
        return stat.S_ISLNK(self.info.st_mode)

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.info.st_mode)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.info.st_mode)

    @property
    def last(self) -> str:
        return self.name.rpartition("/")[2]

    @property
    def size(self) -> int:
        """Bytes of the file, or of the one that a link leads to."""
        real = self.real if self.is_link else None
        return real.stat().st_size if real is not None else self.info.st_size

    @cached_property
    def real(self) -> Path | None:
        """Where a link ends; None where that does not exist."""
        try:
            return Path(os.path.realpath(self.path, strict=True))
        except OSError:
            return None


def walk(root: Path) -> Iterator[Entry]:
    """Every entry, parents first and by name; stops after ``MOST_ENTRIES``."""
    seen, waiting = 0, [(root, "")]
    while waiting:
        folder, prefix = waiting.pop()
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            found = Entry(prefix + entry.name, Path(entry.path), entry.stat(follow_symlinks=False))
            yield found
            if (seen := seen + 1) >= MOST_ENTRIES:
                return
            if found.is_folder and entry.name not in PRIVATE:
                waiting.append((Path(entry.path), found.name + "/"))
