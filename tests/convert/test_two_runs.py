"""Two runs into one OUT where locks are granted to everybody: one publishes exactly its files, the other says that it lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from convert import owner
from convert.checkpoint import open_checkpoint
from convert.edits.lossless_making import make_lossless
from convert.interrupt import Interrupted
from convert.paths import staging_of
from convert.planning import Plan
from convert.prepare import plan_conversion
from surgery.errors import OutputBusy, StorageFailed
from tests.goldens import golden
from tests.writing import write


@pytest.fixture(autouse=True)
def everybody_gets_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convert.staging.fcntl.flock", lambda directory, how: None)


def plan_of(**options: object) -> Plan:
    wanted = {"max_shard_size": 150_000, "tokenizer": "carry"} | options
    return plan_conversion(open_checkpoint(golden("baichuan2-7b").checkpoint), "llama", **wanted)


def tree(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("whole") / "out"
    write(plan_of(), out, verify="off")
    return tree(out)


class Steps:
    """Does something once, at a step of a run."""

    def __init__(self, at: int, what: Callable[[], object]) -> None:
        self.at, self.what, self.count = at, what, 0

    def __call__(self, nbytes: int, tensor: str) -> None:
        self.count += 1
        if self.count == self.at:
            self.what()


@pytest.mark.parametrize("at", [1, 2, 5, 9, 14, 20])
def test_a_second_run_that_finishes_within_the_first_is_the_one_that_publishes(
    at: int, tmp_path: Path, whole: dict[str, bytes]
) -> None:
    out = tmp_path / "out"
    first = Steps(at, lambda: write(plan_of(), out, verify="off", workers=1))
    with pytest.raises(OutputBusy, match="another run finished first"):
        write(plan_of(), out, verify="off", workers=1, progress=first)
    assert first.count >= at
    assert tree(out) == whole
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("at", [1, 5, 14])
@pytest.mark.parametrize("other", [{}, {"dtype": "bfloat16"}])
def test_a_second_run_that_is_still_at_work_leaves_nothing_under_the_name_that_is_not_of_one_run(
    at: int, other: dict[str, str], tmp_path: Path
) -> None:
    """The second stops in the middle; the first, whose files it took away, has lost; the third run finishes."""
    out = tmp_path / "out"

    def second() -> None:
        with pytest.raises(Interrupted):
            write(plan_of(**other), out, verify="off", workers=1, progress=Steps(3, interrupt))

    with pytest.raises(OutputBusy, match="took over"):
        write(plan_of(), out, verify="off", workers=1, progress=Steps(at, second))
    assert not out.exists()
    write(plan_of(), out, verify="off")
    assert os.listdir(tmp_path) == ["out"]
    assert not [name for name in os.listdir(out) if ".tmp." in name]


def interrupt() -> None:
    raise Interrupted(2)


def test_what_a_stranger_puts_there_is_neither_published_nor_deleted(tmp_path: Path, whole: dict[str, bytes]) -> None:
    out = tmp_path / "out"
    left = ("model-00002-of-00005.safetensors.tmp.32108.d877b066", "thesis.docx", "LICENSE.theirs.txt")

    def stranger() -> None:
        for name in left:
            (staging_of(out) / name).write_text("theirs")

    done = write(plan_of(), out, verify="off", progress=Steps(4, stranger))
    assert tree(out) == whole
    assert set(done.left) == set(left)
    assert all((staging_of(out) / name).read_text() == "theirs" for name in left)


def test_a_shard_that_another_run_exchanged_is_not_published(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def exchange() -> None:
        shard = staging_of(out) / plan.files[0].name
        shard.with_name("x").write_bytes(bytes(shard.stat().st_size))
        os.replace(shard.with_name("x"), shard)

    plan = plan_of()
    last = sum(len(file.outputs) for file in plan.files)
    with pytest.raises(StorageFailed, match="no longer what was written"):
        write(plan, out, verify="off", workers=1, progress=Steps(last, exchange))
    assert not out.exists()


@pytest.fixture
def alive(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield child
    child.communicate(b"\n")


def test_a_run_of_another_process_that_is_alive_is_not_disturbed_whatever_the_lock_says(
    alive: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    staging_of(out).mkdir()
    told = owner.Owner(alive.pid, "host", owner._boot(), owner._began(alive.pid), "0" * 16)
    owner.written(staging_of(out), told)
    (staging_of(out) / "model.safetensors").write_text("theirs")
    with pytest.raises(OutputBusy, match=f"process {alive.pid}"):
        write(plan_of(), out, verify="off")
    assert (staging_of(out) / "model.safetensors").read_text() == "theirs"


@pytest.mark.parametrize("change", [{"boot": "another"}, {"began": "1"}, {"pid": 2**22 + 1}])
def test_a_note_of_a_process_that_is_gone_stops_nobody(
    change: dict[str, object], alive: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    staging_of(out).mkdir()
    told = owner.Owner(alive.pid, "host", owner._boot(), owner._began(alive.pid), "0" * 16)
    (staging_of(out) / owner.NAME).write_text(json.dumps({**told.__dict__, **change}))
    write(plan_of(), out, verify="off")
    assert os.listdir(tmp_path) == ["out"]


def test_a_run_that_ended_while_it_published_is_gone_on_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, plan = tmp_path / "out", plan_of()
    with monkeypatch.context() as patch:

        def killed(old: Path, new: Path) -> None:
            raise Interrupted(9)

        patch.setattr("convert.staging.rename_no_replace", killed)
        with pytest.raises(Interrupted):
            write(plan, out, verify="off")
    (collected,) = staging_of(out).glob("whole.tmp.*")
    assert "config.json" in os.listdir(collected)
    done = write(plan, out, verify="off")
    assert set(done.resumed) == {file.name for file in plan.files}
    assert os.listdir(tmp_path) == ["out"]


def test_an_output_that_appears_at_the_end_is_kept_and_the_finished_one_too(tmp_path: Path) -> None:
    out, plan = tmp_path / "out", plan_of()
    last = sum(len(file.outputs) for file in plan.files)
    with pytest.raises(OutputBusy, match="appeared during the run"):
        write(plan, out, verify="off", workers=1, progress=Steps(last, out.mkdir))
    assert os.listdir(out) == []
    out.rmdir()
    assert len(write(plan, out, verify="off").resumed) == len(plan.files)


def test_two_makings_of_one_delta_publish_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, target = (open_checkpoint(golden(name).checkpoint) for name in ("llama-gqa", "llama-mha"))
    make_lossless(base, target, tmp_path / "whole")
    out, count = tmp_path / "out", Steps(3, lambda: make_lossless(base, target, tmp_path / "out"))
    from convert.edits.lossless_making import _Writer

    tensor = _Writer._tensor
    monkeypatch.setattr(_Writer, "_tensor", lambda self, *words: (count(0, ""), tensor(self, *words))[1])
    with pytest.raises(OutputBusy, match="another run finished first"):
        make_lossless(base, target, out)
    assert tree(out) == tree(tmp_path / "whole")
    assert sorted(os.listdir(tmp_path)) == ["out", "whole"]
