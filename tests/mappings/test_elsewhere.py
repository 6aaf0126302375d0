"""What is said of models without a table, held against transformers' own classes; and where it was read."""

from __future__ import annotations

import re

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from mappings import families
from mappings.elsewhere import ELSEWHERE, answer, known_by

#: a commit, a version, a paper, a day, or the configs that are kept here
_DATED = re.compile(r"@[0-9a-f]{7}|\b\d+\.\d+\b|arXiv \d{4}\.\d{5}|\b20\d\d-\d\d-\d\d\b|tests/configs")

#: name -> model_type, words of parameters that its class has, words that it has not: what the answers say, and nothing of ours
_CLASSES = {
    "glm-4-9b-0414": ("glm4", ("post_self_attn_layernorm.weight", "post_mlp_layernorm.weight"), ()),
    "glm-4.5": ("glm4_moe", ("mlp.shared_experts",), ("post_self_attn_layernorm", "post_mlp_layernorm", "q_norm")),
    "olmo-7b": ("olmo", ("self_attn.q_proj.weight",), ("norm.weight",)),
    "olmo-2": ("olmo2", ("self_attn.q_norm.weight", "post_attention_layernorm.weight", "post_feedforward_layernorm.weight"), ()),
    "opt-125m": ("opt", ("embed_positions.weight", "decoder.final_layer_norm.bias", "fc1.weight"), ("gate",)),
    "openai-gpt": ("openai-gpt", ("positions_embed.weight", "ln_1.weight"), ("ln_f",)),
    "gpt-j-6b": ("gptj", ("ln_1.bias", "ln_f.bias"), ("ln_2",)),
    "falcon-7b": ("falcon", ("ln_f.bias",), ("post_attention_layernorm",)),
    "phi-2": ("phi", ("final_layernorm.bias",), ("post_attention_layernorm",)),
    "bloomz": ("bloom", ("ln_f.bias",), ("position",)),
    "starcoder2": ("starcoder2", ("model.norm.bias",), ()),
    "minicpm3": ("minicpm3", ("q_a_layernorm.weight", "kv_a_layernorm.weight"), ()),
}


@pytest.mark.parametrize("name", _CLASSES)
def test_an_answer_says_what_the_class_has(name: str) -> None:
    kind, there, absent = _CLASSES[name]
    found = answer(name)
    assert found is not None and not found.family
    config = AutoConfig.for_model(kind)
    config.num_hidden_layers = 2
    with torch.device("meta"):
        names = [parameter for parameter, _ in AutoModelForCausalLM.from_config(config).named_parameters()]
    assert [word for word in there if not any(word in one for one in names)] == []
    assert [word for word in absent if any(word in one for one in names)] == []


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("BelleGroup/BELLE-7B-2M", ""), ("BelleGroup/BELLE-LLAMA-7B-2M", "llama"), ("baichuan-inc/Baichuan-M2-32B", "qwen2"),
        ("baichuan-inc/Baichuan-M1-14B-Base", ""), ("baichuan-inc/Baichuan-M3-235B", ""), ("allenai/OLMo-1.7-7B", ""),
        ("zai-org/GLM-4.5-Air", ""),
    ],
)  # fmt: skip
def test_a_published_name_has_its_own_answer(name: str, family: str) -> None:
    found = answer(name)
    assert found is not None and found.family == family


@pytest.mark.parametrize(
    ("config", "title"),
    [
        ({"model_type": "olmo", "clip_qkv": 8.0}, "OLMo 1.7"), ({"model_type": "olmo", "clip_qkv": None}, "OLMo 1"),
        ({"model_type": "falcon", "alibi": True, "parallel_attn": False}, "Falcon RW"),
        ({"model_type": "falcon", "alibi": False}, "GPT-J, GPT-NeoX, Pythia, Falcon and Phi-1 to 2"),
        ({"model_args": {"dim": 8, "n_layers": 2, "n_heads": 2}}, "llama2.c"),
    ],
)  # fmt: skip
def test_a_config_is_known_by_what_tells_it_from_others_of_its_type(config: dict[str, object], title: str) -> None:
    found = known_by(config)
    assert found is not None and found.title == title


def test_closed_weights_are_said_of_closed_models_alone() -> None:
    told = [one.title for one in ELSEWHERE if any("no weights were published" in reason for reason in one.reasons)]
    assert told == ["Baichuan 3 and 4"]


def test_every_source_says_which_commit_or_version_was_read() -> None:
    sources = [*(one.source for one in ELSEWHERE), *(family.source for family in families())]
    assert [source for source in sources if not _DATED.search(source)] == []
