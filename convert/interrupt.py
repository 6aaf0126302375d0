"""Signals: handlers only set a flag; the loops look at it between buffers; a second signal ends the process at once."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """The run was asked to stop; its exit status is 128 + the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Stopped(Exception):
    """Another worker failed first; what it raised is the reason."""


_active: list[Interrupts] = []  # innermost last


def active() -> Interrupts | None:
    """The innermost ``with`` block of ``Interrupts`` that the run is in."""
    return _active[-1] if _active else None


class Interrupts:
    """Within a ``with`` block of the main thread, signals stop the run between two buffers."""

    def __init__(self) -> None:
        self._number = 0
        self._stopped = False
        self._old: dict[int, object] = {}

    def check(self) -> None:
        """Raise if a signal came, or if another worker failed."""
        if self._number:
            raise Interrupted(self._number)
        if self._stopped:
            raise Stopped

    def stop(self) -> None:
        """Let the other workers end at their next buffer."""
        self._stopped = True

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._old[number] = signal.signal(number, self._handle)
        _active.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _active.remove(self)
        for number, old in self._old.items():
            signal.signal(number, old)  # type: ignore[arg-type]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._number:
            os._exit(128 + number)
        self._number = number
