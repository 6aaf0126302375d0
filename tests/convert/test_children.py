"""Children: what they answer, how they refuse, and that nothing of them is left when the run is stopped."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from convert import children
from convert.interrupt import Interrupted, Interrupts

HERE = "tests.convert.test_children"
_LARGE = 5_000_000  # bytes: no pipe holds as many


def echo() -> None:
    json.dump({"got": json.load(sys.stdin), "session": os.getsid(0) == os.getpid()}, sys.stdout)


def refusing() -> None:
    children.refuse("no")


def late() -> None:
    time.sleep(2)
    json.dump({"got": len(json.load(sys.stdin)["text"])}, sys.stdout)


def deaf() -> None:
    json.dump({"got": 0}, sys.stdout)


def talkative() -> None:
    for stream in (sys.stderr, sys.stdout):
        stream.write(" " * _LARGE)
    json.dump({"got": len(json.load(sys.stdin)["text"])}, sys.stdout)


def sleeping() -> None:
    Path(json.load(sys.stdin)["note"]).write_text(str(os.getpid()))
    time.sleep(60)


def test_a_child_answers_refuses_and_has_a_session_of_its_own() -> None:
    done = children.run(f"{HERE}:echo", {"a": [1, "b"]})
    assert (done.status, json.loads(done.stdout)) == (0, {"got": {"a": [1, "b"]}, "session": True})
    assert not json.loads(children.run(f"{HERE}:echo", {}, session=False).stdout)["session"]
    refused = children.run(f"{HERE}:refusing", {})
    assert refused.refusal == "no"
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
