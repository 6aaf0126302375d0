"""Files beside the result: no command writes one into what it reads, over anything that exists, or in part."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import convert.side_outputs as side_outputs
from convert.cli.main import cli as convert_cli
from convert.cli.places import READ, READ_BEHIND, WRITTEN, Command
from convert.cli.running import run
from convert.cli.surgery import cli as surgery_cli
from convert.side_outputs import write_file
from surgery.errors import OutputBusy, StorageFailed
from tests.goldens import golden

GROUPS = {"weightsmith": convert_cli, "surgery": surgery_cli}
#: parameters with words that name no place
NO_PLACE = {
    "accept", "allow", "append", "base_model", "consumers", "device", "family", "ignore", "languages", "licence", "licence_link",
    "licence_name", "mends", "name", "only", "output_variant", "prefer", "target", "tokens", "variant",
}  # fmt: skip
OUT = {"out"}


def commands() -> Iterator[tuple[str, str, click.Command]]:
    for program, group in GROUPS.items():
        context = click.Context(group)
        for name in [*group.list_commands(context), *(["baichuan-to-llama"] if program == "weightsmith" else [])]:
            found = group.get_command(context, name)
            assert found is not None
            yield program, name, found


def writers() -> list[tuple[str, str, str, str]]:
    """Every command with a side output: program, name, option, parameter."""
    return [
        (program, name, parameter.opts[0], str(parameter.name))
        for program, name, found in commands()
        for parameter in found.params
        if parameter.name in WRITTEN
    ]


def tree(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file with its bytes and inode, so that a file put in the place of an equal one is seen."""
    return {str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_ino) for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    shutil.copytree(golden("llama-gqa").checkpoint, tmp_path / "source")
    return tmp_path / "source"


def words(program: str, name: str, source: Path, out: Path) -> list[str]:
    """The words of a command that has a side output, but for that."""
    more = {
        "merge-lora": ["--adapter", str(source)], "apply-delta": ["--delta", str(source)], "cast": ["--dtype", "float16"],
        "trim-vocab": ["--corpus", str(source / "config.json")], "transplant-tokenizer": ["--donor", str(source)],
    }  # fmt: skip
    if name == "validate":
        return [name, str(source)]
    if name == "make-delta":
        return [name, str(source), str(source), str(out)]
    if name == "run":
        if program == "weightsmith":
            return [name, str(source), str(out), "--to", "yi", "--verify", "off"]
        recipe = source.with_name("recipe.toml")
        recipe.write_text(f'source = "{source}"\n[[edit]]\ndo = "untie"\n')
        return [name, str(recipe), str(out), "--verify", "off"]
    return [name, str(source), str(out), *more.get(name, [])]


def test_every_word_that_a_command_takes_is_known_to_name_a_place_or_none() -> None:
    unknown = []
    for program, name, found in commands():
        assert isinstance(found, Command), (program, name)
        for parameter in found.params:
            place = isinstance(parameter.type, click.Path)
            if not place and not isinstance(parameter.type, click.types.StringParamType):
                continue  # a number, a choice, a flag
            known = {*READ, *READ_BEHIND, *OUT} if not place or parameter.type.exists or parameter.name in OUT else WRITTEN
            if parameter.name not in known and (place or parameter.name not in NO_PLACE):
                unknown.append((program, name, parameter.name))
    assert unknown == []
    assert {parameter for _, _, _, parameter in writers()} == set(WRITTEN)


