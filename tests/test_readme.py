"""What the README shows is run as it stands, on checkpoints that are here."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from convert.cli.main import COMMANDS, cli
from convert.cli.running import run
from tests.goldens import golden

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()
STAND_INS = {
    "Baichuan2-7B-Base": "baichuan2-7b",
    "Yi-6B": "yi-6b",
    "Qwen-7B": "qwen-7b",
    "SRC": "internlm2-7b",
    "A": "llama-gqa",
    "B": "llama-tied",
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A directory in which the README's names lie."""
    for name, case in STAND_INS.items():
        shutil.copytree(golden(case).checkpoint, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_python_example_runs(folder):
    (example,) = (block for block in blocks("python") if "import convert" in block)
    names: dict[str, object] = {}
    exec(compile(example, "README.md", "exec"), names)
    assert names["verdict"].passed  # type: ignore[attr-defined]
    assert (folder / "out" / "model.safetensors").exists()


COMMAND_LINES = [
    line.partition("#")[0].strip()
    for block in blocks("sh")
    for line in block.splitlines()
    if line.startswith("convert ")
]


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_a_command_of_the_readme_runs(line, folder, capsys):
    words = shlex.split(line)[1:]
    if words[0] == "verify":
        assert run(cli, "convert", ["baichuan-to-llama", words[1], words[2], "--verify", "off"]) == 0
    words = ["OUT" if word == "out" and words[0] != "verify" else word for word in words]
    status = run(cli, "convert", words)
    assert status == 0, capsys.readouterr().err


def test_every_command_is_in_the_readme_or_says_why_it_exists():
    mentioned = set(re.findall(r"(?:convert|weightsmith) ([a-z-]+)", README))
    assert set(COMMANDS) <= mentioned | {"run"}
