"""Phi-3: fused tensors, longrope on both sides of its switch, a window."""

from __future__ import annotations

import json
from math import log, sqrt

import pytest
import torch

from surgery.legalise import Unexpressible
from tests.goldens import golden
from tests.mappings.pairs import config_of, converted, logits_apart, randomised, same_tensors, saved, tokens
from tests.oracle import native_logits, same_bits, tensors, transformers

SIZES = {
    "vocab_size": 131, "hidden_size": 32, "intermediate_size": 44, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "pad_token_id": 0,
}  # fmt: skip
LONGROPE = {
    "rope_type": "longrope",
    "short_factor": [1.0, 1.1, 1.3, 1.7],
    "long_factor": [1.0, 1.9, 4.0, 9.0],
    "rope_theta": 10000.0,
}
LENGTHS = {"max_position_embeddings": 64, "original_max_position_embeddings": 16}


@pytest.mark.parametrize("target", ["llama", "qwen2"])
def test_phi3_up_to_its_window_keeps_the_vendors_logits_and_comes_back(target, tmp_path):
    source = golden("phi3").checkpoint
    converted(source, target, tmp_path / "there", mends=["limit-context"])
    assert logits_apart("phi3", tmp_path / "there") <= 1e-4
    converted(tmp_path / "there", "phi3", tmp_path / "back")
    assert same_tensors(tmp_path / "back", source)


def test_its_window_is_refused_by_llama_and_kept_by_mistral(tmp_path):
    with pytest.raises(Unexpressible, match=r"window +2047"):
        converted(golden("phi3").checkpoint, "llama", tmp_path / "llama")
    converted(golden("phi3").checkpoint, "mistral", tmp_path / "mistral")
    assert config_of(tmp_path / "mistral")["sliding_window"] == 2047
    assert logits_apart("phi3", tmp_path / "mistral") <= 1e-4


def test_llama_becomes_phi3_by_joining_blocks(tmp_path):
    converted(golden("llama-gqa").checkpoint, "phi3", tmp_path / "out")
    assert logits_apart("llama-gqa", tmp_path / "out") <= 1e-4
    source, ours = tensors(golden("llama-gqa").checkpoint), tensors(tmp_path / "out")
    at = "model.layers.1."
    joined = torch.cat([source[f"{at}self_attn.{part}_proj.weight"] for part in "qkv"])
    assert same_bits(ours[at + "self_attn.qkv_proj.weight"], joined)
    joined = torch.cat([source[f"{at}mlp.{part}_proj.weight"] for part in ("gate", "up")])
    assert same_bits(ours[at + "mlp.gate_up_proj.weight"], joined)


@pytest.fixture
def longrope(tmp_path):
    library = transformers()
    model = randomised(library.Phi3ForCausalLM(library.Phi3Config(**SIZES, **LENGTHS, rope_parameters=dict(LONGROPE))))
    return model, saved(model, tmp_path / "phi3")


@pytest.mark.parametrize("target", ["llama", "mistral", "qwen2", "phi3"])
@pytest.mark.parametrize("length", [10, 40])
def test_longrope_is_the_same_on_both_sides_of_its_switch(longrope, target, length, tmp_path):
    model, folder = longrope
    ids = tokens(length, 131)
    with torch.inference_mode():
        truth = model(ids, use_cache=False).logits
    converted(folder, target, tmp_path / "out")
    assert (native_logits(tmp_path / "out", ids) - truth).abs().max().item() <= 1e-4


def test_llama_is_told_all_that_longrope_implies(longrope, tmp_path):
    converted(longrope[1], "llama", tmp_path / "out")
    config = config_of(tmp_path / "out")
    assert config["original_max_position_embeddings"] == 16  # where transformers 4 looks
    for table in (config["rope_scaling"], config["rope_parameters"]):
        assert table["original_max_position_embeddings"] == 16
        assert table["factor"] == 4.0
        assert table["attention_factor"] == pytest.approx(sqrt(1 + log(4) / log(16)), rel=1e-12)
    converted(tmp_path / "out", "phi3", tmp_path / "back")
    assert same_tensors(tmp_path / "back", longrope[1])
    assert config_of(tmp_path / "back")["original_max_position_embeddings"] == 16
    assert set(config_of(tmp_path / "back")["rope_scaling"]) == {"type", "short_factor", "long_factor"}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"attention_factor": 1.5}, "attention factor of longrope"),
        ({"factor": 2.0}, "ratio of the two lengths"),
        ({"rope_type": "yarn", "factor": 4.0}, "only scaling is longrope"),
    ],
)
def test_a_scaling_that_phi3_cannot_say_is_refused_alone(longrope, change, why, tmp_path):
    converted(longrope[1], "llama", tmp_path / "llama")
    config = config_of(tmp_path / "llama")
    config["rope_parameters"] |= change
    del config["rope_scaling"]
    (tmp_path / "llama" / "config.json").write_text(json.dumps(config))
    with pytest.raises(Unexpressible, match=why) as refused:
        converted(tmp_path / "llama", "phi3", tmp_path / "out")
    assert [r.fact for r in refused.value.refusals] == ["rope.scaling"]
