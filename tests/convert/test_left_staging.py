"""What lies in a staging directory that no run of ours left: nothing is followed, waited for, or read without an end."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from convert import journal, owner
from convert.checkpoint import open_checkpoint
from convert.paths import staging_of
from convert.planning import Plan
from convert.prepare import plan_conversion
from surgery.errors import OutputBusy
from tests.goldens import golden
from tests.writing import write


@pytest.fixture
def plan() -> Plan:
    return plan_conversion(open_checkpoint(golden("llama-gqa").checkpoint), "mistral")


def _link(at: Path, victim: Path) -> None:
    at.symlink_to(victim)


def _second_name(at: Path, victim: Path) -> None:
    os.link(victim, at)


def _pipe(at: Path, victim: Path) -> None:
    os.mkfifo(at)


def _folder(at: Path, victim: Path) -> None:
    at.mkdir()


def _holes(at: Path, victim: Path) -> None:
    at.touch()
    os.truncate(at, 50 << 30)


_FOREIGN = (_link, _second_name, _pipe, _folder, _holes)


@pytest.mark.parametrize("lay", _FOREIGN)
def test_a_foreign_journal_is_refused_and_left_alone(lay: Callable[[Path, Path], None], plan: Plan, tmp_path: Path) -> None:
    stage, victim = staging_of(tmp_path / "out"), tmp_path / "victim"
    stage.mkdir()
    victim.write_text("keep me")
    lay(stage / journal.NAME, victim)
    with pytest.raises(OutputBusy, match="no file that a run of ours left"):
        write(plan, tmp_path / "out")
    assert victim.read_text() == "keep me" and os.path.lexists(stage / journal.NAME) and not (tmp_path / "out").exists()


@pytest.mark.parametrize("lay", [lay for lay in _FOREIGN if lay is not _folder])
def test_a_foreign_note_of_an_owner_is_nobodys(lay: Callable[[Path, Path], None], plan: Plan, tmp_path: Path) -> None:
    stage, victim = staging_of(tmp_path / "out"), tmp_path / "victim"
    stage.mkdir()
    victim.write_text(json.dumps({"pid": 1, "host": "h", "boot": "b", "began": "0", "run": "r"}))
    before = victim.read_text()
    lay(stage / owner.NAME, victim)
    write(plan, tmp_path / "out")
    assert victim.read_text() == before and not stage.exists() and (tmp_path / "out" / "config.json").is_file()


def _line(value: object) -> bytes:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


@pytest.mark.parametrize(
    "odd",
    [
        {"shard": [], "key": {}, "size": "x"}, [], None, 7, {}, {"shard": "model.safetensors"}, b"[" * 100_000, b"\xff",
        {"shard": "model.safetensors", "key": "k", "xxh3_128": "0", "size": -1},
        {"shard": "model.safetensors", "key": "k", "xxh3_128": "0", "begin": 0, "end": 5, "told": 3},
    ],
    ids=repr,
)  # fmt: skip
def test_a_line_that_says_nothing_of_ours_ends_what_is_believed(odd: object, plan: Plan, tmp_path: Path) -> None:
    stage = staging_of(tmp_path / "out")
    stage.mkdir()
    (stage / journal.NAME).write_bytes(_line({"weightsmith_journal": journal.FORMAT}) + _line(odd))
    assert write(plan, tmp_path / "out").resumed == ()
    assert os.listdir(tmp_path) == ["out"]
