"""Starting a command under a fault, and waiting for it: one child in a session of its own, under strace where asked."""

from __future__ import annotations

import atexit
import contextlib
import functools
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any
from unittest import mock

from convert.cli import main as weightsmith
from convert.cli.surgery import main as surgery

STRACE = shutil.which("strace")
_TRACED = ("-f", "-y", "-s", "0", "--quiet=attach,personality,thread-execve")
#: no network, one thread, repeatable; transformers' word on a miniature costs seconds and writes nothing
_ENVIRONMENT = {
    "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false", "WEIGHTSMITH_WITNESS": "off",
}  # fmt: skip
_PROGRAMS = {"weightsmith": weightsmith, "surgery": surgery}
#: what the programs import when they need it, beside what they always do
_IMPORTED = (
    "tests.faults.suite", "convert.verification", "convert.edits", "numpy", "sentencepiece", "tokenizers", "torch",
    "torch.nn.functional", "safetensors.torch",
)

#: what runs believe is not installed: they would ask it, before they write anything, and it takes seconds to start
_ABSENT: dict[str, Any] = {"transformers": None}


@dataclass(frozen=True)
class Trace:
    """Which calls strace logs, where, and what it does to one of them."""

    log: Path
    calls: Sequence[str]
    inject: str = ""  # "CALL:WHAT:when=N" in strace's words

    @property
    def words(self) -> list[str]:
        """strace's options."""
        injected = ("-e", f"inject={self.inject}") if self.inject else ()
        return [*_TRACED, "-o", str(self.log), "-e", f"trace={','.join(self.calls)}", *injected]


@dataclass(frozen=True)
class Ended:
    """How a command ended: -N where signal N ended it, as subprocess has it."""

    status: int
    text: str  # what it printed, both streams
    seconds: float
    hung: bool

    @property
    def last(self) -> str:
        """Its last line, which is where an error stands."""
        lines = [line for line in self.text.splitlines() if line.strip()]
        return lines[-1].strip()[:160] if lines else "(nothing printed)"

    def crashes(self) -> list[str]:
        """What no fault may lead to: a traceback, an end by a signal, an end that does not come."""
        found = ["hangs"] if self.hung else []
        if self.status < 0 and not self.hung:
            found.append(f"died by signal {-self.status}")
        if "Traceback" in self.text or "bug in weightsmith" in self.text:
            found.append(f"crashed: {self.last}")
        return found


class Child:
    """A run of one of the programs; signals go to all that it started.

    ``words`` are the program, `weightsmith` or `surgery`, and what follows it; no file of it grows beyond ``largest`` bytes
    where that is given, which is a full disk where none can be mounted.
    """

    def __init__(self, words: Sequence[str], cwd: Path, trace: Trace | None = None, largest: int | None = None):
        self._output = tempfile.NamedTemporaryFile(prefix="faults-", suffix=".log")  # noqa: SIM115 - closed by `wait`
        self._process = forks().Process(target=ran, args=(tuple(words), str(cwd), self._output.name, trace is not None, largest))
        self._began = time.monotonic()
        self._process.start()
        self._strace = _attached(self.pid, trace) if trace is not None else None

    @property
    def pid(self) -> int:
        pid = self._process.pid
        assert pid is not None
        return pid

    def send(self, number: int) -> None:
        """Signal it and whatever of it still runs; nothing where all have ended."""
        for signalled in (os.killpg, os.kill):  # it, as long as it has not begun a session and is no group
            with contextlib.suppress(ProcessLookupError):
                signalled(self.pid, number)
                break

    def ended(self) -> bool:
        """Whether it has ended by itself."""
        return not self._process.is_alive()

    def wait(self, seconds: float) -> Ended:
        """How it ended; killed when it has not after so many seconds."""
        self._process.join(seconds)
        hung = not self.ended()
        took = time.monotonic() - self._began
        self.send(signal.SIGKILL)  # what it left behind, or itself
        self._process.join()
        status = self._process.exitcode
        assert status is not None
        if self._strace is not None:
            self._strace.wait()  # its log is whole then
        with self._output as output:
            text = output.read().decode("utf-8", "replace")
        return Ended(status, text, took, hung)


def _attached(pid: int, trace: Trace) -> subprocess.Popen[bytes]:
    """strace, once it holds the process, which waits for that and then goes on."""
    assert STRACE is not None
    words = [STRACE, "-p", str(pid), *trace.words]
    while _status(pid, "State")[:1] not in ("T", "Z"):
        time.sleep(0.001)
    strace = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while _status(pid, "TracerPid") == "0" and strace.poll() is None:
        time.sleep(0.001)
    os.kill(pid, signal.SIGCONT)
    return strace


def _status(pid: int, key: str) -> str:
    """What the kernel says of a process under a key."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith(f"{key}:"))


@functools.cache
def forks() -> ForkServerContext:
    """Where runs are forked from: a process that has imported what they import, so that none pays seconds for it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_IMPORTED))
    with mock.patch.dict(os.environ, _ENVIRONMENT):
        imported = context.Process(target=int)
        imported.start()
    imported.join()  # else the first run, which is timed, waits for the imports
    return context


def ran(words: Sequence[str], cwd: str, output: str, traced: bool, largest: int | None) -> None:
    """One run, in a process of its own: in a session of its own, its output in a file, stopped until strace holds it."""
    os.setsid()
    atexit._clear()  # the functions of the process it was forked from
    with open(output, "ab", buffering=0) as file, open(os.devnull, "rb") as nothing:
        for number, opened in enumerate((nothing, file, file)):
            os.dup2(opened.fileno(), number)
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(number, "w" if number else "r", closefd=False) for number in range(3))
    os.environ.update(_ENVIRONMENT)
    os.chdir(cwd)
    if largest is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    if traced:
        os.kill(os.getpid(), signal.SIGSTOP)
    sys.modules.update(_ABSENT)
    sys.argv = list(words)
    try:
        _PROGRAMS[words[0]]()
    finally:
        atexit._run_exitfuncs()


def can_trace() -> bool:
    """Whether strace is here and may trace (containers may forbid it)."""
    if STRACE is None:
        return False
    told = subprocess.run([STRACE, *_TRACED, "-o", os.devnull, "true"], capture_output=True, check=False)
    return told.returncode == 0


def can_mount() -> bool:
    """Whether a file system of our own can be mounted."""
    if shutil.which("mount") is None:
        return False
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        if mount(Path(folder), "-t", "tmpfs", "-o", "size=1m", "tmpfs"):
            unmount(Path(folder))
            return True
    return False


def mount(at: Path, *words: str) -> bool:
    """Whether that could be mounted there."""
    return subprocess.run(["mount", *words, str(at)], capture_output=True, check=False).returncode == 0


def unmount(at: Path) -> None:
    subprocess.run(["umount", str(at)], capture_output=True, check=False)


def missing_tools() -> Mapping[str, str]:
    """Of `strace` and `mount`, what does not work here, with the reason."""
    found = {}
    if not can_trace():
        found["strace"] = "strace is not installed, or may not trace here"
    if not can_mount():
        found["mount"] = "no file system can be mounted here (it takes root)"
    return found
