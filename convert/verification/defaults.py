"""What a class computes with where config.json lacks a key: the verifier's own list, read in the classes.

transformers 5.23 models/*/configuration_*.py for its own, the vendors' configuration_*.py for the others. A key that is
there and null is not absent: what that means is said where the key is read. Written apart from `mappings`, and a test
holds both against the classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Config = Mapping[str, Any]


def _ids(bos: Any, eos: Any, pad: Any = None) -> dict[str, Any]:
    return {"bos_token_id": bos, "eos_token_id": eos, "pad_token_id": pad}


def _without(table: Config, key: str) -> dict[str, Any]:
    return {name: value for name, value in table.items() if name != key}


_LLAMA = {
    **_ids(1, 2), "max_position_embeddings": 2048, "rms_norm_eps": 1e-6, "hidden_act": "silu",
    "tie_word_embeddings": False,
}  # fmt: skip
_WINDOWED = {"use_sliding_window": False, "sliding_window": 4096, "max_window_layers": 28}
_QWEN2 = {**_LLAMA, **_ids(None, None), **_WINDOWED, "max_position_embeddings": 32768, "num_key_value_heads": 32}
_QWEN2_VL = {
    **_QWEN2, **_ids(151643, 151645), "num_key_value_heads": 8, "rms_norm_eps": 1e-5, "rope_theta": 1000000.0,
    "max_window_layers": 80,
}  # fmt: skip
_GEMMA = {
    **_LLAMA, **_ids(2, 1, 0), "max_position_embeddings": 8192, "num_key_value_heads": 16, "head_dim": 256,
    "tie_word_embeddings": True,
}  # fmt: skip
_VENDOR = {**_LLAMA, **_ids(1, 2, 0)}
_DEEPSEEK = {**_LLAMA, "q_lora_rank": 1536, "moe_layer_freq": 1, "n_shared_experts": 2}
_QWEN = {"layer_norm_epsilon": 1e-6, "rotary_emb_base": 10000, "no_bias": True, "tie_word_embeddings": False}
_CHATGLM = {
    "padded_vocab_size": 65024, "multi_query_group_num": 1, "kv_channels": 128, "layernorm_epsilon": 1e-5,
    "seq_length": 2048, "rope_ratio": 1, "tie_word_embeddings": False,
}  # fmt: skip

DEFAULTS: dict[str, Config] = {
    "llama": _LLAMA,
    "mistral": {**_LLAMA, "max_position_embeddings": 131072, "num_key_value_heads": 8, "sliding_window": 4096},
    "mixtral": {
        **_LLAMA, "max_position_embeddings": 131072, "num_key_value_heads": 8, "rms_norm_eps": 1e-5,
        "rope_theta": 1000000.0, "num_local_experts": 8, "num_experts_per_tok": 2,
    },
    "phi3": {**_LLAMA, **_ids(1, 32000, 32000), "max_position_embeddings": 4096, "rms_norm_eps": 1e-5,
             "original_max_position_embeddings": 4096},
    "qwen2": _QWEN2,
    "qwen2_vl": _QWEN2_VL,
    "qwen2_5_vl": _QWEN2_VL,
    "qwen2_moe": {**_QWEN2, "num_key_value_heads": 16, "decoder_sparse_step": 1, "norm_topk_prob": False, "qkv_bias": True},
    "qwen3": {**_QWEN2, "head_dim": 128},
    "stablelm": {
        **_LLAMA, **_ids(0, 0), "max_position_embeddings": 4096, "num_key_value_heads": 32, "layer_norm_eps": 1e-5,
        "partial_rotary_factor": 0.25,
    },
    "granite": {
        **_LLAMA, "embedding_multiplier": 1.0, "residual_multiplier": 1.0, "logits_scaling": 1.0, "attention_multiplier": 1.0,
    },
    "gemma": _GEMMA,
    "gemma2": {
        **_GEMMA, "num_key_value_heads": 4, "query_pre_attn_scalar": 256, "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0, "sliding_window": 4096, "hidden_activation": "gelu_pytorch_tanh",
    },
    "glm": {
        **_LLAMA, **_ids(None, [151329, 151336, 151338], 151329), "max_position_embeddings": 131072, "num_key_value_heads": 2,
        "head_dim": 128, "rms_norm_eps": 1.5625e-07, "partial_rotary_factor": 0.5, "attention_bias": True,
    },
    "deepseek_v2": {
        **_DEEPSEEK, "first_k_dense_replace": 0, "scoring_func": "softmax", "topk_method": "greedy", "norm_topk_prob": False,
        "routed_scaling_factor": 1.0,
    },
    "deepseek_v3": {
        **_DEEPSEEK, **_ids(0, 1), "max_position_embeddings": 4096, "num_key_value_heads": 128, "first_k_dense_replace": 3,
        "scoring_func": "sigmoid", "topk_method": "noaux_tc", "norm_topk_prob": True, "routed_scaling_factor": 2.5,
        "n_group": 8, "topk_group": 4, "num_experts_per_tok": 8, "n_shared_experts": 1,
    },
    "llama4": {
        **_LLAMA, "max_position_embeddings": 131072, "num_key_value_heads": 8, "head_dim": 128, "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0, "use_qk_norm": True, "attention_chunk_size": 8192, "attn_temperature_tuning": True,
        "floor_scale": 8192, "attn_scale": 0.1, "no_rope_layer_interval": 4, "interleave_moe_layer_step": 1,
    },
    "gpt2": {
        **_ids(50256, 50256), "layer_norm_epsilon": 1e-5, "activation_function": "gelu_new", "tie_word_embeddings": True,
        "scale_attn_weights": True,
    },
    "nanogpt": {"bias": True},
    "Yi": {**_VENDOR, "max_position_embeddings": 4096, "num_key_value_heads": 4, "rms_norm_eps": 1e-5, "rope_theta": 5000000.0},
    "aquila": _VENDOR,
    "baichuan": _without(_VENDOR, "max_position_embeddings"),  # it tells the variants apart
    "internlm": {**_VENDOR, "bias": True, "rotary": {"base": 10000, "type": "dynamic"}},
    "internlm2": {**_VENDOR, "bias": True},
    "minicpm": {
        **_without(_LLAMA, "tie_word_embeddings"),  # releases differ
        "scale_emb": 1, "dim_model_base": 1, "scale_depth": 1,
    },
    "qwen": _QWEN,
    "qwen-first": {**_QWEN, "layer_norm_epsilon": 1e-5, "eos_token_id": 151643},
    "chatglm": _CHATGLM,
    "chatglm-per-head": _CHATGLM,
    "chatglm1": {
        "layernorm_epsilon": 1e-5, "max_sequence_length": 2048, "mask_token_id": 150000, "gmask_token_id": 150001,
        "pad_token_id": 0,
    },
}  # fmt: skip
DEFAULTS["llama4_text"] = DEFAULTS["llama4"]


def completed(config: Config, family: str, within: str = "") -> Config:
    """The config with the family's own values of absent keys; in the table ``within``, where it keeps its text half there."""
    defaults = {key: value for key, value in DEFAULTS.get(family, {}).items() if key not in config}
    inner = config.get(within)
    if isinstance(inner, Mapping) and "hidden_size" not in config:
        return {**config, within: {**defaults, **inner}}
    return {**defaults, **config}
