"""What Linux offers and Python does not: renaming without replacing, early writeback, keeping freed memory."""

from __future__ import annotations

import ctypes
import errno
import os
from functools import cache
from pathlib import Path

from surgery.errors import OutputBusy, show

_AT_CWD, _NO_REPLACE = -100, 1
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_WRITE = 2  # SYNC_FILE_RANGE_WRITE: begin, do not wait


def rename_no_replace(old: Path, new: Path) -> None:
    """Rename a directory; refuse rather than replace (plain rename silently replaces an empty directory)."""
    renameat2 = getattr(_libc(), "renameat2", None)
    if renameat2 is not None:
        if renameat2(_AT_CWD, os.fsencode(old), _AT_CWD, os.fsencode(new), _NO_REPLACE) == 0:
            return
        code = ctypes.get_errno()
        if code == errno.EEXIST:
            raise _appeared(old, new)
        if code not in (errno.ENOSYS, errno.EINVAL):
            raise OSError(code, os.strerror(code), str(new))
    if os.path.lexists(new):
        raise _appeared(old, new)
    os.rename(old, new)


def start_writeback(descriptor: int, offset: int, length: int) -> None:
    """Ask for written bytes to go to disk from now on, without waiting; where that cannot be asked, nothing happens."""
    sync_file_range = getattr(_libc(), "sync_file_range", None)
    if sync_file_range is not None:
        sync_file_range(descriptor, ctypes.c_int64(offset), ctypes.c_int64(length), _WRITE)


def keep_freed_memory(nbytes: int) -> None:
    """Let the allocator keep blocks of up to ``nbytes`` for the next that asks, where it can be told (glibc).

    Blocks of tensors come and go by the thousand; giving each back costs a page fault per 4 KiB, a quarter of the work.
    One arena for all threads: those that are added for threads hold 64 MB each, and grow and shrink a page at a time.
    """
    mallopt = getattr(_libc(), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, nbytes)
        mallopt(_M_TRIM_THRESHOLD, 2 * nbytes)
        mallopt(_M_ARENA_MAX, 1)


def umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _appeared(old: Path, new: Path) -> OutputBusy:
    return OutputBusy(f"{show(str(new))} appeared during the run; the finished output stays in {show(str(old))}.")
