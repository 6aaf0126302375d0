"""Files and places that a user names: what a command is given beside checkpoints."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from surgery.errors import LimitExceeded, StorageFailed, UsageError, show

_LONGEST = 4096  # bytes of a path: Linux' PATH_MAX
_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC  # a FIFO does not wait here for whoever writes to it


def place(text: str | Path) -> Path:
    """A path with its ``~`` followed; ``UsageError`` where that names nobody's home, or where no system has such paths."""
    if "\0" in str(text) or len(os.fsencode(text)) >= _LONGEST:
        raise UsageError(f"{show(str(text))} is no path: it has a zero byte, or {_LONGEST:,} bytes and more. Write another.")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise UsageError(
            f"{show(str(text))} begins with the home of a user whom this machine does not know. Write the whole path."
        ) from None


@contextmanager
def given(path: str | Path) -> Iterator[BinaryIO]:
    """A regular file that the user names, open for reading: of a device or a pipe nobody knows where it ends."""
    try:
        descriptor = os.open(path, _OPEN)
    except OSError as error:
        raise StorageFailed(f"{show(str(path))} cannot be read: {error.strerror}.") from None
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise UsageError(
                f"{show(str(path))} is no regular file, so that nobody can say how much of it there is. Copy what it gives into "
                "a file, and name that."
            )
        try:
            yield file
        except OSError as error:
            raise StorageFailed(f"{show(str(path))} cannot be read: {error.strerror}.") from None


def content(path: str | Path, largest: int, what: str) -> bytes:
    """All of such a file, refused before it is read where no ``what`` ("a recipe") is as large."""
    with given(path) as file:
        size = os.fstat(file.fileno()).st_size
        read = file.read(largest + 1) if size <= largest else b""
    if max(size, len(read)) > largest:
        raise LimitExceeded(
            f"{show(str(path))} has {size:,} bytes, more than the {largest:,} that {what} may have, so it is another file under "
            "that name: check where it came from."
        )
    return read
