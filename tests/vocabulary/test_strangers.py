"""A tokenizer that works without end, put to every command that reads one: a paragraph and a status, soon."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from convert.cli.main import cli as convert_cli
from convert.cli.running import run as status_of
from convert.cli.surgery import cli as surgery_cli
from surgery.limits import MEMORY, SECONDS
from tests.tokenizer.strangers import doubling
from tests.vocabulary.test_extend import byte_level_model, small_json

#: the command, its words (the folder with the bomb is "bomb"), and its status
COMMANDS: dict[str, tuple[Any, tuple[str, ...], int]] = {
    "validate": (convert_cli, ("validate", "bomb"), 5),
    "inspect": (convert_cli, ("inspect", "bomb"), 0),  # which says what it could not find out
    "run": (convert_cli, ("run", "bomb", "out", "--to", "yi", "--verify", "off"), 3),
    "chat-check": (convert_cli, ("chat-check", "good", "bomb"), 3),
    "verify": (convert_cli, ("verify", "good", "bomb"), 3),
    "extend-vocab": (surgery_cli, ("extend-vocab", "bomb", "out", "--add", "words.txt"), 3),
    "trim-vocab": (surgery_cli, ("trim-vocab", "bomb", "out", "--corpus", "words.txt"), 3),
    "pad-vocab": (surgery_cli, ("pad-vocab", "bomb", "out", "--rows", "800"), 3),
    "unpad-vocab": (surgery_cli, ("unpad-vocab", "bomb", "out"), 3),
    "transplant-tokenizer": (surgery_cli, ("transplant-tokenizer", "good", "out", "--donor", "bomb"), 3),
}


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(SECONDS, "1")
    monkeypatch.setenv(MEMORY, "300e6")
    template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}<|end|>{% endfor %}"
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|end|>", "chat_template": template}
    for name, value in {"good": small_json(), "bomb": doubling(small_json())}.items():
        files = {"tokenizer.json": json.dumps(value).encode(), "tokenizer_config.json": json.dumps(config).encode()}
        byte_level_model(tmp_path / name, tied=False, files=files)
    (tmp_path / "words.txt").write_text("the lighthouse\n灯塔\n", encoding="utf-8")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_tokenizer_that_works_without_end_ends_every_command_soon(
    folders: Path, command: str, capfd: pytest.CaptureFixture[str]
) -> None:
    group, words, status = COMMANDS[command]
    assert status_of(group, "weightsmith", list(words)) == status
    printed = "".join(capfd.readouterr())
    assert "tokenizer.json" in printed
    assert "1 seconds of computing or 300 MB" in printed
    assert "Traceback" not in printed and "bug in weightsmith" not in printed
    assert not (folders / "out").exists()


@pytest.mark.slow
def test_options_say_the_limits_of_one_command(folders: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert status_of(convert_cli, "weightsmith", ["validate", "good", "--file-seconds", "9.5", "--file-memory", "1KB"]) == 5
    assert "more than 9.5 seconds of computing or 0 MB of memory" in capfd.readouterr().out
    assert (os.environ[SECONDS], os.environ[MEMORY]) == ("1", "300e6")
    assert status_of(convert_cli, "weightsmith", ["validate", "good"]) == 0
