"""Starting a command under a fault, and waiting for it: one child in a session of its own, under strace where asked."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

STRACE = shutil.which("strace")
_TRACED = ("-f", "-y", "-s", "0", "--quiet=attach,personality,thread-execve")
#: several times faster, and injects no signals (strace 6.1): only for what is watched
_FAST = "--seccomp-bpf"
#: no network, one thread, repeatable; transformers' word on a miniature costs seconds and writes nothing
_ENVIRONMENT = {
    "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false", "WEIGHTSMITH_WITNESS": "off",
}  # fmt: skip


@dataclass(frozen=True)
class Trace:
    """Which calls strace logs, where, and what it does to one of them."""

    log: Path
    calls: Sequence[str]
    inject: str = ""  # "CALL:WHAT:when=N" in strace's words

    @property
    def words(self) -> list[str]:
        assert STRACE is not None
        injected = ("-e", f"inject={self.inject}") if self.inject else (_FAST,)
        return [STRACE, *_TRACED, "-o", str(self.log), "-e", f"trace={','.join(self.calls)}", *injected]


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
    """A command that runs; signals go to all that it started."""

    def __init__(self, words: Sequence[str], cwd: Path, trace: Trace | None = None, limit: Callable[[], None] | None = None):
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `wait`
        self._began = time.monotonic()
        self._process = subprocess.Popen(
            [*(trace.words if trace is not None else ()), *words],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            start_new_session=True,
            preexec_fn=limit,
            env={**os.environ, **_ENVIRONMENT},
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, number: int) -> None:
        """Signal it and whatever of it still runs; nothing where all have ended."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return

    def ended(self) -> bool:
        """Whether it has ended by itself."""
        return self._process.poll() is not None

    def wait(self, seconds: float) -> Ended:
        """How it ended; killed when it has not after so many seconds."""
        deadline = time.monotonic() + seconds
        while not self.ended() and time.monotonic() < deadline:
            time.sleep(0.002)
        hung = not self.ended()
        took = time.monotonic() - self._began
        self.send(signal.SIGKILL)  # what it left behind, or itself
        status = self._process.wait()
        with self._output as output:
            output.seek(0)
            text = output.read().decode("utf-8", "replace")
        return Ended(status, text, took, hung)


def no_larger_file_than(nbytes: int) -> Callable[[], None]:
    """What a child does before it begins so that no file of it grows beyond this: a full disk where none can be mounted."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, nbytes))

    return limit


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
