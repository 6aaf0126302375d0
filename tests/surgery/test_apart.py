"""What strangers' files make run is bounded: in computing, in memory, in what it answers; and nothing of it is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from surgery import apart
from surgery.apart import Failed, TooMuch, made
from surgery.errors import ConversionError, UsageError
from surgery.limits import MEMORY, SECONDS, Limits, limits
from surgery.tokenizer.bounds import MOST_PARTS, MOST_VALUES
from surgery.tokenizer.facts import load
from surgery.tokenizer.processor import processor
from surgery.tokenizer.sources import read_json
from tests.tokenizer.small import byte_level, sentencepiece_model
from tests.tokenizer.strangers import BOMBS, doubling

TEXT = "the lighthouse"


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECONDS, "1")
    monkeypatch.setenv(MEMORY, "300e6")


@pytest.fixture(scope="module")
def small() -> dict[str, Any]:
    return byte_level(700)


class Echo:
    """What the process apart can be told to make."""

    def __init__(self, *files: bytes, **options: Any) -> None:
        self._told = {"files": [len(one) for one in files], **options}

    def told(self) -> dict[str, Any]:
        return self._told

    def raising(self) -> None:
        raise ValueError("said so")

    def refusing(self) -> None:
        raise UsageError("no")

    def long(self, count: int) -> str:
        return "x" * count

    def busy(self) -> None:
        while True:
            pass

    def greedy(self) -> int:
        return len(bytearray(1 << 40))

    def printing(self) -> str:
        os.write(1, b"a compiled library's remark\n")
        print("a remark")
        return "the answer"

    def dying(self) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)


def echo(*files: bytes, **options: Any) -> apart.Guest:
    return made(f"{__name__}:Echo", files, what="the test", **options)


def test_what_a_library_prints_is_no_answer() -> None:
    assert echo().call("printing") == "the answer"


def test_a_guest_gets_files_and_options_and_its_errors_keep_their_kind() -> None:
    guest = echo(b"abc", b"", name="ä")
    assert guest.told == {"files": [3, 0], "name": "ä"}
    with pytest.raises(Failed, match="said so") as failed:
        guest.call("raising")
    assert (failed.value.kind, failed.value.panicked) == ("ValueError", False)
    with pytest.raises(UsageError, match=r"^no$"):
        guest.call("refusing")


@pytest.mark.parametrize(("method", "says"), [("busy", "needs more than 1 seconds of computing"),
                                              ("greedy", "or 300 MB of memory"), ("dying", "signal 11")])  # fmt: skip
def test_what_a_guest_may_not_do_is_a_refusal_and_other_guests_go_on(little: None, method: str, says: str) -> None:
    innocent, guest = echo(name=f"beside {method}"), echo(name=method)
    with pytest.raises(TooMuch, match=says) as refused:
        guest.call(method)
    assert refused.value.status == 3
    assert "\n" not in str(refused.value)
    assert innocent.call("long", count=3) == "xxx"


def test_an_answer_is_not_longer_than_a_question_warrants() -> None:
    assert len(echo().call("long", count=1000)) == 1000
    with pytest.raises(TooMuch, match="writes 2,000,013"):
        echo(name="long").call("long", count=2_000_000)


def test_who_asks_again_of_a_file_that_was_too_much_is_told_at_once(little: None, small: dict[str, Any]) -> None:
    with pytest.raises(TooMuch) as first:
        load(doubling(small)).encode(TEXT)
    before = time.process_time(), apart._current[os.getpid()]
    with pytest.raises(TooMuch) as second:
        load(doubling(small))
    assert str(first.value) == str(second.value)
    assert apart._current[os.getpid()] is before[1], "nothing was started for it"


def test_an_interrupt_while_a_guest_works_is_raised_and_the_next_question_gets_its_own_answer() -> None:
    class Interrupted(Exception):
        pass

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interrupted

    guest = echo(name="interrupted")
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(Interrupted):
            guest.call("busy")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert guest.call("long", count=2) == "xx"


def test_a_busy_process_ends_with_its_parent_however_that_ends() -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).resolve().parents[2])!r}); "
        "from tests.surgery.test_apart import echo; print('ready', flush=True); echo().call('busy')"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env={**os.environ, SECONDS: "600"})
    assert parent.stdout is not None and parent.stdout.readline() == b"ready\n"
    children: list[str] = []
    while not children:
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
        time.sleep(0.05)
    time.sleep(1.0)  # until it has asked to end with its parent
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until = time.monotonic() + 30
    while Path(f"/proc/{children[0]}").exists() and "\nState:\tZ" not in Path(f"/proc/{children[0]}/status").read_text():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize("bomb", BOMBS)
def test_every_tokenizer_that_works_without_end_is_refused_in_a_paragraph(
    little: None, small: dict[str, Any], bomb: str
) -> None:
    with pytest.raises(ConversionError, match=r"tokenizer\.json .*(model's repository|normaliser)") as refused:
        load(BOMBS[bomb](small)).encode(TEXT)
    assert refused.value.status == 3
    assert "\n" not in str(refused.value)


def test_a_tokenizer_that_does_little_passes_under_little(little: None, small: dict[str, Any]) -> None:
    assert load(small).decode(load(small).encode(TEXT).ids) == TEXT
    pieces = processor(sentencepiece_model(only_ascii=True))
    assert pieces.decode(pieces.encode(TEXT)) == TEXT


def test_a_file_of_more_values_than_any_tokenizer_is_refused_before_it_is_read() -> None:
    data = b"[" + b"[]," * MOST_VALUES + b"[]]"
    with pytest.raises(ConversionError, match="about 10,000,002 values"):
        read_json("tokenizer.json", data)


def test_more_values_around_the_vocabulary_than_any_tokenizer_has_are_refused_by_their_number(small: dict[str, Any]) -> None:
    one = {"SpecialToken": {"id": "<|end|>", "type_id": 0}}
    with pytest.raises(ConversionError, match=f"over {MOST_PARTS:,} values around its vocabulary"):
        load({**small, "post_processor": {"type": "TemplateProcessing", "single": [one] * MOST_PARTS}})


def test_larger_tasks_are_allowed_more_and_no_file_without_bound() -> None:
    allowed = Limits()
    assert (allowed.seconds, allowed.memory) == (10.0, 1_000_000_000)
    assert allowed.seconds_for(0, 0) == 10
    assert allowed.seconds_for(10**6, 0) > allowed.seconds_for(0, 10**6) > 10
    assert allowed.memory_for(10**7) > allowed.memory_for(0)
    assert allowed.memory_for(10**12) == 5 * allowed.memory


@pytest.mark.parametrize("said", ["nothing", "-1", "0", "nan", "inf"])
def test_limits_of_the_environment_are_numbers_above_0(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECONDS, "2.5")
    assert limits().seconds == 2.5
    monkeypatch.setenv(SECONDS, said)
    with pytest.raises(UsageError, match="WEIGHTSMITH_FILE_SECONDS"):
        limits()


def test_messages_of_the_process_are_lines_of_json() -> None:
    assert json.dumps(echo(b"\n\n").told) == '{"files": [2]}'
