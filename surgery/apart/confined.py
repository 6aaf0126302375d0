"""What a process does to itself before it reads what a stranger wrote: no network, little memory, no life of its own."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from functools import cache
from pathlib import Path
from typing import Any

_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG


def forbid_network() -> None:
    """Any attempt to reach a host raises; nothing here has a reason to."""

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
            raise PermissionError(f"the verifier has no network ({event})")

    sys.addaudithook(refuse)


def limit_memory(memory: int | None) -> None:
    """Let this process map no more than `memory` bytes beyond what it has, nor more than it was allowed before."""
    if memory is None:
        return
    import resource

    most = mapped() + memory
    _, allowed = resource.getrlimit(resource.RLIMIT_AS)
    if allowed != resource.RLIM_INFINITY:
        most = min(most, allowed)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def mapped() -> int:
    """The bytes that this process maps."""
    import resource

    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def end_with(parent: int) -> None:
    """Let the system kill this process when the thread that started it ends, whatever ended that.

    Where that cannot be asked (it is Linux's), nothing happens. ``parent`` is whose child this is meant to be: one that was
    gone before it could be asked has left this process to another, and there is nobody to work for.
    """
    prctl = getattr(_libc(), "prctl", None)
    asked = prctl is not None and prctl(_PARENT_DEATH_SIGNAL, ctypes.c_ulong(signal.SIGKILL)) == 0
    if asked and os.getppid() != parent:
        os._exit(128 + signal.SIGKILL)


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
