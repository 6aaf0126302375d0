"""Verification in a process of its own: same verdicts, no torch in the parent, a death is no verdict."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import convert.children as children
from convert.checkpoint import open_checkpoint
from convert.verification.child import run_child
from convert.verification.run import verify
from surgery.errors import ConversionError, LimitExceeded
from tests.goldens import golden

ROOT = Path(__file__).resolve().parents[2]
SAME = golden("llama-mha").checkpoint
OTHER = golden("baichuan-7b").checkpoint


def test_the_childs_verdict_is_the_one_reached_here():
    checkpoint = open_checkpoint(SAME)
    assert run_child(SAME, SAME, exactness="byte", threads=1) == verify(checkpoint, checkpoint, exactness="byte")


def test_another_function_is_a_verdict_and_no_error():
    verdict = run_child(SAME, OTHER, exactness="algebraic", threads=1)
    assert not verdict.passed and verdict.first_divergence == "embedding"


def test_the_parent_never_imports_torch():
    program = (
        "import sys; from convert.verification.child import run_child; "
        f"assert run_child({str(SAME)!r}, {str(SAME)!r}, exactness='byte').passed; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_nothing_in_the_working_directory_is_imported(tmp_path, monkeypatch):
    for name in ("convert", "torch", "json"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('imported from the working directory')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert run_child(SAME, SAME, exactness="byte").passed


def test_what_cannot_be_computed_is_bad_input_with_its_reason(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "mamba"}')
    (tmp_path / "model.safetensors").write_bytes((SAME / "..").resolve().joinpath("golden.safetensors").read_bytes())
    with pytest.raises(ConversionError, match=r"model_type 'mamba', architectures None\) fits none") as refused:
        run_child(SAME, tmp_path, exactness="byte")
    assert refused.value.status == 3


def test_a_child_that_dies_is_no_failed_verification(monkeypatch):
    monkeypatch.setattr(children, "_PROGRAM", "raise RuntimeError('out of ink')  # {root!r}")
    with pytest.raises(children.Crashed, match=r"that verifies ended with status 1: .*RuntimeError: out of ink"):
        run_child(SAME, SAME, exactness="byte")
    monkeypatch.setattr(children, "_PROGRAM", "import os; os.kill(os.getpid(), 9)  # {root!r}")
    with pytest.raises(LimitExceeded, match=r"that verifies was ended for want of memory \(signal 9\)"):
        run_child(SAME, SAME, exactness="byte")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit reads /proc")
def test_a_memory_limit_holds():
    with pytest.raises(LimitExceeded, match="memory"):
        run_child(SAME, SAME, exactness="byte", memory=4096)
    assert run_child(SAME, SAME, exactness="byte", memory=1 << 30, threads=1).passed


def test_the_child_reaches_no_host():
    program = (
        "from surgery.apart.confined import forbid_network; import socket; forbid_network(); "
        "socket.create_connection(('127.0.0.1', 9))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env={**os.environ}, capture_output=True, text=True, check=False
    )
    assert "PermissionError: the verifier has no network" in done.stderr
