"""InternLM 1: to Llama with its biases, and back; to Qwen 2 only without them."""

from __future__ import annotations

import json
import shutil

import pytest
from safetensors.torch import save_file

from mappings.config import read_facts
from mappings.internlm import INTERNLM
from surgery.errors import ConversionError
from surgery.legalise import Unexpressible
from tests.goldens import golden
from tests.mappings.pairs import config_of, converted, logits_apart, same_tensors
from tests.oracle import same_bits, tensors


def test_internlm_becomes_llama_with_all_four_biases_and_comes_back(tmp_path):
    source = golden("internlm-7b").checkpoint
    plan = converted(source, "llama", tmp_path / "llama")
    assert str(plan.exactness) == "byte"
    assert logits_apart("internlm-7b", tmp_path / "llama") <= 1e-4
    name = "model.layers.2.self_attn.o_proj.bias"
    assert same_bits(tensors(tmp_path / "llama")[name], tensors(source)[name])
    converted(tmp_path / "llama", "internlm", tmp_path / "back")
    assert same_tensors(tmp_path / "back", source)
    assert config_of(tmp_path / "back")["rotary"] == {"base": 10000.0, "type": "dynamic", "scaling_factor": 1.0}


def test_the_bias_of_the_output_keeps_it_from_being_qwen2(tmp_path):
    with pytest.raises(Unexpressible) as refused:
        converted(golden("internlm-7b").checkpoint, "qwen2", tmp_path / "out")
    assert [r.fact for r in refused.value.refusals] == ["bias.o"]


@pytest.mark.parametrize("name", ["llama-mha", "qwen1-5"])
def test_others_become_internlm_and_come_back(name, tmp_path):
    source = golden(name).checkpoint
    plan = converted(source, "internlm", tmp_path / "internlm")
    assert config_of(tmp_path / "internlm")["rotary"]["type"] == "origin"
    converted(tmp_path / "internlm", plan.source, tmp_path / "back")
    assert same_tensors(tmp_path / "back", source)


def test_a_bias_of_zeros_is_no_bias(tmp_path):
    held = tensors(golden("internlm-7b").checkpoint)
    (tmp_path / "in").mkdir()
    shutil.copy(golden("internlm-7b").checkpoint / "config.json", tmp_path / "in")
    zeroed = {name: t.zero_() if name.endswith("o_proj.bias") else t for name, t in held.items()}
    save_file(zeroed, tmp_path / "in" / "model.safetensors")
    with pytest.raises(Unexpressible, match=r"rope\.scaling.*\n.*--mend limit-context"):
        converted(tmp_path / "in", "qwen", tmp_path / "qwen")
    plan = converted(tmp_path / "in", "qwen", tmp_path / "qwen", mends=["limit-context"])
    assert len(plan.steps) == 2  # zero biases and the idle dynamic scaling are left out
    converted(tmp_path / "in", "qwen2", tmp_path / "qwen2")
    assert not [k for k in tensors(tmp_path / "qwen2") if k.endswith("o_proj.bias")]
    assert config_of(tmp_path / "qwen2")["rope_parameters"]["rope_type"] == "dynamic"


def test_a_negative_zero_is_kept_since_the_inverse_could_not_bring_it_back(tmp_path):
    held = tensors(golden("internlm-7b").checkpoint)
    (tmp_path / "in").mkdir()
    shutil.copy(golden("internlm-7b").checkpoint / "config.json", tmp_path / "in")
    zeroed = {name: -t.zero_() if name.endswith("o_proj.bias") else t for name, t in held.items()}
    save_file(zeroed, tmp_path / "in" / "model.safetensors")
    with pytest.raises(Unexpressible, match=r"bias\.o"):
        converted(tmp_path / "in", "qwen2", tmp_path / "out")


@pytest.mark.parametrize(
    ("rotary", "theta", "scaling"),
    [
        (None, 10000.0, ("dynamic", 1.0)),
        ({"base": 10000, "type": "dynamic"}, 10000.0, ("dynamic", 1.0)),
        ({"base": 500000, "type": "dynamic", "scaling_factor": 2.0}, 500000.0, ("dynamic", 2.0)),
        ({"base": 20000, "type": "origin"}, 20000.0, None),
    ],
)
def test_rotary_is_read_in_every_form(rotary, theta, scaling):
    facts = read_facts(INTERNLM, {**config_of(golden("internlm-7b").checkpoint), "rotary": rotary})
    assert facts["rope.theta"] == theta
    table = dict(facts["rope.scaling"] or {})
    assert (tuple(table.values()) or None) == scaling


@pytest.mark.parametrize("rotary", ["dynamic", {"base": 10000, "type": "yarn"}, {"base": "big", "type": "origin"}])
def test_a_rotary_that_makes_no_sense_is_refused(rotary):
    config = {**config_of(golden("internlm-7b").checkpoint), "rotary": rotary}
    with pytest.raises(ConversionError, match="rotary"):
        read_facts(INTERNLM, json.loads(json.dumps(config)))
