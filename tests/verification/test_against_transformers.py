"""What no golden covers: options of the architectures, against transformers' own classes on random weights."""

from pathlib import Path

import pytest
import torch

from tests.verification.decoding import decoded

transformers = pytest.importorskip("transformers")

SIZES = {
    "vocab_size": 61,
    "hidden_size": 48,
    "intermediate_size": 76,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
    "pad_token_id": None,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
PAIRS = 6  # of a head of 12
SLOW = [1.0, 1.5, 2.0, 3.0, 1e3, 1e16]


def rope(kind, **keys):
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 5000.0, **keys}}


LLAMA = {
    "linear": rope("linear", factor=3.0),
    "dynamic_within": rope("dynamic", factor=4.0),
    "dynamic_beyond": {**rope("dynamic", factor=4.0), "max_position_embeddings": 16},
    "llama3": rope(
        "llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=24
    ),
    "yarn": rope("yarn", factor=4.0, original_max_position_embeddings=16),
    "yarn_mscale": rope("yarn", factor=4.0, original_max_position_embeddings=16, mscale=0.7, mscale_all_dim=0.4),
    "yarn_untruncated": rope("yarn", factor=4.0, original_max_position_embeddings=16, truncate=False, beta_fast=20),
    "longrope_short": rope(
        "longrope", short_factor=SLOW, long_factor=SLOW[::-1], factor=1.0, original_max_position_embeddings=64
    ),
    "longrope_long": rope("longrope", short_factor=SLOW, long_factor=SLOW[::-1], original_max_position_embeddings=20),
    "proportional": rope("proportional", partial_rotary_factor=0.5),
    "partial_is_ignored": rope("default", partial_rotary_factor=0.5),
    "biases": {"attention_bias": True, "mlp_bias": True},
    "gelu": {"hidden_act": "gelu"},
    "tanh_gelu": {"hidden_act": "gelu_pytorch_tanh"},
    "wide_heads": {"head_dim": 20, "num_key_value_heads": 1},
    "tied": {"tie_word_embeddings": True, "rms_norm_eps": 0.02},
}
MOE = {"num_experts_per_tok": 2, "moe_intermediate_size": 20}
LATENT = {"kv_lora_rank": 12, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 10, "num_key_value_heads": 4}
OTHERS = {
    "glm": ("Glm", {"head_dim": 12}),
    "glm_whole": ("Glm", {"head_dim": 12, "partial_rotary_factor": 1.0, "attention_bias": False}),
    "mistral_window": ("Mistral", {"sliding_window": 7}),
    "phi3_partial": ("Phi3", {"partial_rotary_factor": 0.5, "sliding_window": 9}),
    "phi3_longrope": (
        "Phi3",
        {
            "rope_scaling": {"type": "longrope", "short_factor": SLOW, "long_factor": SLOW[::-1]},
            "original_max_position_embeddings": 20,
        },
    ),
    "gemma2": ("Gemma2", {"head_dim": 12, "sliding_window": 5, "query_pre_attn_scalar": 7, "num_hidden_layers": 3}),
    "qwen3_biased": ("Qwen3", {"head_dim": 10, "attention_bias": True}),
    "stablelm_parallel": (
        "StableLm",
        {"use_parallel_residual": True, "use_qkv_bias": True, "partial_rotary_factor": 0.5},
    ),
    "stablelm_head_norms": ("StableLm", {"qk_layernorm": True, "partial_rotary_factor": 0.5}),
    "gpt2_untied": ("GPT2", {"tie_word_embeddings": False, "activation_function": "relu", "n_inner": 30}),
    "gpt2_scaled_by_layer": ("GPT2", {"scale_attn_by_inverse_layer_idx": True}),
    "mixtral_window": ("Mixtral", {"num_local_experts": 3, "sliding_window": 9, "num_experts_per_tok": 2}),
    "qwen2_moe_sparse_step": (
        "Qwen2Moe",
        {
            **MOE,
            "num_experts": 5,
            "decoder_sparse_step": 2,
            "shared_expert_intermediate_size": 28,
            "norm_topk_prob": True,
        },
    ),
    "deepseek_v2_groups": (
        "DeepseekV2",
        {
            **MOE,
            **LATENT,
            "q_lora_rank": 14,
            "n_routed_experts": 6,
            "n_group": 3,
            "topk_group": 2,
            "topk_method": "group_limited_greedy",
            "routed_scaling_factor": 2.0,
            "n_shared_experts": 2,
            "first_k_dense_replace": 1,
        },
    ),
    "llama4_dense": (
        "Llama4",
        {
            "num_hidden_layers": 4,
            "num_local_experts": 3,
            "num_experts_per_tok": 2,
            "interleave_moe_layer_step": 2,
            "intermediate_size_mlp": 30,
            "attention_chunk_size": 8,
            "floor_scale": 4,
            "head_dim": 12,
        },
    ),
}


CLASSES = {"Llama4": ("Llama4TextConfig", "Llama4ForCausalLM"), "GPT2": ("GPT2Config", "GPT2LMHeadModel")}
GPT2_SIZES = {"vocab_size": 61, "n_embd": 48, "n_layer": 2, "n_head": 4, "n_positions": 64, "initializer_range": 0.3}


def check(kind: str, keys: dict, folder: Path) -> None:
    config_class, model_class = CLASSES.get(kind, (f"{kind}Config", f"{kind}ForCausalLM"))
    sizes = GPT2_SIZES if kind == "GPT2" else SIZES
    torch.manual_seed(7)
    config = getattr(transformers, config_class)(**{**sizes, **keys, "attn_implementation": "eager"})
    model = getattr(transformers, model_class)(config).eval()
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.data.copy_(1.0 + 0.3 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    ids = torch.randint(3, 61, (2, 33))
    with torch.no_grad():
        expected = model(ids).logits
    assert expected.std() > 0.1
    torch.testing.assert_close(decoded(folder, ids)[0], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("option", LLAMA)
def test_llama_computes_every_option_as_transformers_does(option, tmp_path):
    check("Llama", LLAMA[option], tmp_path)


@pytest.mark.parametrize("option", OTHERS)
def test_other_families_compute_every_option_as_transformers_does(option, tmp_path):
    check(*OTHERS[option], tmp_path)
