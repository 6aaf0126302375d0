"""Transformers' own classes of the families we read, small enough to run: the judges of keys, defaults and saved configs."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch

from mappings import families
from mappings.family import Family
from tests.oracle import transformers

#: what the class's own sizes are shrunk to, where it has the key
SMALL: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 44, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 8, "vocab_size": 61, "max_position_embeddings": 128, "moe_intermediate_size": 12, "pad_token_id": 0,
    "shared_expert_intermediate_size": 20, "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 8,
    "intermediate_size_mlp": 44, "q_lora_rank": 12, "kv_lora_rank": 12, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8,
    "v_head_dim": 8, "n_group": 2, "topk_group": 1, "first_k_dense_replace": 1, "n_embd": 32, "n_layer": 3, "n_head": 4,
    "n_positions": 128, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
#: what no class has by itself: latent attention has no grouped keys, and V2's class has no number of experts to choose
MORE: dict[str, dict[str, Any]] = {
    "deepseek_v2": {"num_key_value_heads": 4, "num_experts_per_tok": 2},
    "deepseek_v3": {"num_key_value_heads": 4, "num_experts_per_tok": 2},
}


@cache
def native() -> dict[str, Family]:
    """The families, by model_type, that have a class of their own in the library."""
    known = transformers().CONFIG_MAPPING
    whole = [f for f in reversed(families()) if f.stored == "safetensors" and not f.partial]
    found = {f.model_type: f for f in whole if f.model_type in known}
    return {kind: found[kind] for kind in sorted(found) if hasattr(transformers(), found[kind].architecture)}


def shrunk(kind: str) -> dict[str, Any]:
    """The keys that make the class small: those of ``SMALL`` that its own config has."""
    own = transformers().CONFIG_MAPPING[kind]().to_dict()
    return {key: value for key, value in SMALL.items() if own.get(key) is not None} | MORE.get(kind, {})


def config_of(kind: str, **keys: Any) -> Any:
    """The class's config, small, with these keys."""
    return transformers().CONFIG_MAPPING[kind](**{**shrunk(kind), **keys}, architectures=[native()[kind].architecture])


def stated(config: Any) -> dict[str, Any]:
    """What the class writes into config.json."""
    return dict(json.loads(config.to_json_string(use_diff=False)))


def saved_model(config: Any, folder: Path) -> Path:
    """A model of the class with random weights, as it saves itself."""
    from tests.mappings.pairs import randomised  # which needs all of the project, and recording a config does not

    model = randomised(transformers().AutoModelForCausalLM.from_config(config, dtype=torch.float32))
    model.save_pretrained(folder)
    return folder
