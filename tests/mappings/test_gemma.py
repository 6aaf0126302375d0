"""Gemma 1: to Llama in float32 unless told otherwise, and back; its activation is GELU by tanh, whatever is written."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from convert.checkpoint import open_checkpoint
from convert.prepare import plan_conversion
from mappings.compare import direction
from mappings.config import read_facts
from mappings.gemma import GEMMA
from mappings.llama import LLAMA
from surgery.errors import ConversionError
from surgery.legalise import Unexpressible
from tests.goldens import golden
from tests.mappings.pairs import config_of, converted, logits_apart, randomised, same_tensors, saved, tokens
from tests.oracle import native_logits, same_bits, tensors, transformers

WAYS = pytest.mark.parametrize("prefer", [[], ["gauge"]], ids=["fold", "gauge"])


@WAYS
@pytest.mark.parametrize("name", ["gemma1-2b", "gemma1-2b-bf16"])
def test_gemma_becomes_llama_in_float32(name, prefer, tmp_path):
    plan = converted(golden(name).checkpoint, "llama", tmp_path / "out", prefer=prefer)
    assert str(plan.exactness) == "algebraic"
    assert logits_apart(name, tmp_path / "out") <= 1e-5
    told = config_of(tmp_path / "out")
    assert told["dtype"] == told["torch_dtype"] == "float32"
    assert told["hidden_act"] == "gelu_pytorch_tanh" and told["head_dim"] == 24
    assert told["tie_word_embeddings"] is (prefer == ["gauge"])
    assert ("Written as float32" in " ".join(plan.notes)) is name.endswith("bf16")


@WAYS
def test_in_bfloat16_it_costs_no_more_than_an_ideal_fold(prefer, tmp_path):
    case = golden("gemma1-2b-bf16")
    plan = converted(case.checkpoint, "llama", tmp_path / "out", prefer=prefer, dtype="bfloat16")
    truth, ideal = load_file(case.logits), case.provenance["ideal_fold_rounding"]
    off = (native_logits(tmp_path / "out", truth["input_ids"]) - truth["logits"]).abs()
    assert off.max().item() <= 1.3 * ideal["max_abs_dlogits"]
    assert off.mean().item() <= 1.3 * ideal["mean_abs_dlogits"]
    assert plan.rounding == 2.0**-8
    assert "Written as" not in " ".join(plan.notes)


def test_norms_are_one_more_and_rounded_once(tmp_path):
    source = tensors(golden("gemma1-2b-bf16").checkpoint)
    converted(golden("gemma1-2b-bf16").checkpoint, "llama", tmp_path / "out", dtype="bfloat16")
    written = tensors(tmp_path / "out")
    norms = [name for name in source if "norm" in name]
    assert len(norms) == 7
    assert all(same_bits(written[n], (source[n].double() + 1.0).to(torch.bfloat16)) for n in norms)
    assert same_bits(written["lm_head.weight"], source["model.embed_tokens.weight"])
    assert torch.equal(written["model.embed_tokens.weight"], source["model.embed_tokens.weight"] * 8)


@WAYS
def test_the_way_back_is_the_same_function(prefer, tmp_path):
    converted(golden("gemma1-2b").checkpoint, "llama", tmp_path / "llama", prefer=prefer)
    plan = converted(tmp_path / "llama", "gemma", tmp_path / "back", prefer=prefer)
    assert str(plan.exactness) == "algebraic"
    assert logits_apart("gemma1-2b", tmp_path / "back") <= 1e-4


def test_a_width_whose_root_is_not_whole(tmp_path):
    library = transformers()
    config = library.GemmaConfig(
        vocab_size=101, hidden_size=40, intermediate_size=44, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=12, max_position_embeddings=64, attention_bias=True,
    )  # fmt: skip
    folder = saved(randomised(library.GemmaForCausalLM(config)), tmp_path / "gemma")
    ids = tokens(24, 101)
    for prefer in ([], ["gauge"]):
        out = tmp_path / ("llama" + "".join(prefer))
        converted(folder, "llama", out, prefer=prefer)
        assert (native_logits(folder, ids) - native_logits(out, ids)).abs().max().item() <= 1e-4


@pytest.mark.parametrize("name", ["gemma1-2b", "gemma1-2b-bf16"])
def test_normalised_it_keeps_every_byte(name, tmp_path):
    assert str(converted(golden(name).checkpoint, "gemma", tmp_path / "out").exactness) == "byte"
    assert same_tensors(tmp_path / "out", golden(name).checkpoint)


def test_a_silu_llama_cannot_be_gemma():
    with pytest.raises(Unexpressible) as refused:
        plan_conversion(open_checkpoint(golden("llama-gqa").checkpoint), "gemma")
    assert {r.fact for r in refused.value.refusals} == {"activation"}
    way = direction(LLAMA, "gemma")
    assert str(way.exactness) == "algebraic" and any(condition.wanted == "gelu_tanh" for condition in way.conditions)


@pytest.mark.parametrize("key", ["hidden_act", "hidden_activation"])
def test_an_activation_that_loaders_disagree_about_is_refused(key):
    with pytest.raises(ConversionError, match=f"{key}.*silu"):
        read_facts(GEMMA, {**config_of(golden("gemma1-2b").checkpoint), key: "silu"})


def test_attention_in_both_directions_is_refused():
    with pytest.raises(ConversionError, match="use_bidirectional_attention"):
        read_facts(GEMMA, {**config_of(golden("gemma1-2b").checkpoint), "use_bidirectional_attention": True})
