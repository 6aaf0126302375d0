"""`convert verify` by hand: what it takes an output to promise, and what it says of options that make no sense."""

import json

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from convert.cli.main import cli
from convert.cli.running import run
from convert.cli.surgery import cli as surgery
from surgery.errors import UsageError, VerificationFailed
from tests.goldens import golden


def verify(*words: object) -> str:
    done = CliRunner().invoke(cli, ["verify", *map(str, words)])
    return f"{'passed' if done.exit_code == 0 else 'failed'}: {done.output}"


def test_a_cast_is_held_to_what_its_manifest_promises_and_has_no_plan(tmp_path):
    base = golden("llama-gqa").checkpoint
    assert run(surgery, "surgery", ["cast", str(base), str(tmp_path / "out"), "--dtype", "bfloat16"]) == 0
    told = verify(base, tmp_path / "out")
    assert told.startswith("passed: verified") and "approximate" in told and "lineage" not in told
    assert verify(base, tmp_path / "out", "--exactness", "byte").startswith("failed")


def test_fewer_heads_that_repeated_each_other_are_no_difference(tmp_path):
    base = golden("llama-gqa").checkpoint
    assert run(surgery, "surgery", ["repeat-kv", str(base), str(tmp_path / "more")]) == 0
    told = verify(tmp_path / "more", base)
    assert told.startswith("passed") and "heads that repeat others can go" in told


def test_a_nan_is_said_to_be_one_and_json_stays_json(tmp_path):
    base = golden("llama-gqa").checkpoint
    assert run(cli, "convert", ["run", str(base), str(tmp_path / "out"), "--to", "llama"]) == 0
    file = tmp_path / "out" / "model.safetensors"
    weights = load_file(file)
    weights["model.norm.weight"][0] = torch.nan
    save_file(weights, file, {"format": "pt"})
    assert "where one side computes no numbers (NaN)" in verify(base, tmp_path / "out")
    done = CliRunner().invoke(cli, ["verify", str(base), str(tmp_path / "out"), "--json"])

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    assert json.loads(done.stdout, parse_constant=refuse)["passed"] is False


def test_a_tensor_of_another_shape_is_a_failure_that_names_its_layer(tmp_path):
    base = golden("llama-gqa").checkpoint
    assert run(cli, "convert", ["run", str(base), str(tmp_path / "out"), "--to", "llama"]) == 0
    file = tmp_path / "out" / "model.safetensors"
    weights = load_file(file)
    weights["model.layers.1.mlp.down_proj.weight"] = weights["model.layers.1.mlp.down_proj.weight"][:, :50].contiguous()
    save_file(weights, file, {"format": "pt"})
    done = CliRunner().invoke(cli, ["verify", str(base), str(tmp_path / "out")])
    assert isinstance(done.exception, VerificationFailed) and "layer 1 mlp cannot be computed" in str(done.exception)


@pytest.mark.parametrize(("words", "why"), [
    (("--report", "nowhere/at/all.html"), "there is no directory"),
    (("--device", "toaster"), "--device"),
])  # fmt: skip
def test_what_cannot_be_is_refused_before_anything_runs(words, why, monkeypatch):
    monkeypatch.setattr("convert.verification.child.run_child", lambda *a, **k: pytest.fail("it ran"))
    base = golden("llama-gqa").checkpoint
    done = CliRunner().invoke(cli, ["verify", str(base), str(base), *words])
    refused = done.exception if isinstance(done.exception, UsageError) else None
    assert (done.exit_code == 2 or refused is not None) and why in f"{done.output}{refused}"
