"""Writes that report success and store nothing: nobody learns of them from the system, so what was written is read back."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from convert.cli.main import cli
from convert.cli.running import run
from convert.cli.surgery import cli as surgery
from tests.goldens import golden
from tests.validate.repository import good


@pytest.fixture
def losing(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes the storage lose what is in a file of this name as soon as it is said to be on disk."""

    def lose(name: str) -> None:
        sync = os.fsync

        def lost(descriptor: int) -> None:
            sync(descriptor)
            if name in os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")):
                os.truncate(descriptor, 0)

        monkeypatch.setattr(os, "fsync", lost)

    return lose


@pytest.mark.parametrize("name", ["config.json", "LICENSE", "weightsmith.json", "model.safetensors"])
def test_a_lost_file_of_out_is_no_output(
    name: str, losing: Callable[[str], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for file in golden("baichuan-7b").checkpoint.iterdir():
        (source / file.name).write_bytes(file.read_bytes())
    (source / "LICENSE").write_text("Permission is granted.\n")
    losing(name)
    assert run(cli, "weightsmith", ["run", str(source), str(tmp_path / "out"), "--to", "llama", "--verify", "off"]) == 6
    said = capsys.readouterr().err
    assert f"{name}" in said and "read back is not what was written" in said
    assert not (tmp_path / "out").exists()


def test_a_lost_report_is_none(losing: Callable[[str], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    losing(".tmp")
    source, report = str(golden("llama-gqa").checkpoint), str(tmp_path / "lineage.jsonl")
    assert run(cli, "weightsmith", ["run", source, "--to", "qwen2", "--dry-run", "--lineage", report]) == 6
    said = capsys.readouterr().err
    assert "lineage.jsonl" in said and "read back is not what was written" in said and list(tmp_path.iterdir()) == []


def test_a_lost_repair_leaves_the_file_as_it_was(
    losing: Callable[[str], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good().write(tmp_path)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "metadata": {"total_size": 1}}))
    before = index.read_bytes()
    losing("index.json")
    assert run(cli, "weightsmith", ["validate", str(tmp_path), "--fix"]) == 6
    assert "read back is not what was written" in capsys.readouterr().err
    assert index.read_bytes() == before


def test_a_lost_delta_is_none(losing: Callable[[str], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = str(golden("llama-mha").checkpoint)
    losing("delta.json")
    assert run(surgery, "surgery", ["make-delta", base, base, str(tmp_path / "out"), "--lossless"]) == 6
    assert "read back is not what was written" in capsys.readouterr().err and not (tmp_path / "out").exists()
