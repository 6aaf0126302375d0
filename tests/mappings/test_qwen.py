"""Qwen 1: to Qwen 2 and Llama and back, and from them."""

from __future__ import annotations

import pytest
import torch

from mappings import families
from mappings.config import read_facts
from mappings.qwen import QWEN, QWEN_FIRST
from surgery.errors import ConversionError
from surgery.legalise import Unexpressible
from tests.goldens import golden
from tests.mappings.pairs import config_of, converted, logits_apart, same_tensors
from tests.oracle import same_bits, tensors
from tests.published import published


@pytest.mark.parametrize("target", ["qwen2", "llama"])
@pytest.mark.parametrize("name", ["qwen-7b", "qwen-7b-bf16"])
def test_qwen_keeps_the_vendors_logits_and_comes_back_byte_for_byte(name, target, tmp_path):
    plan = converted(golden(name).checkpoint, target, tmp_path / "out")
    assert str(plan.exactness) == "byte"
    assert logits_apart(name, tmp_path / "out") <= 1e-4
    converted(tmp_path / "out", "qwen", tmp_path / "back")
    assert same_tensors(tmp_path / "back", golden(name).checkpoint)


def test_w2_is_the_gate_and_c_attn_is_three_plain_blocks(tmp_path):
    converted(golden("qwen-7b").checkpoint, "qwen2", tmp_path / "out")
    source, ours = tensors(golden("qwen-7b").checkpoint), tensors(tmp_path / "out")
    for layer in range(3):
        theirs, mine = f"transformer.h.{layer}.", f"model.layers.{layer}."
        assert same_bits(ours[mine + "mlp.gate_proj.weight"], source[theirs + "mlp.w2.weight"])
        assert same_bits(ours[mine + "mlp.up_proj.weight"], source[theirs + "mlp.w1.weight"])
        for kind in ("weight", "bias"):
            for part, block in zip("qkv", source[theirs + f"attn.c_attn.{kind}"].chunk(3), strict=True):
                assert same_bits(ours[mine + f"self_attn.{part}_proj.{kind}"], block)


def test_the_output_has_the_true_limit_and_half_the_stated_width(tmp_path):
    plan = converted(golden("qwen-7b").checkpoint, "qwen2", tmp_path / "out")
    config = config_of(tmp_path / "out")
    assert config["max_position_embeddings"] == 8192  # seq_length; max_position_embeddings says 32768
    assert config["intermediate_size"] == 344 // 2
    assert any("use_logn_attn" in note for note in plan.notes)


def test_llama_becomes_qwen_and_comes_back(tmp_path):
    converted(golden("llama-mha").checkpoint, "qwen", tmp_path / "qwen")
    config = config_of(tmp_path / "qwen")
    assert config["use_dynamic_ntk"] is config["use_logn_attn"] is False
    biases = [t for name, t in tensors(tmp_path / "qwen").items() if name.endswith(".bias")]
    assert len(biases) == config["num_hidden_layers"]
    assert not any(torch.count_nonzero(bias) for bias in biases)
    converted(tmp_path / "qwen", "llama", tmp_path / "back")
    assert same_tensors(tmp_path / "back", golden("llama-mha").checkpoint)


def test_grouped_keys_are_no_qwen_unless_repeated(tmp_path):
    with pytest.raises(Unexpressible, match="c_attn holds as many keys as queries") as refused:
        converted(golden("llama-gqa").checkpoint, "qwen", tmp_path / "out")
    assert "--mend repeat-kv" in str(refused.value)
    converted(golden("llama-gqa").checkpoint, "qwen", tmp_path / "out", mends=["repeat-kv"])
    converted(tmp_path / "out", "llama", tmp_path / "llama")
    assert logits_apart("llama-gqa", tmp_path / "llama") <= 1e-4


def test_the_first_release_states_the_same_facts_in_other_words():
    first = next(case for case in published("qwen") if case.name == "qwen-7b-chat-first-release")
    later = next(case for case in published("qwen") if case.name == "qwen-7b-chat")
    old, new = read_facts(QWEN_FIRST, first.config), read_facts(QWEN, later.config)
    differing = {name for name in old if old[name] != new[name]}
    assert differing == {"norm.eps", "context", "token.bos", "token.eos"}
    assert (old["context"], old["ffn"]) == (2048, 11008)


@pytest.mark.parametrize("change", [{"no_bias": False}, {"scale_attn_weights": False}, {"visual": {"layers": 48}}])
def test_a_qwen_that_computes_something_else_is_refused_by_its_key(change):
    (key,) = change
    config = {**config_of(golden("qwen-7b").checkpoint), **change}
    with pytest.raises(ConversionError, match=key):
        read_facts(QWEN, config)


def test_both_variants_write_to_the_later_keys():
    assert [f.variant for f in families() if f.name == "qwen"] == ["", "first"]
