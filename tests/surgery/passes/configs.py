"""Strategies for configs of tiny models: sizes that no two axes share, and every option that a table reads."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.surgery.passes.tiny import VOCAB

_factors = st.floats(0.3, 15, allow_nan=False) | st.integers(1, 12)


@st.composite
def _heads(draw: st.DrawFn) -> tuple[int, int]:
    kv = draw(st.integers(1, 3))
    return kv * draw(st.integers(1, 3)), kv


@st.composite
def minicpm(draw: st.DrawFn) -> dict[str, Any]:
    heads, kv = draw(_heads())
    return {
        "architectures": ["MiniCPMForCausalLM"],
        "vocab_size": VOCAB,
        "hidden_size": heads * 8,
        "intermediate_size": 26,
        "num_hidden_layers": draw(st.integers(1, 3)),
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "max_position_embeddings": 64,
        "rms_norm_eps": draw(st.sampled_from([1e-5, 1e-2, 0.3])),  # an epsilon that counts
        "attention_bias": draw(st.booleans()),
        "tie_word_embeddings": draw(st.booleans()),
        "scale_emb": draw(_factors),
        "scale_depth": draw(_factors),
        "dim_model_base": draw(st.integers(1, 40)),
    }


@st.composite
def gemma(draw: st.DrawFn) -> dict[str, Any]:
    heads, kv = draw(_heads())
    return {
        "architectures": ["GemmaForCausalLM"],
        "model_type": "gemma",
        "vocab_size": VOCAB,
        "hidden_size": heads * draw(st.sampled_from([5, 7])),  # not the width of all heads, which is a multiple too
        "intermediate_size": 26,
        "num_hidden_layers": draw(st.integers(1, 3)),
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "head_dim": draw(st.sampled_from([4, 6])),
        "hidden_act": draw(st.sampled_from(["gelu", "gelu_pytorch_tanh"])),
        "max_position_embeddings": 64,
        "rms_norm_eps": draw(st.sampled_from([1e-6, 1e-2, 0.3])),
        "attention_bias": draw(st.booleans()),
        "tie_word_embeddings": draw(st.booleans()),
    }


@st.composite
def chatglm(draw: st.DrawFn) -> dict[str, Any]:
    heads, kv = draw(_heads())
    return {
        "architectures": ["ChatGLMModel"],
        "model_type": "chatglm",
        "padded_vocab_size": VOCAB,
        "hidden_size": heads * 5,
        "ffn_hidden_size": 26,
        "num_layers": draw(st.integers(1, 3)),
        "num_attention_heads": heads,
        "multi_query_attention": draw(st.booleans()),
        "multi_query_group_num": kv,
        "kv_channels": draw(st.sampled_from([4, 8, 16])),
        "layernorm_epsilon": 1e-5,
        "rope_ratio": draw(st.sampled_from([1, 50, 500, 2.5])),
        "seq_length": 64,
        "add_qkv_bias": draw(st.booleans()),
        "rmsnorm": True,
        "post_layer_norm": True,
    }


@st.composite
def glm(draw: st.DrawFn) -> dict[str, Any]:
    heads, kv = draw(_heads())
    return {
        "architectures": ["GlmForCausalLM"],
        "model_type": "glm",
        "vocab_size": VOCAB,
        "hidden_size": heads * 5,
        "intermediate_size": 26,
        "num_hidden_layers": draw(st.integers(1, 3)),
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "head_dim": 16,
        "partial_rotary_factor": draw(st.sampled_from([0.125, 0.25, 0.375, 0.5, 0.75, 0.875])),
        "rope_theta": draw(st.sampled_from([10000.0, 1e6, 777.0])),
        "max_position_embeddings": 64,
        "attention_bias": draw(st.booleans()),
        "tie_word_embeddings": draw(st.booleans()),
    }
