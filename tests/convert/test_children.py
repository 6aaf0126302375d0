"""Children: what they answer, how they refuse and fail, and that nothing of them is left when the run is stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import click
import pytest

from convert import children
from convert.checkpoint.files import Missing
from convert.cli.running import run
from convert.interrupt import Interrupted, Interrupts
from convert.refusal import as_refusal
from surgery.errors import ConversionError, LimitExceeded, StorageFailed, UnsafeInput, UsageError

HERE = "tests.convert.test_children"
_LARGE = 5_000_000  # bytes: no pipe holds as many
_REFUSALS: dict[str, Exception] = {
    "input": ConversionError("no"),
    "finer": Missing("no"),
    "usage": UsageError("no"),
    "unsafe": UnsafeInput("no"),
    "limit": LimitExceeded("no"),
    "disk": OSError(28, "No space left on device", "a/file"),
    "memory": MemoryError(),
    "torch": RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"),
}


def echo() -> None:
    json.dump({"got": json.load(sys.stdin), "session": os.getsid(0) == os.getpid()}, sys.stdout)


def refusing() -> None:
    raise _REFUSALS[json.load(sys.stdin)["kind"]]


def late() -> None:
    time.sleep(2)
    json.dump({"got": len(json.load(sys.stdin)["text"])}, sys.stdout)


def deaf() -> None:
    json.dump({"got": 0}, sys.stdout)


def talkative() -> None:
    for stream in (sys.stderr, sys.stdout):
        stream.write(" " * _LARGE)
    json.dump({"got": len(json.load(sys.stdin)["text"])}, sys.stdout)


def crashing() -> None:
    sys.stderr.write("first word\n")
    raise LookupError("last word")


def killed() -> None:
    os.kill(os.getpid(), json.load(sys.stdin)["signal"])


def parent_of_a_parent() -> None:
    """Starts a child that sleeps, in its own session as the verifier's stock class is."""
    children.run(f"{HERE}:sleeping", json.load(sys.stdin), session=False)


def sleeping() -> None:
    Path(json.load(sys.stdin)["note"]).write_text(str(os.getpid()))
    time.sleep(60)


def test_a_child_answers_refuses_and_has_a_session_of_its_own() -> None:
    done = children.run(f"{HERE}:echo", {"a": [1, "b"]})
    assert (done.status, json.loads(done.stdout)) == (0, {"got": {"a": [1, "b"]}, "session": True})
    assert not json.loads(children.run(f"{HERE}:echo", {}, session=False).stdout)["session"]
    refused = children.run(f"{HERE}:refusing", {"kind": "limit"})
    assert isinstance(refused.refusal, LimitExceeded) and str(refused.refusal) == "no"
    failed = children.run(f"{HERE}:nothing", {})
    assert failed.refusal is None and failed.status == 1 and "cannot import name" in failed.last


@pytest.mark.parametrize("within", [True, False], ids=["within a run", "alone"])
def test_a_signal_ends_the_child_and_is_told(within: bool, tmp_path: Path) -> None:
    note = tmp_path / "pid"

    def signalled() -> None:
        while not (note.exists() and note.read_text()):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    threading.Thread(target=signalled, daemon=True).start()
    with pytest.raises(Interrupted) as stopped:
        if within:
            with Interrupts():
                children.run(f"{HERE}:sleeping", {"note": str(note)})
        else:
            children.run(f"{HERE}:sleeping", {"note": str(note)})
    assert stopped.value.number == signal.SIGTERM and signal.getsignal(signal.SIGTERM) == before
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)


def test_a_child_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with pytest.raises(children.TooLong):
        children.run(f"{HERE}:sleeping", {"note": str(tmp_path / "pid")}, seconds=0.5)


@pytest.mark.parametrize("child", ["late", "talkative"])
def test_a_task_of_megabytes_reaches_a_child_that_does_not_read_at_once(child: str) -> None:
    done = children.run(f"{HERE}:{child}", {"text": "x" * _LARGE}, seconds=120)
    assert (done.status, json.loads(done.stdout)) == (0, {"got": _LARGE})


def test_a_child_may_leave_its_task_unread() -> None:
    assert json.loads(children.run(f"{HERE}:deaf", {"text": "x" * _LARGE}, seconds=120).stdout) == {"got": 0}


@pytest.mark.parametrize(("kind", "raised"), [
    ("input", ConversionError), ("finer", ConversionError), ("usage", UsageError), ("unsafe", UnsafeInput),
    ("limit", LimitExceeded), ("disk", StorageFailed), ("memory", LimitExceeded), ("torch", LimitExceeded),
])  # fmt: skip
def test_what_a_child_refuses_is_raised_in_its_own_kind(kind: str, raised: type[ConversionError]) -> None:
    with pytest.raises(ConversionError) as refused:
        children.run(f"{HERE}:refusing", {"kind": kind}).answer("refuses")
    assert type(refused.value) is raised and str(refused.value)


def test_a_childs_crash_is_a_fault_of_ours_with_all_of_its_log(capsys: pytest.CaptureFixture[str]) -> None:
    @click.command()
    def command() -> None:
        children.run(f"{HERE}:crashing", {}).answer("tries")

    assert run(command, "try", []) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: this is a bug in weightsmith, not in your input: Crashed.")
    log = Path(told.split("The traceback is in ")[1].split(";")[0])
    text = log.read_text()
    log.unlink()
    assert "the process that tries ended with status 1" in text and "in answer" in text
    assert "first word" in text and "in crashing" in text and "LookupError: last word" in text


def test_a_child_that_the_system_kills_lacked_memory_and_one_that_is_asked_to_end_was_interrupted() -> None:
    with pytest.raises(LimitExceeded, match=r"the process that tries was ended for want of memory \(signal 9\)"):
        children.run(f"{HERE}:killed", {"signal": signal.SIGKILL}).answer("tries")
    with pytest.raises(Interrupted) as stopped:
        children.run(f"{HERE}:killed", {"signal": signal.SIGTERM}).answer("tries")
    assert stopped.value.number == signal.SIGTERM
    with pytest.raises(children.Crashed, match=f"signal {signal.SIGSEGV:d}"):
        children.run(f"{HERE}:killed", {"signal": signal.SIGSEGV}).answer("tries")


def test_what_is_about_memory_is_told_from_what_only_speaks_of_it() -> None:
    assert isinstance(as_refusal(OSError(12, "Cannot allocate memory")), LimitExceeded)
    assert as_refusal(KeyError("not enough memory")) is None


def _alive(pid: int) -> bool:
    """Whether a process still runs; one that has ended and that nobody has asked after is a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells a process that its parent has ended")
@pytest.mark.parametrize("child", ["sleeping", "parent_of_a_parent"])
def test_a_child_ends_with_a_parent_that_was_killed(child: str, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    program = f"from convert import children; children.run({f'{HERE}:{child}'!r}, {{'note': {str(note)!r}}})"
    with subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parents[2]) as parent:
        while not (note.exists() and note.read_text()):
            assert parent.poll() is None
            time.sleep(0.05)
        pid = int(note.read_text())
        assert _alive(pid)
        parent.kill()
    until = time.monotonic() + 50  # it would sleep for 60 seconds
    while _alive(pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert not _alive(pid)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells a process that its parent has ended")
def test_a_child_whose_parent_has_ended_before_it_could_ask_does_nothing() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    program = f"from convert.children import serving\nwith serving({gone.pid}): print('it ran')"
    done = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (128 + signal.SIGKILL, b"")
