"""The source is the source that was planned: no byte of a file that took another's place goes to OUT."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from convert.checkpoint import open_checkpoint
from convert.cli.main import cli
from convert.cli.running import run
from convert.edits.corpus import Corpus
from convert.edits.lora import merge_lora
from convert.edits.lossless import plan_lossless
from convert.edits.lossless_making import make_lossless
from convert.edits.tokens import folder_files, read_addition
from convert.edits.vocabulary import extend_vocab, plan_vocabulary
from convert.planning import Plan
from convert.prepare import open_artefact, plan_artefact, plan_conversion
from convert.recipe import read_recipe
from convert.tokenizing import handed, received
from surgery.errors import ConversionError, UnsafeInput
from tests.goldens import golden
from tests.vocabulary.test_extend import byte_level_model
from tests.writing import write

Change = Callable[[Path], None]


def rewrite(path: Path) -> None:
    """The same size and time, other bytes."""
    found = path.stat()
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def spaced(path: Path) -> None:
    """The same but for a byte behind the last, which leaves JSON what it says."""
    with open(path, "ab") as file:
        file.write(b"\n")


def exchange(path: Path) -> None:
    """Another file under the name."""
    path.with_name("other.tmp").write_bytes(path.read_bytes())
    path.with_name("other.tmp").replace(path)


def link_outside(path: Path) -> None:
    outside = path.parent.parent / "secret"
    outside.write_bytes(b"SECRET-TOKEN")
    path.unlink()
    path.symlink_to(outside)


def gone(path: Path) -> None:
    path.unlink()


CHANGES = [rewrite, exchange, link_outside, gone]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    shutil.copytree(golden("llama-gqa").checkpoint, tmp_path / "source")
    (tmp_path / "source" / "LICENSE").write_text("theirs")
    return tmp_path / "source"


def refused(plan: Plan, tmp_path: Path, progress: object = None) -> None:
    with pytest.raises(ConversionError, match="the source changed") as refusal:
        write(plan, tmp_path / "out", verify="off", **({"progress": progress} if progress else {}))
    assert refusal.value.status == 3
    assert not (tmp_path / "out").exists()
    files = (path for path in tmp_path.rglob("*") if path.is_file() and path.name != "secret" and not path.is_symlink())
    assert not any(b"SECRET-TOKEN" in path.read_bytes() for path in files)


@pytest.mark.parametrize(
    "name",
    ["LICENSE", "config.json", "tokenizer.json", "generation_config.json", "model.safetensors.index.json",
     "model-00001-of-00002.safetensors"],
)  # fmt: skip
@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_was_exchanged_after_planning_is_refused(name: str, change: Change, source: Path, tmp_path: Path) -> None:
    if not (source / name).exists():
        (source / name).write_text('{"version": "1.0"}\n')
    plan = plan_conversion(open_checkpoint(source), "yi", tokenizer="carry")
    change(source / name)
    refused(plan, tmp_path)
    assert not (tmp_path / ".out.partial").exists()


@pytest.mark.parametrize("name", ["LICENSE", "config.json", "model-00001-of-00002.safetensors"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_is_exchanged_during_the_run_is_refused(name: str, change: Change, source: Path, tmp_path: Path) -> None:
    plan = plan_conversion(open_checkpoint(source), "yi", tokenizer="carry")
    done: list[str] = []

    def once(nbytes: int, tensor: str) -> None:
        if not done:
            change(source / name)
        done.append(tensor)

    refused(plan, tmp_path, once)


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_is_exchanged_during_the_verification_is_refused(change: Change, source: Path, tmp_path: Path) -> None:
    class Passed:
        passed = True

        def lines(self) -> list[str]:
            return []

        def record(self) -> dict[str, object]:
            return {}

    def verify(folder: Path) -> Passed:
        change(source / "LICENSE")
        return Passed()

    plan = plan_conversion(open_checkpoint(source), "yi", tokenizer="carry")
    with pytest.raises(ConversionError, match="the source changed"):
        write(plan, tmp_path / "out", verify=verify)
    assert not (tmp_path / "out").exists()


def test_a_card_that_is_not_carried_may_change(source: Path, tmp_path: Path) -> None:
    (source / "README.md").write_text("old")
    plan = plan_conversion(open_checkpoint(source), "yi", tokenizer="carry")
    (source / "README.md").write_text("new")
    write(plan, tmp_path / "out", verify="off")
    assert not (tmp_path / "out" / "README.md").exists()


@pytest.mark.parametrize("change", CHANGES)
def test_the_process_that_reads_a_tokenizer_knows_its_files(change: Change, source: Path) -> None:
    (source / "tokenizer.model").write_bytes(b"pieces")
    told = handed(open_checkpoint(source).documents["tokenizer.model"])
    assert received(told) == b"pieces"
    change(source / "tokenizer.model")
    with pytest.raises(ConversionError, match="the source changed"):
        received(told)


@pytest.mark.parametrize("name", ["config.json", "LICENSE", "tokenizer.model", "model.safetensors.index.json"])
@pytest.mark.parametrize("change", [spaced, exchange])
def test_a_saved_plan_is_of_the_files_that_were_there(
    name: str, change: Change, source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (source / "tokenizer.model").write_bytes(b"pieces")
    words = ["run", str(source), "--to", "yi", "--tokenizer", "carry", "--dry-run", "--plan-out", str(tmp_path / "plan.json")]
    assert run(cli, "weightsmith", words) == 0
    assert run(cli, "weightsmith", ["run", "--plan", str(tmp_path / "plan.json"), str(tmp_path / "one"), "--verify", "off"]) == 0
    change(source / name)
    assert run(cli, "weightsmith", ["run", "--plan", str(tmp_path / "plan.json"), str(tmp_path / "out"), "--verify", "off"]) == 3
    assert "changed" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.bin"])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("how", ["command", "recipe"])
def test_the_files_of_an_adapter_are_those_that_were_planned(name: str, change: Change, how: str, tmp_path: Path) -> None:
    case = golden("lora-qv-only").checkpoint
    shutil.copytree(case / "adapter", tmp_path / "adapter")
    shutil.copytree(case / "base", tmp_path / "base")
    if how == "command":
        base = open_artefact(open_checkpoint(tmp_path / "base"))
        plan = plan_artefact(merge_lora(base, tmp_path / "adapter"), tokenizer="carry")
    else:
        edits = '[[edit]]\ndo = "merge-lora"\nadapter = "adapter"\n[[edit]]\ndo = "cast"\ndtype = "bfloat16"\n'
        (tmp_path / "r.toml").write_text(f'source = "base"\n{edits}')
        plan = read_recipe(tmp_path / "r.toml").plan()
    change(tmp_path / "adapter" / name)
    refused(plan, tmp_path)


@pytest.mark.parametrize("name", ["delta.json", "delta.zst", "LICENSE", "config.json"])
@pytest.mark.parametrize("change", CHANGES)
def test_the_files_of_a_lossless_delta_are_those_that_were_planned(
    name: str, change: Change, source: Path, tmp_path: Path
) -> None:
    base = open_checkpoint(golden("llama-gqa-bf16").checkpoint)
    make_lossless(base, open_checkpoint(source), tmp_path / "delta")
    plan = plan_lossless(base, tmp_path / "delta")
    change(tmp_path / "delta" / name)
    refused(plan, tmp_path)


@pytest.mark.parametrize("name", ["LICENSE", "config.json", "model.safetensors.index.json"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_delta_is_made_of_the_files_that_were_opened(name: str, change: Change, source: Path, tmp_path: Path) -> None:
    base, target = open_checkpoint(golden("llama-gqa-bf16").checkpoint), open_checkpoint(source)
    change(source / name)
    with pytest.raises(ConversionError, match="the source changed"):
        make_lossless(base, target, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json"])
@pytest.mark.parametrize("change", CHANGES)
def test_the_tokenizer_that_was_extended_is_the_one_that_is_there(name: str, change: Change, tmp_path: Path) -> None:
    source = tmp_path / "source"
    byte_level_model(source)
    plan = plan_vocabulary(extend_vocab(open_artefact(open_checkpoint(source)), read_addition(None, atoms=["<|new|>"])))
    change(source / name)
    refused(plan, tmp_path)


@pytest.mark.parametrize("change", [rewrite, exchange])
def test_a_corpus_that_changes_between_two_readings_is_refused(change: Change, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("one two\n")
    corpus = Corpus((tmp_path / "text.txt",))
    assert list(corpus) == list(corpus) == ["one two\n"]
    change(tmp_path / "text.txt")
    with pytest.raises(ConversionError, match="the corpus changed"):
        list(corpus)


def test_a_donors_folder_leads_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("SECRET-TOKEN")
    (tmp_path / "donor").mkdir()
    (tmp_path / "donor" / "vocab.txt").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(UnsafeInput, match="outside"):
        folder_files(tmp_path / "donor")
