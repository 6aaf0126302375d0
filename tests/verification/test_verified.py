"""What the check behind a conversion says, keeps and refuses; and `verify` as its users meet it."""

import json
from dataclasses import replace

import pytest
from safetensors.torch import load_file, save_file

from convert.checkpoint import open_checkpoint
from convert.claims import remade_plan
from convert.prepare import plan_conversion
from convert.saved import load_plan
from convert.verification import run
from convert.verification.movement import prove
from convert.verification.run import verify
from convert.verified import Checked, verifier
from convert.writing import write
from surgery.errors import ConversionError, VerificationFailed
from tests.convert.test_cli import weightsmith
from tests.goldens import golden


def checked(name: str, monkeypatch: pytest.MonkeyPatch, *, small: bool) -> Checked:
    checkpoint = open_checkpoint(golden(name).checkpoint)
    monkeypatch.setattr(run, "_SMALL", (1 << 40) if small else 0)
    plan = plan_conversion(checkpoint, "llama")
    return Checked(verify(checkpoint, checkpoint, mode="quick", exactness="byte"), prove(plan))


def test_a_quick_check_says_layers_and_lineage_and_not_logits(monkeypatch):
    told = checked("llama-gqa", monkeypatch, small=False)
    assert told.passed and told.verdict.mode == "quick"
    assert "3 of 3 layers (0, 1, 2) from random hidden states" in told.sentence
    assert "lineage of all 30 tensors proved" in told.sentence
    assert "logits" not in told.sentence and "head rows differ" in told.sentence


def test_a_full_check_says_logits(monkeypatch):
    told = checked("llama-gqa", monkeypatch, small=True)
    assert "all 3 layers" in told.sentence and "logits differ by" in told.sentence


def test_the_manifest_keeps_what_was_proved_and_no_number_that_was_measured(monkeypatch):
    record = checked("llama-gqa", monkeypatch, small=True).record()
    assert record["lineage"] == "all 30 tensors, against the formulas of llama and llama"
    assert record["verdict"] == "passed" and record["findings"] == []
    assert json.dumps(record).count("e-") == json.dumps(record["tolerance"]).count("e-")


def test_a_wrong_lineage_fails_a_check_that_the_function_passes(monkeypatch):
    told = checked("llama-gqa", monkeypatch, small=True)
    assert told.lineage is not None
    wrong = replace(told, lineage=replace(told.lineage, faults=("x comes from y, not from z",)))
    assert not wrong.passed and wrong.record()["verdict"] == "failed"
    assert "lineage is WRONG: x comes from y" in wrong.sentence


def test_a_conversion_whose_plan_moves_the_wrong_tensor_is_kept_aside(tmp_path):
    plan = plan_conversion(open_checkpoint(golden("llama-mha").checkpoint), "yi")
    (file,) = plan.files
    by = {output.name: output for output in file.outputs}
    k = by["model.layers.1.self_attn.k_proj.weight"]
    outputs = tuple(replace(o, boxes=k.boxes) if o.name.endswith("1.self_attn.q_proj.weight") else o for o in file.outputs)
    wrong = replace(plan, files=(replace(file, outputs=outputs),))
    with pytest.raises(VerificationFailed, match=r"layer 1 attention(.|\n)*lineage is WRONG"):
        write(wrong, tmp_path / "out", verify=verifier(wrong, "quick"))
    assert (tmp_path / "out.failed").is_dir() and not (tmp_path / "out").exists()


def test_a_saved_plan_is_proved_without_its_output(tmp_path):
    source, saved = golden("internlm2-7b").checkpoint, tmp_path / "plan.json"
    assert weightsmith("run", source, "--to", "llama", "--dry-run", "--plan-out", saved).returncode == 0
    assert prove(load_plan(saved).plan).passed  # type: ignore[union-attr]
    told = weightsmith("verify", "--plan", saved, "--json")
    assert told.returncode == 0 and json.loads(told.stdout)["lineage"]["tensors"] == 30
    (tmp_path / "not.json").write_text("[]")
    with pytest.raises(ConversionError, match="is not a plan saved"):
        load_plan(tmp_path / "not.json")


def test_an_output_says_by_which_plan_it_was_made_and_another_does_not(tmp_path):
    source = open_checkpoint(golden("baichuan2-7b").checkpoint)
    plan = plan_conversion(source, "llama")
    write(plan, tmp_path / "out")
    remade = remade_plan(source, open_checkpoint(tmp_path / "out"))
    assert remade is not None and remade.digest == plan.digest
    assert remade_plan(open_checkpoint(golden("llama-gqa").checkpoint), open_checkpoint(tmp_path / "out")) is None
    assert remade_plan(source, source) is None


def test_verify_prints_one_json_document_with_findings_and_lineage_and_writes_the_page(tmp_path):
    source, out = golden("baichuan2-7b").checkpoint, tmp_path / "out"
    assert weightsmith("run", source, out, "--to", "llama", "--verify", "off").returncode == 0
    told = weightsmith("verify", source, out, "--json", "--report", tmp_path / "page.html")
    value = json.loads(told.stdout)
    assert value["passed"] and value["lineage"]["passed"]
    assert [finding["status"] for finding in value["findings"]] == ["explained"]
    assert "<svg" in (tmp_path / "page.html").read_text()


def test_a_constant_that_logits_do_not_show_ends_with_status_5(tmp_path):
    source, out = golden("llama-gqa").checkpoint, tmp_path / "out"
    assert weightsmith("run", source, out, "--to", "yi", "--verify", "off", "--dtype", "bfloat16").returncode == 0
    config = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 1.1e-5}))
    told = weightsmith("verify", source, out, "--exactness", "approximate")
    assert told.returncode == 5
    assert "config: eps" in told.stderr and "'1e-05'" not in told.stderr


def test_a_usage_that_cannot_be_meant_is_refused(tmp_path):
    assert weightsmith("verify").returncode == 2
    told = weightsmith("verify", golden("llama-gqa").checkpoint, golden("llama-gqa").checkpoint, "--device", "cuda")
    assert told.returncode in (0, 3) and "Traceback" not in told.stderr


def test_one_value_off_by_a_step_is_seen_in_an_output_that_promises_bytes(tmp_path):
    source = golden("llama-mha").checkpoint
    assert weightsmith("run", source, tmp_path / "out", "--to", "yi", "--verify", "off").returncode == 0
    file = tmp_path / "out" / "model.safetensors"
    tensors = load_file(file)
    tensors["model.layers.2.mlp.up_proj.weight"][3, 3] *= 1 + 2.0**-7
    save_file(tensors, file, metadata={"format": "pt"})
    told = weightsmith("verify", source, tmp_path / "out")
    assert told.returncode == 5 and "layer 2 mlp" in told.stdout
