"""A task in a process of its own: JSON on its stdin, JSON on its stdout, and nothing of it left when the run is stopped.

What needs large libraries, or reads what strangers wrote with them, runs there: the parent stays small, and a crash there
is known here for what it is: a refusal keeps its kind, a lack of memory is a limit, anything else is a fault of ours
with its log. A child neither hears the terminal's signals (it has a session of its own) nor outlives its parent, nor
its parent's wish to stop: the parent looks at its own signals while it waits.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convert.interrupt import Interrupted, Interrupts, active
from convert.refusal import as_refusal, kind_of, starved
from surgery.apart.confined import end_with
from surgery.errors import ConversionError, LimitExceeded, show

#: -I: neither the working directory nor PYTHONPATH may supply a module; the package's own place is handed over.
_PROGRAM = """\
import sys
sys.path.insert(0, {root!r})
from convert.children import serving
with serving({parent}):
    from {module} import {function}
    {function}()
"""
_ROOT = str(Path(__file__).resolve().parents[1])
_POLL = 0.2  # seconds between two looks at signals
_REFUSED = 3  # a child's status when it refuses its task: {"refused": why, "status": ours} is on its stdout
_LIBRARIES = ("HF_", "HUGGING", "TRANSFORMERS_")  # what their environment variables begin with
_ASKED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # signals by which somebody asks a process to end


class TooLong(Exception):
    """A child that did not end in its time, and was ended."""


class Crashed(Exception):
    """A child that ended by a fault of ours; what it complained of is a note, so that it is in every traceback."""

    def __init__(self, what: str, ended: Ended) -> None:
        super().__init__(f"the process that {what} ended with {ended.how}: {show(ended.last, 400)}")
        self.add_note(ended.stderr)


@dataclass(frozen=True)
class Ended:
    """How a child ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def refusal(self) -> ConversionError | None:
        """What it refused the task with, if it did, in the kind that was raised there."""
        if self.status != _REFUSED:
            return None
        told = json.loads(self.stdout)
        return kind_of(told["status"])(told["refused"])

    @property
    def last(self) -> str:
        """The last line of what it complained of."""
        return (self.stderr.strip().splitlines() or ["it said nothing"])[-1]

    @property
    def how(self) -> str:
        return f"signal {-self.status}" if self.status < 0 else f"status {self.status}"

    def answer(self, what: str) -> str:
        """Its stdout, if it carried out its task; ``what`` it was there for ("measures the new rows") is for messages.

        Raises the refusal of a child that refused; ``LimitExceeded`` where it had too little memory; ``Interrupted`` where
        somebody asked it to end; ``Crashed`` where it ended in any other way.
        """
        if self.status == 0:
            return self.stdout
        if self.refusal is not None:
            raise self.refusal
        if -self.status in _ASKED:
            raise Interrupted(-self.status)
        if self.status == -signal.SIGKILL or starved(self.last):
            raise LimitExceeded(
                f"the process that {what} was ended for want of memory ({self.how}): the system, a container or a limit "
                "gives it less than it needs. Let it have more, or end other programs, and run the same command again."
            )
        raise Crashed(what, self)


@contextmanager
def offline() -> Iterator[dict[str, str]]:
    """An environment for children that load the model libraries: no hub, no setting of the user's, a home that goes again.

    The libraries may keep things in their home, which therefore is none of the folders that they are shown.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith(_LIBRARIES)}
    with tempfile.TemporaryDirectory(prefix="weightsmith-home-") as home:
        yield {
            **kept, "HF_HOME": home, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false",
        }  # fmt: skip


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
    program = _PROGRAM.format(root=_ROOT, parent=os.getpid(), module=module, function=name)
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


@contextmanager
def serving(parent: int) -> Iterator[None]:
    """In a child: what is done within ends with the process ``parent``; a refusal is told, and ends the child."""
    end_with(parent)
    try:
        yield
    except Exception as error:
        refusal = as_refusal(error)
        if refusal is None:
            raise
        json.dump({"refused": str(refusal), "status": refusal.status}, sys.stdout)
        sys.exit(_REFUSED)


def _end(child: subprocess.Popen[str], session: bool) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL) if session else child.kill()
    child.communicate()
