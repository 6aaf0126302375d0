"""The writer: absent or complete, resumed by proof, deterministic, and what it says when it cannot."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
from pathlib import Path

import pytest

import convert.staging as staging
import convert.writing as writing
from convert.checkpoint import open_checkpoint
from convert.interrupt import Interrupted
from convert.paths import staging_of
from convert.planning import Plan
from convert.prepare import plan_conversion, plan_repack
from surgery.errors import ConversionError, OutputBusy, StorageFailed, UsageError, VerificationFailed
from tests.goldens import golden
from tests.oracle import same_bits, tensors
from tests.writing import write


@pytest.fixture
def plan():
    return plan_conversion(open_checkpoint(golden("baichuan2-7b").checkpoint), "llama", max_shard_size=200_000)


def tree(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_two_runs_write_the_same_bytes_whatever_the_workers(plan, tmp_path):
    write(plan, tmp_path / "a", workers=1)
    write(plan, tmp_path / "b", workers=4)
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_an_interrupted_run_leaves_nothing_under_the_name_and_resumes_by_hash(plan, tmp_path):
    seen = []

    def stop_after_two_shards(nbytes: int, tensor: str) -> None:
        seen.append(tensor)
        if len(list(staging_of(tmp_path / "out").glob("model-0000[12]-of-*.safetensors"))) == 2:
            raise Interrupted(15)

    with pytest.raises(Interrupted):
        write(plan, tmp_path / "out", workers=1, progress=stop_after_two_shards)
    assert not (tmp_path / "out").exists()
    done = write(plan, tmp_path / "out")
    assert len(done.resumed) == 2
    write(plan, tmp_path / "whole")
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_a_shard_that_was_damaged_since_is_written_again(plan, tmp_path):
    count = 0

    def stop(nbytes: int, tensor: str) -> None:
        nonlocal count
        count += 1
        if len(list(staging_of(tmp_path / "out").glob("model-00001-of-*.safetensors"))) == 1:
            raise Interrupted(2)

    with pytest.raises(Interrupted):
        write(plan, tmp_path / "out", workers=1, progress=stop)
    (shard,) = staging_of(tmp_path / "out").glob("model-00001-of-*.safetensors")
    damaged = bytearray(shard.read_bytes())
    damaged[-1] ^= 1
    shard.write_bytes(damaged)
    assert write(plan, tmp_path / "out").resumed == ()
    write(plan, tmp_path / "whole")
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_a_journal_of_another_plan_is_not_trusted(plan, tmp_path):
    def stop(nbytes: int, tensor: str) -> None:
        if list(staging_of(tmp_path / "out").glob("model-*.safetensors")):
            raise Interrupted(2)

    with pytest.raises(Interrupted):
        write(plan, tmp_path / "out", workers=1, progress=stop)
    other = plan_conversion(
        open_checkpoint(golden("baichuan2-7b").checkpoint), "llama", max_shard_size=200_000, dtype="bfloat16"
    )
    assert write(other, tmp_path / "out").resumed == ()


def test_a_failed_verification_keeps_the_output_aside(plan, tmp_path):
    class No:
        passed = False

        def lines(self):
            return ["it computes something else"]

        def record(self):
            return {}

    with pytest.raises(VerificationFailed, match="something else"):
        write(plan, tmp_path / "out", verify=lambda folder: No())
    assert sorted(os.listdir(tmp_path)) == ["out.failed"]


def test_what_was_written_wrongly_is_not_published(plan, tmp_path, monkeypatch):
    put = writing._put
    monkeypatch.setattr(
        writing, "_put", lambda fd, buffer, at: at + len(buffer) if at > 60_000 else put(fd, buffer, at)
    )
    with pytest.raises(StorageFailed, match="read back"):
        write(plan, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_source_that_changes_during_the_run_is_noticed(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name, content in tree(golden("yi-6b").checkpoint).items():
        (source / name).write_bytes(content)
    plan = plan_conversion(open_checkpoint(source), "llama")
    first = next(source.glob("*.bin"))

    def touch(nbytes: int, tensor: str) -> None:
        os.utime(first, ns=(1, 1))

    with pytest.raises(ConversionError, match="changed"):
        write(plan, tmp_path / "out", progress=touch)
    assert not (tmp_path / "out").exists()


def test_an_output_that_exists_is_not_touched(plan, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("keep")
    with pytest.raises(OutputBusy, match="exists"):
        write(plan, tmp_path / "out")
    assert tree(tmp_path / "out") == {"precious": b"keep"}


@pytest.mark.parametrize("where", ["", "inside"])
def test_the_source_is_never_the_output(plan, where, tmp_path):
    with pytest.raises(UsageError, match="OUT is, or is inside, SRC"):
        write(plan, golden("baichuan2-7b").checkpoint / where)


def test_a_missing_parent_is_named(plan, tmp_path):
    with pytest.raises(StorageFailed, match="does not exist"):
        write(plan, tmp_path / "no" / "such" / "out")


def test_a_second_run_into_the_same_output_is_refused(plan, tmp_path):
    def again(nbytes: int, tensor: str) -> None:
        with pytest.raises(OutputBusy, match="another run"):
            write(plan, tmp_path / "out")
        raise Interrupted(2)

    with pytest.raises(Interrupted):
        write(plan, tmp_path / "out", workers=1, progress=again)


def test_foreign_files_in_a_left_staging_directory_stop_the_run(plan, tmp_path):
    staging_of(tmp_path / "out").mkdir()
    (staging_of(tmp_path / "out") / "thesis.docx").write_text("mine")
    with pytest.raises(OutputBusy, match=r"thesis\.docx"):
        write(plan, tmp_path / "out")
    assert (staging_of(tmp_path / "out") / "thesis.docx").read_text() == "mine"


def test_files_get_the_modes_of_the_umask(plan, tmp_path):
    old = os.umask(0o027)
    try:
        write(plan, tmp_path / "out")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o750
    assert {stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "out").iterdir()} == {0o640}


def test_no_space_is_said_before_anything_is_written(plan, tmp_path, monkeypatch):
    monkeypatch.setattr(writing.os, "statvfs", lambda path: type("Disk", (), {"f_bavail": 0, "f_frsize": 4096})())
    with pytest.raises(StorageFailed, match="no space"):
        write(plan, tmp_path / "out")


def test_repacking_keeps_every_tensor_and_takes_torch_files(tmp_path):
    source = golden("baichuan-13b").checkpoint
    # not verified, as the command does not: every byte is a copy, of a model whose version its config does not tell
    write(plan_repack(open_checkpoint(source), max_shard_size=300_000), tmp_path / "out", verify="off")
    before, after = tensors(source), tensors(tmp_path / "out")
    assert before.keys() == after.keys()
    assert all(same_bits(after[name], before[name]) for name in before)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["architectures"] == ["BaichuanForCausalLM"]


@pytest.mark.parametrize(("mode", "verdict"), [("off", "not verified"), ("full", "passed")])
def test_the_manifest_holds_no_path_date_or_measurement(plan, tmp_path, mode, verdict):
    write(plan, tmp_path / "out", verify=mode)
    told = (tmp_path / "out" / "weightsmith.json").read_text()
    manifest = json.loads(told)
    assert manifest["exactness"] == "algebraic"
    assert (manifest["verification"] if mode == "off" else manifest["verification"]["verdict"]) == verdict
    assert str(tmp_path) not in told and os.uname().nodename not in told
    assert {f["name"] for f in manifest["outputs"]} == {f.name for f in plan.files}


@pytest.mark.parametrize(("model_type", "told"), [(None, True), ("baichuan", False)])
def test_a_repack_that_leaves_no_class_to_load_says_so(tmp_path: Path, model_type: str | None, told: bool) -> None:
    source = tmp_path / "source"
    shutil.copytree(golden("baichuan-7b").checkpoint, source)
    config = json.loads((source / "config.json").read_text()) | {"auto_map": {"AutoModel": "m.M"}, "model_type": model_type}
    (source / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    notes = plan_repack(open_checkpoint(source)).notes
    assert any("has no model_type, only auto_map" in note for note in notes) == told


@pytest.mark.parametrize("name", ["tokenizer.vocab", "LICENSE.rst", "COPYING", "Notice", "LICENSE.TXT", "merges.txt",
                                  "part-1-of-163.safetensors.tmp.12.0123abcd", "part-00001-of-000163.safetensors"])  # fmt: skip
def test_what_a_run_of_ours_left_is_no_reason_to_stop(name: str, plan: Plan, tmp_path: Path) -> None:
    left = staging_of(tmp_path / "out")
    left.mkdir()
    (left / name).write_bytes(b"torn")
    write(plan, tmp_path / "out")
    assert not (tmp_path / "out" / name).exists() or (tmp_path / "out" / name).read_bytes() != b"torn"


def test_an_output_that_the_disk_does_not_confirm_is_there_and_is_nobody_elses(plan: Plan, tmp_path: Path, monkeypatch) -> None:
    out, sync = tmp_path / "out", staging.sync_directory

    def failing(path: Path) -> None:
        if path == tmp_path and out.exists():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        sync(path)

    monkeypatch.setattr(staging, "sync_directory", failing)
    with pytest.raises(StorageFailed, match=r"is whole and in its place, but the disk did not confirm it \(.*[Ii]nput/output"):
        write(plan, out)
    assert os.listdir(tmp_path) == ["out"]
    monkeypatch.undo()
    write(plan, tmp_path / "other")
    assert tree(out) == tree(tmp_path / "other")


def test_a_run_that_gets_the_lock_after_another_has_finished_leaves_nothing(plan, tmp_path, monkeypatch):
    write(plan, tmp_path / "other")
    lock = staging._lock

    def late(directory: int, path: Path) -> None:
        os.rename(tmp_path / "other", tmp_path / "out")  # the other run publishes between our first look and our lock
        lock(directory, path)

    monkeypatch.setattr(staging, "_lock", late)
    with pytest.raises(OutputBusy, match="exists already"):
        write(plan, tmp_path / "out")
    assert os.listdir(tmp_path) == ["out"]
