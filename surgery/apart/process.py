"""The process in which strangers' files do their work: makes objects when told to, and calls their methods.

A message is a line of JSON, then the bytes of files that it announces; the answer is a line of JSON. Before each task the
process allows itself as much computing and memory as all that it was given so far may cost; the system holds it to that.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import resource
import signal
import sys
import time
from collections.abc import Mapping
from typing import IO, Any

from surgery.apart.confined import end_with, forbid_network, mapped
from surgery.errors import ConversionError
from surgery.limits import LARGEST, limits

#: bytes of an answer, beside what it may have for every byte of its question
_LONGEST, _LONGER = 1 << 20, 64
#: methods that give back what was given, a vocabulary
_WHOLE = ("saved", "vocabulary")


class _Allowance:
    """What this process may use: it grows with what comes in, and not with what comes out."""

    def __init__(self) -> None:
        self._limits, self._text, self._files = limits(), 0, 0
        self._seconds, self._memory = time.process_time(), mapped()

    def more(self, text: int, files: int) -> None:
        """Allow for a task of so many bytes of text and of files."""
        self._text += text
        self._files += min(files, LARGEST)
        seconds = math.ceil(self._seconds + self._limits.seconds_for(self._text, self._files))
        _soften(resource.RLIMIT_CPU, seconds)
        _soften(resource.RLIMIT_AS, self._memory + self._limits.memory_for(self._files))

    def free(self, module: str) -> None:
        """Import a module whose own time and memory do not count: nothing of a stranger's is in it yet."""
        if module in sys.modules:
            return
        for kind in (resource.RLIMIT_CPU, resource.RLIMIT_AS):
            _soften(kind, resource.RLIM_INFINITY)
        seconds, memory = time.process_time(), mapped()
        found = importlib.import_module(module)
        getattr(found, "prepare", lambda: None)()
        self._seconds += time.process_time() - seconds
        self._memory += max(0, mapped() - memory)
        self.more(0, 0)


def _soften(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    bounds = [limit for limit in (value, hard) if limit != resource.RLIM_INFINITY]  # which is a number, and negative
    resource.setrlimit(kind, (min(bounds, default=resource.RLIM_INFINITY), hard))


def serve(parent: int) -> None:
    """Carry out tasks from stdin until it ends, or until ``parent`` does."""
    end_with(parent)
    for asked in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # a terminal's are for the parent, with whom this ends
        signal.signal(asked, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    forbid_network()
    incoming, outgoing = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print, compiled ones too, is no answer
    made: dict[int, Any] = {}
    allowance = _Allowance()
    while line := incoming.readline():
        head = json.loads(line)
        files = [incoming.read(size) for size in head["files"]]
        for gone in head["gone"]:
            made.pop(gone, None)
        if "make" in head:
            allowance.free(head["make"].partition(":")[0])
        allowance.more(len(line), sum(map(len, files)) + head["weight"])
        answer = _answered(head, files, made)
        if len(answer) > _LONGEST + _LONGER * len(line) and head.get("call") not in _WHOLE:
            answer = json.dumps({"long": len(answer)})
        _say(outgoing, answer)


def _answered(head: Mapping[str, Any], files: list[bytes], made: dict[int, Any]) -> str:
    try:
        if "make" in head:
            module, _, name = head["make"].partition(":")
            made[head["number"]] = value = getattr(importlib.import_module(module), name)(*files, **head["options"])
            return json.dumps({"value": value.told() if hasattr(value, "told") else None})
        return json.dumps({"value": getattr(made[head["of"]], head["call"])(**head["options"])})
    except ConversionError as refusal:
        return json.dumps({"refused": str(refusal), "status": refusal.status})
    except MemoryError:
        return json.dumps({"starved": True})
    except BaseException as error:  # also a panic of a library's, which is no Exception
        # the head of a message may be as long as a file: whoever shows it cuts it, and mostly from the front
        panicked = type(error).__module__ == "pyo3_runtime"
        return json.dumps({"raised": type(error).__name__, "says": str(error)[-(1 << 16) :], "panicked": panicked})


def _say(to: IO[bytes], text: str) -> None:
    to.write(text.encode() + b"\n")
    to.flush()
