"""A task in a process of its own: JSON on its stdin, JSON on its stdout, and nothing of it left when the run is stopped.

What needs large libraries, or reads what strangers wrote with them, runs there: the parent stays small, and a crash there
is an error here. A child neither hears the terminal's signals (it has a session of its own) nor outlives its parent's
wish to stop: the parent looks at its own signals while it waits.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convert.interrupt import Interrupts, active

#: -I: neither the working directory nor PYTHONPATH may supply a module; the package's own place is handed over.
_PROGRAM = "import sys; sys.path.insert(0, {root!r}); from {module} import {function}; {function}()"
_ROOT = str(Path(__file__).resolve().parents[1])
_POLL = 0.2  # seconds between two looks at signals
REFUSED = 3  # a child's status when it refuses its task: {"refused": why} is on its stdout


class TooLong(Exception):
    """A child that did not end in its time, and was ended."""


@dataclass(frozen=True)
class Ended:
    """How a child ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def refusal(self) -> str | None:
        """Why it refused the task, if it did."""
        return str(json.loads(self.stdout)["refused"]) if self.status == REFUSED else None

    @property
    def last(self) -> str:
        """The last line of what it complained of."""
        return (self.stderr.strip().splitlines() or ["it said nothing"])[-1]

    @property
    def how(self) -> str:
        return f"signal {-self.status}" if self.status < 0 else f"status {self.status}"


def run(
    function: str,
    task: Mapping[str, Any],
    *,
    env: Mapping[str, str] | None = None,
    seconds: float | None = None,
    session: bool = True,
) -> Ended:
    """Run ``module:function`` on ``task``; ``TooLong`` after ``seconds``, ``Interrupted`` where a signal came meanwhile.

    Without a ``session`` of its own a child belongs to its parent's, and ends with that one: for children of children.
    """
    module, _, name = function.partition(":")
    program = _PROGRAM.format(root=_ROOT, module=module, function=name)
    until = time.monotonic() + seconds if seconds is not None else None
    outer = active()
    with nullcontext(outer) if outer is not None else Interrupts() as interrupts:
        # a file and no pipe: a child may read it late, in part or never, and nobody has to wait for it
        with tempfile.TemporaryFile("w+", encoding="ascii") as stdin:
            json.dump(task, stdin)
            stdin.seek(0)
            child = subprocess.Popen(
                [sys.executable, "-I", "-c", program], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                text=True, env=None if env is None else dict(env), start_new_session=session,
            )  # fmt: skip
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    stdout, stderr = child.communicate(timeout=_POLL)
                    return Ended(child.returncode, stdout, stderr)
                interrupts.check()
                if until is not None and time.monotonic() > until:
                    raise TooLong
        except BaseException:
            _end(child, session)
            raise


def refuse(why: str) -> None:
    """In a child: say why the task is refused, and end."""
    json.dump({"refused": why}, sys.stdout)
    sys.exit(REFUSED)


def _end(child: subprocess.Popen[str], session: bool) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL) if session else child.kill()
    child.communicate()
