"""Files by which runs leave word for each other: of our own making, or not touched.

A staging directory may have been unpacked, restored or laid out by somebody else. Opening what lies there must neither follow
a link to a file elsewhere, nor wait for whoever holds the other end of a pipe, nor read without an end.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from surgery.errors import OutputBusy, show


def opened(path: Path, flags: int) -> int:
    """A descriptor of a regular file that has this one name alone. ``OutputBusy`` for anything else."""
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR, errno.ENODEV):
            raise _foreign(path) from None
        raise
    info = os.fstat(descriptor)
    if not stat.S_ISREG(info.st_mode) or info.st_nlink > 1:
        os.close(descriptor)
        raise _foreign(path)
    return descriptor


def read_note(path: Path, largest: int) -> bytes | None:
    """What it says; None where there is none. ``OutputBusy`` where it is no such file, or larger than any run makes it."""
    try:
        descriptor = opened(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    with open(descriptor, "rb") as file:
        if os.fstat(descriptor).st_size > largest:
            raise _foreign(path)
        return file.read(largest)


def _foreign(path: Path) -> OutputBusy:
    return OutputBusy(
        f"{show(str(path))} is no file that a run of ours left there: it is a link, has a second name, is a pipe or a directory, "
        "or is larger than any of ours. Nothing of it was read or changed. Look at it, and remove the directory if it is not "
        "needed."
    )
