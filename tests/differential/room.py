"""Where a process works, and what it keeps from one case to the next."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


@dataclass
class Room:
    """Where a process works: a folder of its own, and what it keeps between cases."""

    folder: Path
    kept: dict[tuple[str, ...], object] = field(default_factory=dict)
    _lasts: dict[str, tuple[str, object]] = field(default_factory=dict)
    _count: int = 0

    def fresh(self, name: str) -> Path:
        """A path in the room that nothing has yet."""
        self._count += 1
        return self.folder / f"{self._count}-{re.sub(r'[^A-Za-z0-9.-]+', '_', name)[:60]}"

    def keep(self, key: tuple[str, ...], make: Callable[[], T]) -> T:
        """What ``make`` gave the first time this key was asked for."""
        if key not in self.kept:
            self.kept[key] = make()
        return self.kept[key]  # type: ignore[return-value]

    def last(self, shelf: str, name: str, make: Callable[[], T], drop: Callable[[T], object] = lambda old: None) -> T:
        """What ``make`` gave for this name, if that was the last one asked of the shelf; the one before is dropped."""
        if shelf in self._lasts and self._lasts[shelf][0] != name:
            drop(self._lasts.pop(shelf)[1])  # type: ignore[arg-type]
        if shelf not in self._lasts:
            self._lasts[shelf] = name, make()
        return self._lasts[shelf][1]  # type: ignore[return-value]


def memory() -> str | None:
    """A folder that lies in memory, where the machine has one: nothing here has to survive."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
