"""transformers as a third witness, by default for every golden case that converts to something it has a class for."""

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from convert.checkpoint import open_checkpoint
from convert.planning import weakest
from convert.prepare import plan_conversion
from convert.verification.run import verify
from convert.verification.verdict import Verdict
from convert.wish import variant_of
from surgery.errors import ConversionError
from tests.goldens import Golden, golden, goldens
from tests.verification.decoding import BAICHUAN
from tests.writing import write

pytest.importorskip("transformers")

CASES = [case for case in goldens() if not case.name.startswith(("lora-", "delta-"))]
#: in this order: what most people load first
PREFERRED = ("llama", "qwen2", "glm", "mistral", "phi3")
#: these become nothing that has one, or that it would compute as it is stored
WITHOUT_CLASS = {"baichuan-13b", "baichuan2-13b", "chatglm1-6b", "nanogpt", "deepseek-v3-fp8"}


def witnessed(case: Golden, out: Path) -> Verdict | None:
    """The verdict on the first target with a native class; None where a case becomes none."""
    source = open_checkpoint(case.checkpoint)
    variant = case.provenance.get("variant")
    name = BAICHUAN[variant["family"]] if variant else None
    own = str(source.config.get("model_type", ""))
    for target in (*PREFERRED, own):
        try:
            plan = plan_conversion(source, target, variant=name)
        except ConversionError:
            continue
        write(plan, out, verify="off")  # the tests verify, with the third witness
        exactness: Any = str(weakest(plan.files))
        return verify(
            source,
            open_checkpoint(out),
            exactness=exactness,
            variant=name,
            output_variant=variant_of(plan.target),
            with_transformers=True,
        )
    return None


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
def test_transformers_computes_from_the_output_what_the_decoder_computes_from_the_source(case: Golden, tmp_path):
    verdict = witnessed(case, tmp_path / "out")
    if verdict is None or case.name in WITHOUT_CLASS:
        assert case.name in WITHOUT_CLASS
        return
    runs = [run for run in verdict.stock if run.side == "output"]
    assert verdict.passed, (verdict.sentence, [run.line for run in verdict.stock], verdict.findings)
    assert runs and all(run.logits is not None for run in runs), [run.line for run in verdict.stock]


def test_both_sides_run_by_their_own_class_where_they_have_one(tmp_path):
    verdict = witnessed(golden("llama-gqa"), tmp_path / "out")
    assert verdict is not None and verdict.passed and len(verdict.stock) == 3
    assert all(run.runner.startswith("LlamaForCausalLM of transformers") for run in verdict.stock)


def test_an_output_that_the_class_computes_otherwise_fails_though_our_decoder_is_content(tmp_path, monkeypatch):
    """The decoder of the output is made as wrong as the output: only the third witness sees it."""
    from convert.verification.decoders import llama

    source = open_checkpoint(golden("yi-6b").checkpoint)
    write(plan_conversion(source, "llama"), tmp_path / "out", verify="off")
    file = tmp_path / "out" / "model.safetensors"
    tensors = load_file(file)
    for layer in range(3):
        at = f"model.layers.{layer}.mlp."
        tensors[f"{at}gate_proj.weight"], tensors[f"{at}up_proj.weight"] = (
            tensors[f"{at}up_proj.weight"],
            tensors[f"{at}gate_proj.weight"],
        )
    save_file(tensors, file, metadata={"format": "pt"})
    feed = llama.Llama.gated
    monkeypatch.setattr(llama.Llama, "gated", lambda self, h, gate, up, down: feed(self, h, up, gate, down), raising=False)
    verdict = verify(source, open_checkpoint(tmp_path / "out"), exactness="byte", with_transformers=True)
    assert all(stage.passed for stage in verdict.stages) and verdict.logits.passed
    assert not verdict.passed and verdict.first_divergence == "transformers (output)"


def test_a_tensor_that_the_class_would_make_up_is_a_fault(tmp_path):
    source = open_checkpoint(golden("llama-gqa").checkpoint)
    write(plan_conversion(source, "llama"), tmp_path / "out", verify="off")
    file = tmp_path / "out" / "model.safetensors"
    tensors = load_file(file) | {"model.layers.0.self_attn.r_proj.bias": load_file(file)["model.norm.weight"]}
    save_file(tensors, file, metadata={"format": "pt"})
    verdict = verify(source, open_checkpoint(tmp_path / "out"), exactness="byte", with_transformers=True)
    assert not verdict.passed and "unexpected keys" in " ".join(run.because for run in verdict.stock)


@pytest.mark.parametrize(("limits", "reason"), [
    ({"witness_seconds": 0.01}, "did not end within 0.01 seconds"),
    ({"witness_memory": 1 << 20}, "its process ended with"),
])  # fmt: skip
def test_a_witness_that_exceeds_its_limits_says_so_and_is_no_pass(limits: dict[str, Any], reason: str):
    checkpoint = open_checkpoint(golden("llama-gqa").checkpoint)
    verdict = verify(checkpoint, checkpoint, exactness="byte", with_transformers=True, **limits)
    assert not verdict.passed and verdict.first_divergence == "transformers (output)"
    assert reason in " ".join(run.line for run in verdict.stock)
