"""Small Llamas of random weights, with and without a tokenizer, and what was written of them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

import convert
from surgery.model import Artefact

EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"
_LAYER = {
    "input_layernorm": None, "post_attention_layernorm": None, "self_attn.q_proj": (1, 1), "self_attn.k_proj": (1, 1),
    "self_attn.v_proj": (1, 1), "self_attn.o_proj": (1, 1), "mlp.gate_proj": (2, 1), "mlp.up_proj": (2, 1),
    "mlp.down_proj": (1, 2),
}  # fmt: skip


def llama(
    folder: Path, *, rows: int = 50, hidden: int = 16, tied: bool = True, dtype: torch.dtype = torch.float32,
    files: Mapping[str, bytes] | None = None, **config: Any,
) -> dict[str, torch.Tensor]:  # fmt: skip
    """A LlamaForCausalLM of two layers and two heads in ``folder``, with tokenizer ``files`` beside; its tensors."""
    random = torch.Generator().manual_seed(5)

    def matrix(*shape: int) -> torch.Tensor:
        return (torch.randn(shape, generator=random) * 0.3).to(dtype)

    tensors = {EMBED: matrix(rows, hidden), "model.norm.weight": 1 + matrix(hidden)}
    tensors |= {} if tied else {HEAD: matrix(rows, hidden)}
    for layer in range(2):
        for name, shape in _LAYER.items():
            made = 1 + matrix(hidden) if shape is None else matrix(*(hidden * part for part in shape))
            tensors[f"model.layers.{layer}.{name}.weight"] = made
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    settings = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden, "vocab_size": rows,
        "intermediate_size": 2 * hidden, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
        "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
        "tie_word_embeddings": tied, "attention_bias": False, "mlp_bias": False, "bos_token_id": 1, "eos_token_id": 2,
        **config,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(settings))
    for name, content in (files or {}).items():
        (folder / name).write_bytes(content)
    return tensors


def written(artefact: Artefact, out: Path) -> dict[str, torch.Tensor]:
    """The tensors of an artefact, written in its own layout and read by safetensors."""
    convert.write(convert.plan(artefact, tokenizer="carry"), out, verify="off")
    return load_file(out / "model.safetensors")
