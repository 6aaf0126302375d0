"""The commands as they are typed: what they print, write and exit with."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.shared import needs_shared
from tests.validate.changes import config, generation
from tests.validate.damage import STORIES, small_baichuan
from tests.validate.fixtures import FIXTURES
from tests.validate.repository import changed, good

PROGRAM = "import sys; sys.argv[0] = 'weightsmith'; from convert.cli import main; main()"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    return changed([config(eos_token_id=9999)]).write(tmp_path / "bad")


def test_a_good_repository_exits_with_0(tmp_path: Path) -> None:
    done = run(
        "validate",
        good().write(tmp_path / "good"),
        "--strict",
        "--deep",
        "--for",
        "transformers,transformers-4,vllm,llama.cpp,mlx",
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1] == "ready to publish (strict): no findings"


def test_errors_exit_with_5(bad: Path) -> None:
    done = run("validate", bad)
    assert done.returncode == 5
    assert "special-ids" in done.stdout and done.stderr.startswith("error: ")


def test_warnings_exit_with_5_only_when_strict(tmp_path: Path) -> None:
    path = changed(FIXTURES["card-missing"][0]).write(tmp_path / "bad")
    assert (run("validate", path).returncode, run("validate", path, "--strict").returncode) == (0, 5)


def test_json_is_one_document_on_stdout(bad: Path) -> None:
    told = json.loads(run("validate", bad, "--json", "--strict").stdout)
    assert (told["passed"], told["strict"], told["family"]) == (False, True, "llama")
    assert {finding["rule"] for finding in told["findings"]} >= {"special-ids"}


def test_an_ignored_rule_needs_a_reason(bad: Path) -> None:
    assert run("validate", bad, "--ignore", "special-ids").returncode == 2
    done = run("validate", bad, "--only", "config", "--ignore", "special-ids=ids of a test", "--strict")
    assert done.returncode == 0 and "ids of a test" in done.stdout


def test_reports_are_written_where_asked(bad: Path, tmp_path: Path) -> None:
    run("validate", bad, "--sarif", tmp_path / "log.sarif", "--html", tmp_path / "page.html")
    assert json.loads((tmp_path / "log.sarif").read_text())["version"] == "2.1.0"
    assert "special-ids" in (tmp_path / "page.html").read_text()


def test_fix_shows_the_changes_and_then_writes_them(tmp_path: Path) -> None:
    path = changed([generation(do_sample=False)]).write(tmp_path / "bad")
    before = (path / "generation_config.json").read_bytes()
    shown = run("validate", path, "--strict", "--fix", "--dry-run")
    assert shown.returncode == 5 and '-  "temperature": 0.7' in shown.stderr
    assert (path / "generation_config.json").read_bytes() == before
    done = run("validate", path, "--strict", "--fix")
    assert done.returncode == 0 and done.stderr == shown.stderr.partition("error: ")[0]
    assert "temperature" not in (path / "generation_config.json").read_text()


def test_a_directory_without_anything_is_told_about(tmp_path: Path) -> None:
    done = run("validate", tmp_path)
    assert done.returncode == 5 and "no-weights" in done.stdout


def test_what_is_no_directory_is_a_usage_error(tmp_path: Path) -> None:
    assert run("validate", tmp_path / "nowhere").returncode == 2
    assert run("validate", tmp_path, "--sha256").returncode == 2
    assert run("validate", tmp_path, "--for", "olama").returncode == 2


def card_validates(source: Path, out: Path) -> None:
    assert run("baichuan-to-llama", source, out, "--verify", "off").returncode == 0
    (out / "LICENSE").write_text("Baichuan Community License\n")
    options = [
        "--license",
        "other",
        "--license-name",
        "baichuan",
        "--license-link",
        "LICENSE",
        "--base-model",
        "baichuan-inc/Baichuan2-7B-Base",
    ]
    done = run("card", source, out, *options, "--language", "en")
    assert done.returncode == 0, done.stderr
    block = yaml.safe_load((out / "README.md").read_text().split("---\n")[1])
    assert (
        block["license_name"] == "baichuan" and block["library_name"] == "transformers" and block["language"] == ["en"]
    )
    checked = run("validate", out, "--strict", "--deep")
    assert checked.returncode == 0, checked.stdout


def test_card_writes_a_card_that_validates(tmp_path: Path) -> None:
    card_validates(small_baichuan(tmp_path / "small"), tmp_path / "out")


@needs_shared
def test_card_of_a_real_model_validates(tmp_path: Path) -> None:
    card_validates(STORIES, tmp_path / "out")
