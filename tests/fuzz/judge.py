"""Whether a file was read as it should be: with a result or a refusal, in time and within memory."""

from __future__ import annotations

import resource
import signal
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from surgery.errors import ConversionError, LimitExceeded
from tests.fuzz.surfaces import Surface

SECONDS = 5.0  # for files of kilobytes, on a machine that has other work
MEMORY = 3 << 30  # bytes of address space beyond what the process had


class Late(BaseException):
    """Time is up, wherever the reader is."""


def fault(surface: Surface, data: bytes, folder: Path) -> str | None:
    """What is wrong with how ``data`` is read; None where it gives a result or a refusal in words."""
    try:
        with _timed(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            surface.read(data, folder)
    except LimitExceeded as refusal:
        return None if str(refusal).isprintable() else f"not printable: {refusal!r}"
    except ConversionError as refusal:
        said = str(refusal)
        if not said.replace("\n", "").isprintable() or not said:
            return f"not printable: {said!r}"
        return next((f"raw Python: {said}" for word in _RAW if word in said), None)
    except Late:
        return f"no end within {SECONDS:.0f} seconds"
    except MemoryError:
        return f"more than {MEMORY >> 20} MB"
    except BaseException as escaped:  # a panic of a library is none of Python's exceptions
        if isinstance(escaped, KeyboardInterrupt):
            raise
        return "".join(traceback.format_exception(escaped)[-3:])
    return None


_RAW = ("TypeError", "KeyError", "AttributeError", "ValueError:", "IndexError", "object at 0x", "Traceback")


def limit_memory() -> None:
    """In a process of its own: what a reader asks for beyond this it does not get."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))


@contextmanager
def _timed() -> Iterator[None]:
    def late(number: int, frame: FrameType | None) -> None:
        raise Late

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
