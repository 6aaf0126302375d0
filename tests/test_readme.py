"""The README's Python runs as it stands, and it names every command; tests/test_docs.py runs its commands."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from convert.cli.main import COMMANDS
from tests.goldens import golden

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A directory in which what the example names lies."""
    shutil.copytree(golden("baichuan2-7b").checkpoint, tmp_path / "Baichuan2-7B-Base")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_python_example_runs(folder):
    (example,) = (block for block in blocks("python") if "import convert" in block)
    names: dict[str, object] = {}
    exec(compile(example, "README.md", "exec"), names)
    assert names["verdict"].passed  # type: ignore[attr-defined]
    assert (folder / "out" / "model.safetensors").exists()


def test_every_command_is_in_the_readme_or_says_why_it_exists():
    mentioned = set(re.findall(r"(?:convert|weightsmith) ([a-z-]+)", README))
    assert set(COMMANDS) <= mentioned | {"run"}
