"""What an absent key means: the class's own value, in the tables and in the verifier alike, or a refusal that names it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from convert.verification import meaning
from mappings import families
from mappings.config import read_facts, write_config
from mappings.family import Fixed, Setting
from surgery.errors import ConversionError
from tests.mappings.classes import config_of, native, stated
from tests.oracle import transformers

KINDS = sorted(native())
BY_LABEL = {family.label: family for family in families()}
#: of the file and of the library, and what names the architecture
_NOT_LEFT_OUT = ("architectures", "model_type", "transformers_version", "dtype", "use_cache")


def made_of(kind: str, config: dict[str, Any]) -> dict[str, Any]:
    """What the class itself makes of a config."""
    keys = {key: value for key, value in config.items() if key not in ("model_type", "architectures")}
    return {**stated(transformers().CONFIG_MAPPING[kind](**keys)), "architectures": config["architectures"]}


def _cases() -> list[tuple[str, str]]:
    return [
        (kind, key)
        for kind in KINDS
        for key in sorted(stated(config_of(kind)))
        if key not in _NOT_LEFT_OUT and key in {k for s in native()[kind].settings if isinstance(s, Setting) for k in s.keys}
    ]


@pytest.mark.parametrize(("kind", "key"), _cases())
def test_a_key_that_is_left_out_means_what_the_class_makes_of_it(kind, key):
    family, left = native()[kind], {name: value for name, value in stated(config_of(kind)).items() if name != key}
    try:
        facts = read_facts(family, left)
    except ConversionError as refused:
        assert key in str(refused) or "not divisible" in str(refused)
        return
    made = made_of(kind, left)
    assert facts.values_ == read_facts(family, made).values_
    ours, theirs = meaning.read(left), meaning.read(made)
    assert ours is not None and theirs is not None
    assert replace(ours, rope={}) == replace(theirs, rope={})  # spelled otherwise; its own tests compare it


#: what the vendors' configuration classes have, {label: {key: value}}, and where that was read
VENDORS: dict[str, tuple[str, dict[str, Any]]] = {
    "yi": (
        "01-ai/Yi-6B configuration_yi.py",
        {
            "num_key_value_heads": 4, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "rope_theta": 5000000.0,
            "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "hidden_act": "silu", "tie_word_embeddings": False,
            "initializer_range": 0.02,
        },
    ),
    "baichuan-7b": (
        "baichuan-inc/Baichuan-7B configuration_baichuan.py",
        {
            "max_position_embeddings": 4096, "rms_norm_eps": 1e-6, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
            "hidden_act": "silu", "tie_word_embeddings": False, "initializer_range": 0.02,
        },
    ),
    "baichuan-13b": (
        "baichuan-inc/Baichuan-13B-Chat configuration_baichuan.py",
        {
            "model_max_length": 4096, "rms_norm_eps": 1e-6, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
            "hidden_act": "silu", "tie_word_embeddings": False, "initializer_range": 0.02,
        },
    ),
    "baichuan-2-7b": (
        "baichuan-inc/Baichuan2-7B-Base configuration_baichuan.py",
        {
            "max_position_embeddings": 4096, "rms_norm_eps": 1e-6, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
            "hidden_act": "silu", "tie_word_embeddings": False, "initializer_range": 0.02, "z_loss_weight": 0,
        },
    ),
    "baichuan-2-13b": (
        "baichuan-inc/Baichuan2-13B-Chat modeling_baichuan.py, which holds the class",
        {
            "model_max_length": 4096, "rms_norm_eps": 1e-6, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
            "hidden_act": "silu", "tie_word_embeddings": False, "initializer_range": 0.02, "z_loss_weight": 0,
        },
    ),
    "aquila": (
        "FlagAI-Open/FlagAI flagai/model/aquila2/configuration_aquila.py",
        {
            "num_key_value_heads": None, "max_position_embeddings": 2048, "rms_norm_eps": 1e-6, "bos_token_id": 1,
            "eos_token_id": 2, "pad_token_id": 0, "rope_theta": 10000.0, "rope_scaling": None, "pretraining_tp": 1,
            "hidden_act": "silu", "tie_word_embeddings": False, "initializer_range": 0.02,
        },
    ),
    "internlm": (
        "internlm/internlm-7b configuration_internlm.py",
        {
            "max_position_embeddings": 2048, "rms_norm_eps": 1e-6, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
            "bias": True, "rotary": {"base": 10000, "type": "dynamic"}, "hidden_act": "silu", "tie_word_embeddings": False,
            "initializer_range": 0.02,
        },
    ),
    "internlm2": (
        "internlm/internlm2-7b configuration_internlm2.py",
        {
            "num_key_value_heads": None, "max_position_embeddings": 2048, "rms_norm_eps": 1e-6, "bos_token_id": 1,
            "eos_token_id": 2, "pad_token_id": 0, "bias": True, "rope_theta": 10000, "rope_scaling": None,
            "hidden_act": "silu", "tie_word_embeddings": False, "initializer_range": 0.02,
        },
    ),
    "minicpm": (
        "openbmb/MiniCPM configuration_minicpm.py; tie_word_embeddings differs between releases",
        {
            "num_key_value_heads": None, "max_position_embeddings": 2048, "rms_norm_eps": 1e-6, "bos_token_id": 1,
            "eos_token_id": 2, "pad_token_id": None, "rope_theta": 10000.0, "rope_scaling": None, "scale_emb": 1,
            "dim_model_base": 1, "scale_depth": 1, "attention_bias": False, "hidden_act": "silu", "initializer_range": 0.02,
        },
    ),
    "chatglm": (
        "THUDM/chatglm3-6b configuration_chatglm.py",
        {
            "multi_query_group_num": 1, "kv_channels": 128, "layernorm_epsilon": 1e-5, "seq_length": 2048, "rope_ratio": 1,
            "add_qkv_bias": False, "add_bias_linear": False, "rmsnorm": True, "post_layer_norm": True,
            "apply_residual_connection_post_layernorm": False, "quantization_bit": 0,
        },
    ),
    "chatglm-per-head": (
        "THUDM/chatglm3-6b configuration_chatglm.py, which has multi_query_attention false",
        {
            "multi_query_attention": False, "kv_channels": 128, "layernorm_epsilon": 1e-5, "seq_length": 2048,
            "rope_ratio": 1, "add_qkv_bias": False, "add_bias_linear": False, "rmsnorm": True, "post_layer_norm": True,
            "apply_residual_connection_post_layernorm": False, "quantization_bit": 0,
        },
    ),
    "chatglm1": (
        "THUDM/chatglm-6b configuration_chatglm.py, first release; bos_token_id and eos_token_id differ in later ones",
        {
            "layernorm_epsilon": 1e-5, "mask_token_id": 150000, "gmask_token_id": 150001, "pad_token_id": 0,
            "position_encoding_2d": True, "quantization_bit": 0, "pre_seq_len": None, "prefix_projection": False,
        },
    ),
    "qwen": (
        "Qwen/Qwen-7B configuration_qwen.py",
        {
            "layer_norm_epsilon": 1e-6, "rotary_pct": 1.0, "rotary_emb_base": 10000, "no_bias": True,
            "scale_attn_weights": True, "tie_word_embeddings": False, "initializer_range": 0.02,
        },
    ),
    "qwen-first": (
        "Qwen/Qwen-7B configuration_qwen.py, August 2023",
        {
            "layer_norm_epsilon": 1e-5, "rotary_pct": 1.0, "rotary_emb_base": 10000, "scale_attn_weights": True,
            "eos_token_id": 151643, "initializer_range": 0.02,
        },
    ),
}  # fmt: skip

_SIZES: dict[str, Any] = {
    "hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 64000,
    "num_layers": 2, "padded_vocab_size": 65024, "ffn_hidden_size": 1024, "n_embd": 512, "n_layer": 2, "n_head": 4,
}  # fmt: skip
_REST: dict[str, dict[str, Any]] = {
    "chatglm": {"multi_query_attention": True},
    "chatglm1": {"max_sequence_length": 2048, "bos_token_id": 150004, "eos_token_id": 150005},
    "qwen": {"seq_length": 2048},
    "qwen-first": {"seq_length": 2048},
}


@pytest.mark.parametrize("label", sorted(VENDORS))
def test_a_table_and_the_verifier_have_the_defaults_of_the_vendors_class(label):
    family, (_, theirs) = BY_LABEL[label], VENDORS[label]
    read = {k for s in family.settings if isinstance(s, Setting) for k in s.keys}
    base = {key: value for key, value in _SIZES.items() if key in read} | _REST.get(label, {})
    base |= {"architectures": [family.architecture]} | ({"model_type": family.model_type} if label != "minicpm" else {})
    full = {**base, **theirs}
    assert read_facts(family, base).values_ == read_facts(family, full).values_
    variant = family.variant if family.name == "baichuan" else None
    ours, said = meaning.read(base, variant), meaning.read(full, variant)
    assert ours is not None and said is not None
    assert replace(ours, rope={}) == replace(said, rope={})


#: tables whose keys lie inside another config, and the library's classes of that inner part
NESTED = {"qwen2-vl": ("qwen2_vl_text", "qwen2_5_vl_text"), "llama4-multimodal": ("llama4_text",)}
#: tables that read a published config of another one, with what alone they read otherwise
ALIKE = {"mixtral-fused": ("mixtral", set()), "qwen2-1m": ("qwen2", {"context"})}


def _nested() -> list[tuple[str, str, str]]:
    return [
        (label, kind, key)
        for label, kinds in NESTED.items()
        for kind in kinds
        for key in sorted({k for s in BY_LABEL[label].settings if isinstance(s, Setting) for k in s.keys})
        if key in stated(transformers().CONFIG_MAPPING[kind]())
    ]


@pytest.mark.parametrize(("label", "kind", "key"), _nested())
def test_a_key_left_out_of_an_inner_config_means_what_its_class_makes_of_it(label, kind, key):
    family, sizes = BY_LABEL[label], {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "vocab_size": 61}
    made = stated(transformers().CONFIG_MAPPING[kind](**sizes, num_attention_heads=8))
    read = {k for s in family.settings if isinstance(s, Setting) for k in s.keys}
    inner = {name: value for name, value in made.items() if name in read}
    outer = {"architectures": [family.architecture], "model_type": kind.removesuffix("_text")}
    left = {name: value for name, value in inner.items() if name != key}
    try:
        facts = read_facts(family, {**outer, "text_config": left})
    except ConversionError as refused:
        assert key in str(refused)
        return
    again = stated(transformers().CONFIG_MAPPING[kind](**left))
    whole = {name: value for name, value in again.items() if name in read}
    assert facts.values_ == read_facts(family, {**outer, "text_config": whole}).values_


@pytest.mark.parametrize("label", sorted(ALIKE))
def test_a_variant_has_the_defaults_of_the_table_that_it_is_derived_from(label):
    parent, but = ALIKE[label]
    ours, theirs = BY_LABEL[label].settings, BY_LABEL[parent].settings
    assert {s.fact for s in (*ours, *theirs) if s not in ours or s not in theirs} == but


def test_every_table_that_has_defaults_is_held_against_a_class():
    """Meta's params.json and nanoGPT's arguments are written whole by what made them: no class fills in an absent one."""
    judged = {native()[kind].label for kind in KINDS} | set(VENDORS) | set(NESTED) | set(ALIKE)
    assert judged == {family.label for family in families() if family.stored == "safetensors"}


@pytest.mark.parametrize("family", families(), ids=lambda family: family.label)
def test_no_table_has_a_fact_twice_from_keys(family):
    facts = [fact for s in family.settings if isinstance(s, Setting) for fact in s.facts]
    assert len(facts) == len(set(facts))
    assert not set(facts) & {s.fact for s in family.settings if isinstance(s, Fixed)} or family.name == "qwen"


@pytest.mark.parametrize("kind", KINDS)
def test_ids_that_a_config_leaves_to_its_class_are_written_out(kind):
    """A reader of another class would have other ids, or none, and its generation would not end."""
    ids = ("bos_token_id", "eos_token_id", "pad_token_id")
    left = {name: value for name, value in stated(config_of(kind)).items() if name not in ids}
    made, written = made_of(kind, left), write_config(native()[kind], read_facts(native()[kind], left))
    assert {name: written[name] for name in ids} == {name: made.get(name) for name in ids}