@pytest.mark.parametrize(("program", "name", "option", "parameter"), writers())
def test_nothing_of_the_source_is_written_over_or_beside(
    program: str, name: str, option: str, parameter: str, source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before, out = tree(source), tmp_path / "out"
    places = ["config.json", "model-00001-of-00002.safetensors", "new.json", "../source/new.json"]
    for place in (str(source / one) for one in places):
        assert run(GROUPS[program], program, [*words(program, name, source, out), option, place, "--overwrite"]) == 2, place
        told = capfd.readouterr().err
        assert option in told and "never written to" in told
        assert tree(source) == before and not out.exists()


@pytest.mark.parametrize("name", ["link", "dangling", "folder/new.json", "hard"])
@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_no_link_leads_into_the_source(name: str, overwrite: list[str], source: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(source / "config.json")
    (tmp_path / "dangling").symlink_to(source / "new.json")
    (tmp_path / "folder").symlink_to(source)
    os.link(source / "config.json", tmp_path / "hard")
    before = tree(source)
    told = ["run", str(source), str(tmp_path / "out"), "--to", "yi", "--verify", "off", "--lineage", str(tmp_path / name)]
    assert run(convert_cli, "weightsmith", [*told, *overwrite]) in (2, 7)
    assert tree(source) == before and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "place", ["out", "out/new.json", "OUT", "Out/new.json", "sub/../out", ".out.partial", ".out.partial/new.json", "out.failed"]
)
def test_nothing_is_written_where_the_output_goes(place: str, source: Path, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    told = ["run", str(source), str(tmp_path / "out"), "--to", "yi", "--verify", "off", "--lineage", str(tmp_path / place)]
    assert run(convert_cli, "weightsmith", told) == 2
    assert sorted(os.listdir(tmp_path)) == ["source", "sub"]


@pytest.mark.parametrize("place", ["-", "/dev/stdout", "/dev/null", "fifo"])
def test_what_is_no_file_is_refused(place: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo")
    assert run(convert_cli, "weightsmith", ["validate", str(source), "--html", place, "--overwrite"]) in (2, 7)
    assert sorted(os.listdir()) == ["fifo", "source"]


def test_two_files_beside_the_result_need_two_names(source: Path, tmp_path: Path) -> None:
    (tmp_path / "there").symlink_to(tmp_path)
    told = ["validate", str(source), "--html", str(tmp_path / "one"), "--sarif", str(tmp_path / "there" / "ONE")]
    assert run(convert_cli, "weightsmith", told) == 2
    assert not (tmp_path / "one").exists()


@pytest.mark.parametrize(("program", "name", "option", "parameter"), writers())
def test_what_exists_is_kept(
    program: str, name: str, option: str, parameter: str, source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    taken = tmp_path / "thesis.html"
    taken.write_text("mine")
    status = run(GROUPS[program], program, [*words(program, name, source, tmp_path / "out"), option, str(taken)])
    told = capfd.readouterr().err
    assert taken.read_text() == "mine"
    if not WRITTEN[parameter]:
        assert status == 7 and "--overwrite" in told
    assert status != 0 and not (tmp_path / "out").exists()


def test_a_report_is_replaced_where_that_is_said(source: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    told = ["validate", str(source), "--only", "config", "--html", str(page)]
    for more, status in (([], 0), ([], 7), (["--overwrite"], 0)):
        if page.exists():
            page.write_text("old")
        assert run(convert_cli, "weightsmith", [*told, *more]) == status
        assert (page.read_text() == "old") == (status == 7)
    assert sorted(os.listdir(tmp_path)) == ["page.html", "source"]


def test_the_same_run_again_finds_its_lineage_as_it_is_and_another_run_does_not_replace_it(source: Path, tmp_path: Path) -> None:
    told = ["run", str(source), "--to", "yi", "--dry-run", "--lineage", str(tmp_path / "lineage.json")]
    assert run(convert_cli, "weightsmith", told) == 0
    before = tree(tmp_path)
    assert run(convert_cli, "weightsmith", told) == 0
    assert run(convert_cli, "weightsmith", [*told, "--dtype", "float16"]) == 7
    assert tree(tmp_path) == before
    assert run(convert_cli, "weightsmith", [*told, "--dtype", "float16", "--overwrite"]) == 0
    assert tree(tmp_path) != before


def test_an_output_that_exists_is_said_before_a_lineage_is_written(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    told = ["run", str(source), str(tmp_path / "out"), "--to", "yi", "--lineage", str(tmp_path / "lineage.json")]
    assert run(convert_cli, "weightsmith", told) == 7
    assert sorted(os.listdir(tmp_path)) == ["out", "source"]


def test_a_recipe_and_a_saved_plan_name_sources_too(source: Path, tmp_path: Path) -> None:
    before = tree(source)
    saved, lineage = tmp_path / "plan.json", str(source / "lineage.json")
    assert run(convert_cli, "weightsmith", ["run", str(source), "--to", "yi", "--dry-run", "--plan-out", str(saved)]) == 0
    assert run(convert_cli, "weightsmith", ["run", "--plan", str(saved), str(tmp_path / "out"), "--lineage", lineage]) == 2
    out = str(tmp_path / "out" / "lineage.json")
    assert run(convert_cli, "weightsmith", ["run", "--plan", str(saved), str(tmp_path / "out"), "--lineage", out]) == 2
    assert tree(source) == before and not (tmp_path / "out").exists()


def test_the_blobs_of_the_hubs_cache_are_sources(tmp_path: Path) -> None:
    repository = tmp_path / "models--org--name"
    shutil.copytree(golden("llama-gqa").checkpoint, repository / "snapshots" / ("a" * 40))
    (repository / "blobs").mkdir()
    told = ["validate", str(repository / "snapshots" / ("a" * 40)), "--html", str(repository / "blobs" / "new")]
    assert run(convert_cli, "weightsmith", told) == 2


@pytest.mark.parametrize("out", ["tokenizer.model", "config.json"])
@pytest.mark.parametrize("name", ["merge-tokenizer", "train-pieces"])
def test_vocabulary_files_are_written_over_nothing(name: str, out: str, source: Path) -> None:
    (source / "tokenizer.model").write_bytes(b"theirs")
    before = tree(source)
    more = ["--append", "x"] if name == "merge-tokenizer" else ["--size", "300"]
    assert run(surgery_cli, "surgery", [name, str(source / "config.json"), str(source / out), *more]) == 7
    assert tree(source) == before


def test_a_directory_that_takes_no_file_is_said_before_the_work(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    opened = os.open

    def read_only(path: str | Path, flags: int, *more: int) -> int:
        if flags & os.O_CREAT and Path(path).parent == tmp_path:
            raise OSError(30, "Read-only file system")
        return opened(path, flags, *more)

    monkeypatch.setattr(side_outputs.os, "open", read_only)
    assert run(convert_cli, "weightsmith", ["validate", str(source), "--html", str(tmp_path / "page.html")]) == 6
    told = capfd.readouterr()
    assert told.out == "" and "Read-only file system" in told.err


def test_a_file_that_cannot_be_finished_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(side_outputs.os, "fsync", full)
    with pytest.raises(StorageFailed, match="No space"):
        write_file(tmp_path / "page.html", b"x", option="--report")
    assert os.listdir(tmp_path) == []


def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("mine")
    with pytest.raises(OutputBusy, match="--report"):
        write_file(tmp_path / "page.html", b"x", option="--report")
    assert (tmp_path / "page.html").read_text() == "mine" and os.listdir(tmp_path) == ["page.html"]


def test_the_cards_command_writes_no_card_into_its_source(source: Path) -> None:
    before = tree(source)
    assert run(convert_cli, "weightsmith", ["card", str(source), str(source)]) == 2
    assert tree(source) == before
