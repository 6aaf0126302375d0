"""Repeating key-value heads: the same function with any multiple of them, in every family that groups heads."""

from __future__ import annotations

from typing import Any

import pytest

from surgery.passes.repeat_kv import repeat_kv
from tests.surgery.passes.tiny import apart, tiny

SIZES = {
    "num_hidden_layers": 2, "hidden_size": 32, "intermediate_size": 24, "vocab_size": 37, "num_attention_heads": 8,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "rope_theta": 10000.0,
}  # fmt: skip
CONFIGS: dict[str, dict[str, Any]] = {
    "llama": {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama",
        "rms_norm_eps": 1e-6, "hidden_act": "silu", "tie_word_embeddings": False,
    },
    "stablelm": {
        "architectures": ["StableLmForCausalLM"], "model_type": "stablelm",
        "layer_norm_eps": 1e-5, "hidden_act": "silu", "partial_rotary_factor": 0.5,
        "qk_layernorm": True, "use_qkv_bias": True, "tie_word_embeddings": False,
    },
}  # fmt: skip


@pytest.mark.parametrize("kv", [4, 8])
@pytest.mark.parametrize("family", CONFIGS)
def test_repeated_heads_compute_the_same(family: str, kv: int) -> None:
    source = tiny({**SIZES, **CONFIGS[family]})
    repeated = source.written(repeat_kv(source.model, kv), family)
    assert repeated.config["num_key_value_heads"] == kv
    assert apart(source, repeated) < 1e-12


@pytest.mark.parametrize("kv", [1, 3, 16])
def test_a_number_that_divides_nothing_is_refused(kv: int) -> None:
    with pytest.raises(ValueError, match="cannot become"):
        repeat_kv(tiny({**SIZES, **CONFIGS["llama"]}).model, kv)
