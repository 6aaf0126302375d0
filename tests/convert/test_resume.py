"""What a run keeps of an earlier one: shards that it would write the same, whatever else was wished."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import convert.edits.lossless_making as lossless_making
from convert.checkpoint import open_checkpoint
from convert.cli.main import cli
from convert.cli.running import run
from convert.edits.lossless_making import make_lossless
from convert.interrupt import Interrupted
from convert.paths import staging_of
from convert.planning import Plan
from convert.prepare import plan_conversion
from surgery.errors import ConversionError
from tests.goldens import golden
from tests.writing import write


def plan_of(source: Path, **options: object) -> Plan:
    return plan_conversion(open_checkpoint(source), "llama", **{"max_shard_size": 150_000, "tokenizer": "carry"} | options)


def stopped(plan: Plan, out: Path, shards: int) -> None:
    """A run that ends when so many shards are finished."""

    def look(nbytes: int, tensor: str) -> None:
        if len(list(staging_of(out).glob("model-0*.safetensors"))) >= shards:
            raise Interrupted(15)

    with pytest.raises(Interrupted):
        write(plan, out, workers=1, progress=look, verify="off")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    shutil.copytree(golden("yi-6b").checkpoint, tmp_path / "source")
    return tmp_path / "source"


@pytest.mark.parametrize(
    "other",
    [{"consumers": ["vllm"]}, {"vocab_mismatch": True}, {"mends": ["repeat-kv"]}, {"tokenizer": "convert"}],
    ids=str,
)
def test_shards_are_kept_where_the_wish_differs_in_what_they_do_not_depend_on(
    other: dict[str, object], tmp_path: Path
) -> None:
    source = golden("baichuan2-7b").checkpoint
    stopped(plan_of(source), tmp_path / "out", 2)
    plan = plan_of(source, **other)
    assert plan.digest != plan_of(source).digest
    assert len(write(plan, tmp_path / "out", verify="off").resumed) == 2


@pytest.mark.parametrize("name", ["config.json", "LICENSE"])
def test_a_document_that_changed_between_two_runs_costs_no_shard(name: str, source: Path, tmp_path: Path) -> None:
    stopped(plan_of(source), tmp_path / "out", 2)
    with open(source / name, "a") as file:
        file.write("\n")
    assert len(write(plan_of(source), tmp_path / "out", verify="off").resumed) == 2


@pytest.mark.parametrize("other", [{"dtype": "bfloat16"}, {"max_shard_size": 100_000}], ids=str)
def test_shards_of_other_bytes_are_written_again(other: dict[str, object], tmp_path: Path) -> None:
    source = golden("baichuan2-7b").checkpoint
    stopped(plan_of(source), tmp_path / "out", 2)
    assert write(plan_of(source, **other), tmp_path / "out", verify="off").resumed == ()


def test_a_source_file_that_changed_costs_the_shards_that_are_made_of_it(tmp_path: Path) -> None:
    shutil.copytree(golden("llama-gqa").checkpoint, tmp_path / "source")
    source = tmp_path / "source"
    plan = plan_of(source, max_shard_size=60_000)
    files = [{plan.checkpoint.tensors[name].file for output in file.outputs for name in output.reads} for file in plan.files]
    first, last = files[0], "model-00002-of-00002.safetensors"
    assert last not in first
    stopped(plan, tmp_path / "out", 1)
    os.utime(source / last)
    assert write(plan_of(source, max_shard_size=60_000), tmp_path / "out", verify="off").resumed == (plan.files[0].name,)
    shutil.rmtree(tmp_path / "out")
    stopped(plan_of(source, max_shard_size=60_000), tmp_path / "out", 1)
    os.utime(source / min(first))
    assert write(plan_of(source, max_shard_size=60_000), tmp_path / "out", verify="off").resumed == ()


def test_a_tokenizer_that_cannot_be_converted_costs_no_shard_and_carrying_it_keeps_them(
    source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    stopped(plan_of(source), out, 2)
    (source / "tokenizer.model").write_bytes(b"no vocabulary at all")
    words = ["run", str(source), str(out), "--to", "llama", "--max-shard-size", "150000", "--verify", "off"]
    assert run(cli, "weightsmith", words) == 3
    assert "--tokenizer carry" in capfd.readouterr().err
    assert len(list(staging_of(out).glob("model-0*.safetensors"))) == 2
    assert run(cli, "weightsmith", [*words, "--tokenizer", "carry"]) == 0
    assert "resumed: 2 of" in capfd.readouterr().out


class Dying:
    """Ends the making of a delta at its n-th tensor."""

    def __init__(self, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at, self.count, tensor = at, 0, lossless_making._Writer._tensor

        def counted(writer: object, *words: object) -> object:
            self.count += 1
            if self.count == self.at:
                raise Interrupted(15)
            return tensor(writer, *words)  # type: ignore[arg-type]

        monkeypatch.setattr(lossless_making._Writer, "_tensor", counted)


@pytest.mark.parametrize("damage", [None, "torn", "other base"])
@pytest.mark.parametrize("at", [2, 8, 15])
def test_the_making_of_a_lossless_delta_goes_on_from_what_is_proven(
    at: int, damage: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(golden("llama-gqa").checkpoint, tmp_path / "base")
    base, target = open_checkpoint(tmp_path / "base"), open_checkpoint(golden("llama-gqa-bf16").checkpoint)
    made = make_lossless(base, target, tmp_path / "whole")
    monkeypatch.setattr(lossless_making, "STRETCH", 20_000)
    with monkeypatch.context() as patch:
        Dying(at, patch)
        with pytest.raises(Interrupted):
            make_lossless(base, target, tmp_path / "out")
    (growing,) = staging_of(tmp_path / "out").glob("delta.zst.tmp.*")
    if damage == "torn":
        with open(growing, "r+b") as file:
            file.truncate(1)
    if damage == "other base":
        os.utime(next((tmp_path / "base").glob("*.safetensors")))
        base = open_checkpoint(tmp_path / "base")
    with monkeypatch.context() as patch:
        again = Dying(0, patch)
        done = make_lossless(base, target, tmp_path / "out")
    assert (done.tensors, done.changed, done.nbytes) == (made.tensors, made.changed, made.nbytes)
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == {
        p.name: p.read_bytes() for p in (tmp_path / "whole").iterdir()
    }
    kept = len(target.tensors) - again.count
    assert kept > 0 if damage is None and at > 8 else damage is None or kept == 0


def test_a_finished_pass_is_not_made_again_where_only_its_end_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, target = (open_checkpoint(golden(name).checkpoint) for name in ("llama-gqa", "llama-gqa-bf16"))
    with monkeypatch.context() as patch:

        def failing(*words: object) -> None:
            raise ConversionError("no")

        patch.setattr(lossless_making, "document", failing)
        with pytest.raises(ConversionError):
            make_lossless(base, target, tmp_path / "out")
    again = Dying(0, monkeypatch)
    make_lossless(base, target, tmp_path / "out")
    assert again.count == 0
