"""One function in four layouts: a tiny random Llama, written as Llama, Baichuan, Yi and InternLM2 would store it.

Laid out here in torch's words, so that nothing of ours is asked: what a layout means is what transformers' own Llama
computes from the first of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

Tensors = dict[str, torch.Tensor]

LAYERS, HIDDEN, HEADS, GROUPS, WIDTH, FFN, VOCAB = 2, 24, 6, 3, 4, 40, 61
COMMON: dict[str, Any] = {
    "num_hidden_layers": LAYERS, "hidden_size": HIDDEN, "num_attention_heads": HEADS, "intermediate_size": FFN,
    "vocab_size": VOCAB, "hidden_act": "silu", "rms_norm_eps": 1e-5, "max_position_embeddings": 64,
    "tie_word_embeddings": False, "torch_dtype": "float32", "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
#: which Baichuan's config has no words for
GROUPED: dict[str, Any] = {"num_key_value_heads": GROUPS, "rope_theta": 10000.0}


def llama() -> Tensors:
    """Names as transformers has them; norms are random as well, lest two of them could be exchanged."""
    generator = torch.Generator().manual_seed(12)

    def matrix(rows: int, columns: int) -> torch.Tensor:
        return torch.randn(rows, columns, generator=generator) / columns**0.5

    def norm() -> torch.Tensor:
        return 0.5 + torch.rand(HIDDEN, generator=generator)

    found = {"model.embed_tokens.weight": 3 * matrix(VOCAB, HIDDEN), "model.norm.weight": norm()}
    found["lm_head.weight"] = 3 * matrix(VOCAB, HIDDEN)
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        found[at + "input_layernorm.weight"], found[at + "post_attention_layernorm.weight"] = norm(), norm()
        found[at + "self_attn.q_proj.weight"] = 2 * matrix(HEADS * WIDTH, HIDDEN)
        found[at + "self_attn.k_proj.weight"] = 2 * matrix(GROUPS * WIDTH, HIDDEN)
        found[at + "self_attn.v_proj.weight"] = 2 * matrix(GROUPS * WIDTH, HIDDEN)
        found[at + "self_attn.o_proj.weight"] = 2 * matrix(HIDDEN, HEADS * WIDTH)
        found[at + "mlp.gate_proj.weight"], found[at + "mlp.up_proj.weight"] = matrix(FFN, HIDDEN), matrix(FFN, HIDDEN)
        found[at + "mlp.down_proj.weight"] = matrix(HIDDEN, FFN)
    return found


def _baichuan(tensors: Tensors) -> Tensors:
    """q, k and v in one matrix; each key and value head once for every query head that reads it."""
    found = {name: tensor for name, tensor in tensors.items() if ".self_attn." not in name or ".o_proj." in name}
    for layer in range(LAYERS):
        at = f"model.layers.{layer}.self_attn."
        q, k, v = (tensors[f"{at}{part}_proj.weight"] for part in "qkv")
        k, v = (each.reshape(GROUPS, WIDTH, HIDDEN).repeat_interleave(HEADS // GROUPS, 0) for each in (k, v))
        found[at + "W_pack.weight"] = torch.cat((q, k.reshape(-1, HIDDEN), v.reshape(-1, HIDDEN)))
    return found


def _yi(tensors: Tensors) -> Tensors:
    """The two norms of a layer under other names, which the first Yi had."""
    return {
        name.replace("input_layernorm", "ln1").replace("post_attention_layernorm", "ln2"): tensor
        for name, tensor in tensors.items()
    }


def _internlm2(tensors: Tensors) -> Tensors:
    """Other names throughout, and q, k and v in one matrix that is ordered by group."""
    words = {
        "model.embed_tokens": "model.tok_embeddings", "lm_head": "output", "input_layernorm": "attention_norm",
        "post_attention_layernorm": "ffn_norm", "self_attn.o_proj": "attention.wo", "mlp.gate_proj": "feed_forward.w1",
        "mlp.up_proj": "feed_forward.w3", "mlp.down_proj": "feed_forward.w2",
    }  # fmt: skip
    found = {}
    for name, tensor in tensors.items():
        if not name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight")):
            for old, new in words.items():
                name = name.replace(old, new)
            found[name] = tensor
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        q, k, v = (tensors[f"{at}self_attn.{part}_proj.weight"].reshape(GROUPS, -1, WIDTH, HIDDEN) for part in "qkv")
        found[at + "attention.wqkv.weight"] = torch.cat((q, k, v), 1).reshape(-1, HIDDEN)
    return found


def _own(tensors: Tensors) -> Tensors:
    return tensors


#: family -> how it stores the function, and what its config says beside the sizes
LAYOUTS: dict[str, tuple[Callable[[Tensors], Tensors], dict[str, Any]]] = {
    "llama": (_own, {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **GROUPED}),
    "baichuan": (_baichuan, {"model_type": "baichuan", "architectures": ["BaiChuanForCausalLM"]}),
    "yi": (_yi, {"model_type": "Yi", "architectures": ["YiForCausalLM"], **GROUPED}),
    "internlm2": (_internlm2, {"model_type": "internlm2", "architectures": ["InternLM2ForCausalLM"], "bias": False, **GROUPED}),
}


def retold(family: str, folder: Path) -> Path:
    """The function in a family's layout, as a checkpoint directory at `folder`."""
    layout, said = LAYOUTS[family]
    folder.mkdir(parents=True)
    tensors = {name: tensor.contiguous() for name, tensor in layout(llama()).items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps({**COMMON, **said}))
    return folder
