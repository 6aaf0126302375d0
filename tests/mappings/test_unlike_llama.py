"""Qwen 3, StableLM and Gemma 2: read and written as what they are, and refused as Llama with every reason at once."""

from __future__ import annotations

import pytest
import torch

from mappings.config import read_facts
from mappings.gemma2 import GEMMA2
from surgery.errors import ConversionError
from surgery.legalise import Unexpressible
from tests.goldens import golden
from tests.mappings.pairs import config_of, converted, logits_apart, randomised, same_tensors, saved, tokens
from tests.oracle import native_logits, transformers

#: what Llama cannot express of each and no pass can mend, from the papers and transformers' code; of StableLM
#: the share of a head that is rotated can be said in longrope's factors
REASONS = {
    "qwen3": {"norm.qk"},
    "stablelm": {"norm.kind", "bias.norm"},
    "gemma2": {
        "norm.offset", "norm.after", "embed.scale", "scores.width", "scores.cap", "logits.cap", "window", "window.full",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", REASONS)
def test_it_is_written_as_itself_with_every_tensor(name, tmp_path):
    converted(golden(name).checkpoint, name, tmp_path / "out")
    assert logits_apart(name, tmp_path / "out") <= 1e-4
    assert same_tensors(tmp_path / "out", golden(name).checkpoint)


@pytest.mark.parametrize("name", ["qwen3", "stablelm"])
def test_llama_is_refused_with_every_reason_at_once(name, tmp_path):
    with pytest.raises(Unexpressible) as refused:
        converted(golden(name).checkpoint, "llama", tmp_path / "out")
    assert {r.fact for r in refused.value.refusals} == REASONS[name]
    assert not (tmp_path / "out").exists()


def test_gemma2_is_refused_for_what_no_weight_can_hold(tmp_path):
    with pytest.raises(Unexpressible) as refused:
        converted(golden("gemma2").checkpoint, "llama", tmp_path / "out")
    told = {r.fact for r in refused.value.refusals}
    assert {"norm.after", "scores.cap", "logits.cap", "window"} <= told <= REASONS["gemma2"]


@pytest.mark.parametrize("name", REASONS)
def test_llama_cannot_become_one_of_them(name, tmp_path):
    with pytest.raises(Unexpressible) as refused:
        converted(golden("llama-gqa").checkpoint, name, tmp_path / "out")
    assert {r.fact for r in refused.value.refusals} & REASONS[name]


@pytest.mark.parametrize(
    ("options", "more"),
    [
        ({"qk_layernorm": True}, {"norm.qk", "rope.share"}),  # a norm that comes first is in the way of the mend
        ({"use_parallel_residual": True}, {"block.parallel"}),
        ({"use_qkv_bias": True}, set()),
    ],
)
def test_stablelms_options_are_read_and_written(options, more, tmp_path):
    library = transformers()
    config = library.StableLmConfig(
        vocab_size=131, hidden_size=32, intermediate_size=44, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, partial_rotary_factor=0.5, **options,
    )  # fmt: skip
    folder = saved(randomised(library.StableLmForCausalLM(config)), tmp_path / "in")
    ids = tokens(12, 131)
    converted(folder, "stablelm", tmp_path / "out")
    assert same_tensors(tmp_path / "out", folder)
    assert torch.equal(native_logits(tmp_path / "out", ids), native_logits(folder, ids))
    with pytest.raises(Unexpressible) as refused:
        converted(folder, "llama", tmp_path / "llama")
    assert {r.fact for r in refused.value.refusals} == REASONS["stablelm"] | more


@pytest.mark.parametrize("stated", [{}, {"attn_logit_softcapping": None, "final_logit_softcapping": None}])
def test_gemma2_without_a_cap_is_not_gemma2_with_the_usual_one(stated):
    base = {k: v for k, v in config_of(golden("gemma2").checkpoint).items() if "softcapping" not in k}
    theirs = transformers().Gemma2Config(**base, **stated)
    facts = read_facts(GEMMA2, {**base, **stated})
    caps = (theirs.attn_logit_softcapping, theirs.final_logit_softcapping)
    assert (facts["scores.cap"], facts["logits.cap"]) == caps


@pytest.mark.parametrize("change", [{"use_bidirectional_attention": True}, {"layer_types": ["sliding_attention"] * 3}])
def test_a_gemma2_that_attends_otherwise_is_refused(change):
    with pytest.raises(ConversionError, match=next(iter(change))):
        read_facts(GEMMA2, {**config_of(golden("gemma2").checkpoint), **change})
