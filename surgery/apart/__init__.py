"""What strangers' files make run, in a process apart that the system ends where it takes too long or too much.

    with a class in some module, whose methods take and give JSON values:

    guest = made("surgery.tokenizer.engines:Json", [tokenizer_json], what="tokenizer.json")
    ids = guest.call("encode", text="Hello", framed=True)

One such process serves whoever asks in this one; it ends with it, and a new one takes the place of one that was ended.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

from surgery.errors import ConversionError, LimitExceeded, show
from surgery.limits import Limits, limits

_PROGRAM = "import sys; sys.path.insert(0, {root!r}); from surgery.apart.process import serve; serve({parent})"
_ROOT = str(Path(__file__).resolve().parents[2])
_PATIENCE = 30.0  # times the seconds of computing: a machine has other work, a process that waits for something never ends
_LIBRARIES = ("HF_", "HUGGING", "TRANSFORMERS_")  # what their environment variables begin with
_ENDING = 10.0  # seconds that a process may take to end, once it has closed its pipes
_STARVED = ("memory allocation of", "bad_alloc", "MemoryError", "annot allocate memory")
_REMEMBERED = 64  # files that were refused, which a command may well try again


class Failed(Exception):
    """What a library raised apart; ``kind`` is the name of its class."""

    def __init__(self, kind: str, says: str, panicked: bool) -> None:
        super().__init__(says)
        self.kind, self.panicked = kind, panicked


class TooMuch(ConversionError):
    """A file that makes more work than is allowed, or that kills the library that reads it."""


class Guest:
    """An object in the process apart. ``again`` makes it anew where that process was ended because of another one."""

    def __init__(self, of: _Process, key: bytes, what: str, told: Any, again: Callable[[], Guest]) -> None:
        self.told, self.again = told, again
        self._key, self._what = key, what
        self._of, self._number = of, of.newest
        self._finalizer = weakref.finalize(self, of.gone.append, self._number)

    def call(self, method: str, /, **options: Any) -> Any:
        """What a method says. ``TooMuch`` where it does not end within the limits, ``Failed`` where it raises."""
        if self._key in _refused:
            raise TooMuch(_refused[self._key])
        if self._of.ended:
            other = self.again()
            self._of, self._number, self._other = other._of, other._number, other
        with _remembering(self._key):
            return self._of.ask({"of": self._number, "call": method, "options": options}, (), self._what)


def made(maker: str, files: Sequence[bytes] = (), *, what: str, weight: int = 0, **options: Any) -> Guest:
    """What ``maker`` ("module:function") makes of files; ``what`` they are is for messages.

    ``weight`` are the bytes of further files that it reads by itself.
    """
    key = blake2b(json.dumps([maker, options, repr(limits())]).encode())
    for content in files:
        key.update(blake2b(content).digest())
    digest = key.digest()
    if not weight and digest in _refused:
        raise TooMuch(_refused[digest])
    with _remembering(digest):
        process = _process()
        told = process.make({"make": maker, "options": options}, files, what, weight)
    return Guest(
        process, digest, what, told, lambda: made(maker, files, what=what, weight=weight, **options)
    )


_refused: dict[bytes, str] = {}
_current: dict[int, _Process] = {}  # by the process that they are children of: a fork inherits what is its parent's


@contextmanager
def _remembering(key: bytes) -> Iterator[None]:
    """Whoever asks again of a file that was too much is told so at once."""
    try:
        yield
    except TooMuch as refusal:
        if len(_refused) < _REMEMBERED:
            _refused[key] = str(refusal)
        raise


def _process() -> _Process:
    found = _current.get(os.getpid())
    if found is None or found.ended or found.allowed != limits():
        found = _current[os.getpid()] = _Process(limits())
    return found


class _Process:
    """The process apart, seen from here."""

    def __init__(self, allowed: Limits) -> None:
        self.gone: list[int] = []  # numbers of guests that nobody has any more
        self.newest = -1  # the number of the guest that was made last
        self.ended, self.allowed = False, allowed
        self._lock = threading.Lock()
        self._log = tempfile.TemporaryFile("w+b")  # noqa: SIM115 - as long as the process is there
        kept = {key: value for key, value in os.environ.items() if not key.startswith(_LIBRARIES)}
        quiet = {"TOKENIZERS_PARALLELISM": "false", "RUST_BACKTRACE": "0"}
        single = dict.fromkeys(("RAYON_NUM_THREADS", "MALLOC_ARENA_MAX", "OMP_NUM_THREADS"), "1")
        self._child = subprocess.Popen(
            [sys.executable, "-I", "-c", _PROGRAM.format(root=_ROOT, parent=os.getpid())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
            env={**kept, **quiet, **single, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"},
        )  # fmt: skip
        atexit.register(self.end)

    def make(self, head: Mapping[str, Any], files: Sequence[bytes], what: str, weight: int) -> Any:
        """What a new guest tells of itself."""
        number = self.newest + 1
        told = self.ask({**head, "number": number}, files, what, weight)
        self.newest = number
        return told

    def ask(self, head: Mapping[str, Any], files: Sequence[bytes], what: str, weight: int = 0) -> Any:
        """What the process answers to one message."""
        with self._lock:
            if self.ended:
                raise ConversionError(f"{what} was given up: the process that read it was ended, because of another file.")
            gone, self.gone[:] = list(self.gone), []
            line = json.dumps({**head, "files": [len(one) for one in files], "gone": gone, "weight": weight}).encode()
            given = sum(map(len, files)) + weight
            assert self._child.stdin is not None and self._child.stdout is not None
            try:
                with suppress(BrokenPipeError):  # what there is to say is said by how it ended
                    self._child.stdin.write(line + b"\n" + b"".join(files))
                    self._child.stdin.flush()
                told = self._heard(_PATIENCE * self.allowed.seconds_for(len(line), given))
            except BaseException:  # an interrupt: the answer that is still to come would be another question's
                self.end()
                raise
            if told is None:
                raise self._why(what)
        if "value" in told:
            return told["value"]
        if "raised" in told:
            raise Failed(told["raised"], told["says"], told["panicked"])
        if "refused" in told:
            raise _kind(told["status"])(told["refused"])
        if "long" in told:
            raise TooMuch(_too_much(what, f"writes {told['long']:,} bytes for {len(line):,}"))
        raise TooMuch(_too_much(what, f"needs more than {self.allowed.words}"))

    def _heard(self, patience: float) -> Any:
        """The next answer; None where the process ended, or was ended since it did nothing at all."""
        assert self._child.stdout is not None
        ready, _, _ = select.select([self._child.stdout], [], [], patience)
        line = self._child.stdout.readline() if ready else b""
        return json.loads(line) if line.endswith(b"\n") else None

    def _why(self, what: str) -> ConversionError:
        """Why there was no answer. The process is gone then."""
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(_ENDING)
        status = self._child.poll()
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - 4096))
        said = self._log.read().decode(errors="replace")
        self.end()
        if status == -signal.SIGKILL:  # our limits end it otherwise, so that this says nothing of the file
            return LimitExceeded(
                f"the process that reads {what} was killed: the system or a container did that, mostly for want of memory. "
                "Let it have more, or end other programs, and run the same command again."
            )
        if status in (None, -signal.SIGXCPU) or any(words in said for words in _STARVED):
            return TooMuch(_too_much(what, f"needs more than {self.allowed.words}"))
        last = (said.strip().splitlines() or ["it said nothing"])[-1]
        how = f"signal {-status}" if status < 0 else f"status {status}"
        return TooMuch(
            f"{what} ends the library that reads it ({how}: {show(last, 200)}): it is damaged, or made to do so. Take the file "
            "from the model's repository."
        )

    def end(self) -> None:
        """End the process; nothing of it is left."""
        if self.ended:
            return
        self.ended = True
        atexit.unregister(self.end)
        if self._child.poll() is None:
            self._child.kill()
        for pipe in (self._child.stdin, self._child.stdout, self._log):
            with suppress(OSError):
                pipe.close()  # type: ignore[union-attr]  # all are there
        self._child.wait()


def _too_much(what: str, needs: str) -> str:
    return (
        f"{what} {needs} to be read and to cut a few texts, which no tokenizer does: it is damaged, or made to do so. Take the "
        "file from the model's repository; --file-seconds and --file-memory allow more."
    )


def _kind(status: int) -> type[ConversionError]:
    from surgery import errors

    kinds = (kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ConversionError))
    return next((kind for kind in kinds if kind.status == status), ConversionError)
