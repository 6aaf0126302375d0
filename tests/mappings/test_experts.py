"""Families with experts: read, written, dequantised, taken out of wrappers, and never Llama."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from convert.checkpoint import open_checkpoint
from convert.prepare import plan_conversion
from mappings import families
from mappings.config import read_facts, write_config
from surgery.errors import ConversionError
from surgery.legalise import Unexpressible
from tests.goldens import golden
from tests.oracle import native_logits, same_bits, tensors
from tests.published import published
from tests.writing import write

CASES = {
    "deepseek-v2-lite": "deepseek_v2",
    "deepseek-v3": "deepseek_v3",
    "llama4": "llama4",
    "mixtral": "mixtral",
    "qwen2-moe": "qwen2_moe",
}
REASONS = {
    "deepseek-v2-lite": {"attention", "layers.moe", "router.used", "router.scores"},
    "deepseek-v3": {"attention", "layers.moe", "router.used", "router.choice", "mtp"},
    "deepseek-v3-fp8": {"attention", "layers.moe", "router.used", "router.choice", "mtp"},
    "llama4": {"layers.moe", "norm.qk", "window.chunk", "rope.none", "scores.tuning", "router.input"},
    "mixtral": {"layers.moe", "router.used", "router.scores"},
    "qwen2-moe": {"layers.moe", "router.used", "shared.gated"},
}


def converted(source, to, out, **options):
    write(plan_conversion(open_checkpoint(source), to, **options), out)
    return out


def difference(folder, case):
    truth = load_file(case.logits)
    return (native_logits(folder, truth["input_ids"]) - truth["logits"]).abs().max().item()


@pytest.mark.parametrize("name", CASES)
def test_a_golden_checkpoint_is_rewritten_with_the_vendors_logits(name, tmp_path):
    plan = plan_conversion(open_checkpoint(golden(name).checkpoint), CASES[name], mtp="drop")
    assert str(plan.exactness) == "byte"
    write(plan, tmp_path / "out")
    assert difference(tmp_path / "out", golden(name)) <= 1e-4


@pytest.mark.parametrize("name", [name for name in CASES if name != "llama4"])
def test_a_rewritten_checkpoint_has_the_same_tensors(name, tmp_path):
    source = tensors(golden(name).checkpoint)
    out = tensors(converted(golden(name).checkpoint, CASES[name], tmp_path / "out"))
    assert out.keys() == source.keys()
    assert all(same_bits(out[key], source[key]) for key in source)


def test_llama4s_text_model_is_the_wrappers_without_the_prefix(tmp_path):
    source = tensors(golden("llama4").checkpoint)
    out = tensors(converted(golden("llama4").checkpoint, "llama4", tmp_path / "out"))
    text = {key.removeprefix("language_model."): t for key, t in source.items() if key.startswith("language_model.")}
    assert out.keys() == text.keys()
    assert all(same_bits(out[key], text[key]) for key in text)
    again = tensors(converted(tmp_path / "out", "llama4", tmp_path / "again"))
    assert all(same_bits(again[key], text[key]) for key in text)


def test_mixtrals_experts_are_stacked_as_transformers_5_has_them_and_come_back(tmp_path):
    source = tensors(golden("mixtral").checkpoint)
    fused = converted(golden("mixtral").checkpoint, "mixtral-fused", tmp_path / "fused")
    plan = plan_conversion(open_checkpoint(fused), "mixtral")
    assert plan.source == "mixtral-fused"
    done = write(plan, tmp_path / "verified")
    assert done.verdict is not None and done.verdict.passed
    stacked = tensors(fused)
    for layer in range(3):
        experts = [f"model.layers.{layer}.block_sparse_moe.experts.{e}" for e in range(4)]
        both = [torch.cat([source[f"{e}.w1.weight"], source[f"{e}.w3.weight"]]) for e in experts]
        assert same_bits(stacked[f"model.layers.{layer}.mlp.experts.gate_up_proj"], torch.stack(both))
        down = torch.stack([source[f"{e}.w2.weight"] for e in experts])
        assert same_bits(stacked[f"model.layers.{layer}.mlp.experts.down_proj"], down)
    back = tensors(converted(fused, "mixtral", tmp_path / "back"))
    assert back.keys() == source.keys()
    assert all(same_bits(back[key], source[key]) for key in source)


def test_fp8_becomes_the_vendors_bf16_bit_for_bit(tmp_path):
    case = golden("deepseek-v3-fp8")
    with safe_open(case.logits, "pt") as file:
        names = [key for key in file.keys() if key.startswith("dequant_bf16::")]  # noqa: SIM118
        expected = {name.removeprefix("dequant_bf16::"): file.get_tensor(name) for name in names}
    source = tensors(case.checkpoint)
    plan = plan_conversion(open_checkpoint(case.checkpoint), "deepseek_v3")
    assert str(plan.exactness) == "algebraic"
    write(plan, tmp_path / "default")
    asked = converted(case.checkpoint, "deepseek_v3", tmp_path / "asked", dtype="bfloat16")
    for folder in (tmp_path / "default", asked):
        out = tensors(folder)
        assert len(expected) == 4
        assert all(same_bits(out[name], tensor) for name, tensor in expected.items())
        scaled = {name.removesuffix("_scale_inv") for name in source if name.endswith("_scale_inv")}
        assert len(scaled) == 68
        assert all(out[name].dtype == torch.bfloat16 for name in scaled)
        others = source.keys() - scaled - {f"{name}_scale_inv" for name in scaled}
        assert out.keys() == others | scaled
        assert all(same_bits(out[name], source[name]) for name in others)
        assert "quantization_config" not in json.loads((folder / "config.json").read_text())


def test_fp8_as_float32_is_the_product_and_gives_the_vendors_logits(tmp_path):
    case = golden("deepseek-v3-fp8")
    out = converted(case.checkpoint, "deepseek_v3", tmp_path / "out", dtype="float32")
    source, written = tensors(case.checkpoint), tensors(out)
    weight = source["model.layers.0.mlp.down_proj.weight"].to(torch.float32)
    scale = source["model.layers.0.mlp.down_proj.weight_scale_inv"]
    spread = scale.repeat_interleave(128, 0)[:144].repeat_interleave(128, 1)[:, :300]
    assert same_bits(written["model.layers.0.mlp.down_proj.weight"], weight * spread)


def test_fp8_as_bf16_without_mtp_gives_the_vendors_logits(tmp_path):
    case = golden("deepseek-v3-fp8")
    out = converted(case.checkpoint, "deepseek_v3", tmp_path / "out", mtp="drop")
    assert difference(out, case) <= 1e-4


def test_dropping_mtp_removes_its_layer_and_says_so(tmp_path):
    case = golden("deepseek-v3")
    plan = plan_conversion(open_checkpoint(case.checkpoint), "deepseek_v3", mtp="drop")
    assert any("MTP" in step for step in plan.steps)
    write(plan, tmp_path / "out")
    out = tensors(tmp_path / "out")
    assert not any(name.startswith("model.layers.3.") for name in out)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["num_nextn_predict_layers"] == 0
    again = tensors(converted(tmp_path / "out", "deepseek_v3", tmp_path / "again"))
    assert again.keys() == out.keys()


def test_a_missing_scale_is_named(tmp_path):
    source = tensors(golden("deepseek-v3-fp8").checkpoint)
    del source["model.layers.2.mlp.experts.1.up_proj.weight_scale_inv"]
    save_file(source, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((golden("deepseek-v3-fp8").checkpoint / "config.json").read_bytes())
    with pytest.raises(ConversionError, match=r"1 missing.*experts\.1\.up_proj\.weight_scale_inv"):
        plan_conversion(open_checkpoint(tmp_path), "deepseek_v3")


@pytest.mark.parametrize("name", REASONS)
def test_llama_refuses_experts_with_every_reason_at_once(name):
    with pytest.raises(Unexpressible) as refused:
        plan_conversion(open_checkpoint(golden(name).checkpoint), "llama")
    assert {r.fact for r in refused.value.refusals} >= REASONS[name]


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("deepseek-v3", {"num_hidden_layers": 10**12}, "num_hidden_layers"),
        ("deepseek-v3", {"num_hidden_layers": None}, "num_hidden_layers is missing"),
        ("deepseek-v3", {"moe_intermediate_size": None}, "moe_intermediate_size is missing"),
        ("deepseek-v3", {"moe_layer_freq": 0}, "not of the kind"),
        ("deepseek-v3", {"n_routed_experts": 10**11}, "matrices"),
        ("deepseek-v3-fp8", {"quantization_config": {"quant_method": "fp8", "weight_block_size": [64, 64]}}, "128"),
        ("llama4", {"num_local_experts": 10**11}, "matrices"),
        ("llama4", {"no_rope_layers": [1, 0]}, "2 entries for 4 layers"),
        ("mixtral", {"num_hidden_layers": "3"}, "not of the kind"),
    ],
)
def test_a_config_that_lies_is_refused_before_anything_is_built(name, change, told, tmp_path):
    for file in golden(name).checkpoint.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((golden(name).checkpoint / "config.json").read_text())
    inner = config.get("text_config", config)
    inner.update(change)
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConversionError, match=told):
        plan_conversion(open_checkpoint(tmp_path), CASES.get(name, "deepseek_v3"))


@pytest.mark.parametrize("config", published("deepseek_v2", "deepseek_v3"), ids=str)
def test_published_deepseek_configs_say_the_same_after_a_round_trip(config):
    family = next(f for f in families() if f.name == config.family)
    facts = read_facts(family, config.config)
    again = write_config(family, facts)
    kept = {key: value for key, value in config.config.items() if key in again and not key.startswith("rope_")}
    assert kept.keys() >= {"n_routed_experts", "first_k_dense_replace", "q_lora_rank", "n_shared_experts"}
    assert {key: again[key] for key in kept} == kept
    layers, first = config.config["num_hidden_layers"], config.config["first_k_dense_replace"]
    predicted = config.config.get("num_nextn_predict_layers", 0)
    assert facts["layers.moe"] == tuple(range(first, layers + predicted))
