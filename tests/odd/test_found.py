"""Bad files and bad days that once ended as "a bug in weightsmith", each by its status and its words."""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from convert.checkpoint import open_checkpoint
from convert.cli.main import cli
from convert.cli.running import run
from convert.cli.surgery import cli as surgery
from convert.given import content, place
from convert.manifest import told
from convert.prepare import plan_conversion
from convert.verification.page import _shown
from surgery.errors import ConversionError, LimitExceeded, UsageError
from tests.goldens import golden

BASE = golden("llama-gqa").checkpoint
ROOT = Path(__file__).resolve().parents[2]
PROGRAM = [sys.executable, "-c", "from convert.cli.main import main; main()"]


def started(arguments: list[str], *, before: str = "", after: str = "", cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """A command in a shell of its own, with what the shell does to its streams or folder."""
    words = " ".join(f"'{word}'" for word in [*PROGRAM, *arguments])
    return subprocess.run(
        ["sh", "-c", f"{before} {words} {after}"], capture_output=True, text=True, cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def copied(folder: Path, **config: object) -> Path:
    """The base with other values in its config."""
    folder.mkdir()
    for file in BASE.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    told = json.loads((BASE / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**told, **config}), encoding="utf-8")
    return folder


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_the_caller_closed_costs_no_output(closed: str, tmp_path: Path) -> None:
    done = started(["run", str(BASE), str(tmp_path / "out"), "--to", "yi", "--verify", "off"], after=closed)
    assert done.returncode == 0
    assert len(open_checkpoint(tmp_path / "out").tensors) == len(open_checkpoint(BASE).tensors)


@pytest.mark.parametrize("out", ["{away}/out", "out"])
def test_a_working_directory_that_was_deleted_is_told(out: str, tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    arguments = ["run", str(BASE), out.format(away=tmp_path), "--to", "yi"]
    done = started(arguments, before="rmdir ../here;", cwd=here)
    assert done.returncode == 6 and "the working directory does not exist any more" in done.stderr


@pytest.mark.parametrize("arguments", [["inspect", "~nosuchuser/x"], ["run", "~nosuchuser/x", "out", "--to", "llama"]])
def test_the_home_of_nobody_is_a_word_of_the_user(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(cli, "weightsmith", arguments) == 2
    assert "a user whom this machine does not know" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["a\0b", "x" * 5000, "~nosuchuser"])
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        place(text)


@pytest.mark.parametrize("arguments", [
    ["weightsmith", "run", "--plan", "/dev/zero", "out"], ["weightsmith", "verify", "--plan", "/dev/zero"],
    ["surgery", "run", "/dev/zero"], ["surgery", "trim-vocab", str(BASE), "--dry-run", "--corpus", "/dev/zero"],
    ["surgery", "merge-tokenizer", "/dev/zero", "out", "--append", "x"],
    ["surgery", "train-pieces", "/dev/zero", "out", "--size", "50"],
    ["surgery", "extend-vocab", str(BASE), "--dry-run", "--add", "/dev/zero"],
])  # fmt: skip
def test_a_device_is_no_file_that_a_command_reads(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    program, *rest = arguments
    status = run({"weightsmith": cli, "surgery": surgery}[program], program, rest)
    said = capsys.readouterr().err
    # this base has no tokenizer, which trim-vocab says first
    assert status in (2, 3) and ("is no regular file" in said or "no tokenizer" in said)


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with open(tmp_path / "plan.json", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(LimitExceeded, match="more than the 100 that a plan may have"):
        content(tmp_path / "plan.json", 100, "a plan")


def test_a_line_without_end_is_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from convert.edits import tokens

    monkeypatch.setattr(tokens, "_LONGEST", 100)
    (tmp_path / "corpus.txt").write_text("short\n" + "x" * 200)
    with pytest.raises(LimitExceeded, match="has a line of over 100 characters"):
        list(tokens.read_lines([tmp_path / "corpus.txt"]))


@pytest.mark.parametrize(("dtype", "shape", "nbytes", "what"), [
    ("F4", [4, 4], 8, "4-bit floating point"), ("F6_E2M3", [4, 4], 12, "6-bit floating point"),
    ("F6_E3M2", [4, 4], 12, "6-bit floating point"), ("F8_E4M3FNUZ", [4, 4], 16, "8-bit floating point of AMD's kind"),
])  # fmt: skip
def test_a_narrow_type_of_the_format_is_named_for_what_it_is(
    dtype: str, shape: list[int], nbytes: int, what: str, tmp_path: Path
) -> None:
    header = json.dumps({"w": {"dtype": dtype, "shape": shape, "data_offsets": [0, nbytes]}}).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(nbytes))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConversionError, match=what) as refused:
        open_checkpoint(tmp_path)
    assert "hostile" not in str(refused.value) and dtype in str(refused.value)


@pytest.mark.parametrize("kind", ["linear", "dynamic", "yarn"])
def test_a_rope_by_type_of_layer_is_never_written_without_its_scaling(kind: str, tmp_path: Path) -> None:
    by_layer = {"full_attention": {"rope_type": kind, "factor": 4.0, "rope_theta": 10000.0}}
    source = copied(tmp_path / "source", rope_parameters=by_layer)
    with pytest.raises(ConversionError, match="has a rope of its own for full_attention"):
        plan_conversion(open_checkpoint(source), "llama")


def test_what_a_config_says_at_length_is_cut_in_messages(tmp_path: Path) -> None:
    source = copied(tmp_path / "source", rope_scaling="x" * 70_000, hidden_act="y" * 70_000)
    with pytest.raises(ConversionError) as refused:
        plan_conversion(open_checkpoint(source), "llama")
    assert len(str(refused.value)) < 1000


def test_a_manifest_says_nothing_under_a_key_of_another_kind() -> None:
    assert told({"tool": "weightsmith", "left": [1], "steps": [[]], "exactness": [[]], "target": "yi", "more": 1}) == {
        "tool": "weightsmith", "target": "yi",
    }  # fmt: skip


def test_pages_show_a_name_that_is_not_to_be_seen(tmp_path: Path) -> None:
    source = copied(tmp_path / "source")
    (source / "model\x1b[31m\n\u202e.bin").write_bytes(b"x")
    assert run(cli, "weightsmith", ["validate", str(source), "--html", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "\x1b" not in page and "\u202e" not in page and r"model\x1b[31m\n\u202e.bin" in page
    assert _shown("a\x1bb") == r"a\x1bb" and _shown(1.5) == 1.5


@pytest.mark.parametrize("weight", ["nan", "inf", "1e300"])
def test_a_weight_that_no_number_can_be_multiplied_by_is_refused(weight: str, tmp_path: Path) -> None:
    adapter = golden("lora-qv-only").checkpoint / "adapter"
    base = adapter.parent / "base"
    assert run(surgery, "surgery", ["merge-lora", str(base), "out", "--adapter", str(adapter), "--weight", weight]) == 2
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f'source = "{base}"\n[[edit]]\ndo = "merge-lora"\nadapter = "{adapter}"\nweight = {weight}\n')
    assert run(surgery, "surgery", ["run", str(recipe), str(tmp_path / "out")]) == 2


def test_a_writer_to_a_reader_that_left_is_no_error() -> None:
    done = started(["inspect", str(BASE)], after="| head -c 1")
    assert done.returncode == 0 and done.stderr == ""
