"""ChatGLM 2 and 3 and GLM-4-9B: packed q, k, v with bias, packed gate and up, half of each head rotated in pairs.

Written from THUDM/ChatGLM3 model/modeling_chatglm.py:164-177 (interleaved), :338-345, :379-404, :475-483, :750-754 (the
first half of kv_channels), GLM-4 modeling_chatglm.py:112 (10000 * rope_ratio). Without multi_query_attention the rows
lie head by head: [q; k; v] of one head, then of the next.
"""

from __future__ import annotations

import torch
from torch import Tensor

from convert.verification import rope
from convert.verification.blocks import activation, split
from convert.verification.decoder import Config, required
from convert.verification.trunk import Trunk
from convert.verification.weights import Weights
from surgery.errors import ConversionError

_FIXED = {
    "rmsnorm": True,
    "post_layer_norm": True,
    "apply_residual_connection_post_layernorm": False,
    "pre_seq_len": None,
}


class ChatGLM(Trunk):
    family = "chatglm"
    embedding = "transformer.embedding.word_embeddings.weight"
    final_norm, output = "transformer.encoder.final_layernorm.weight", "transformer.output_layer.weight"
    interleaved = True

    def __init__(self, weights: Weights, config: Config, variant: str | None = None) -> None:
        self.grouped = bool(config.get("multi_query_attention"))
        keys = {
            "num_hidden_layers": required(config, "num_layers", "num_hidden_layers"),
            "num_key_value_heads": config["multi_query_group_num"] if self.grouped else None,
            "head_dim": config["kv_channels"],
            "rms_norm_eps": config["layernorm_epsilon"],
            "vocab_size": required(config, "padded_vocab_size"),
            "tie_word_embeddings": config["tie_word_embeddings"],
        }
        super().__init__(weights, {**config, **keys})
        for key, only in _FIXED.items():
            if config.get(key, only) != only:
                raise ConversionError(
                    f"No published ChatGLM sets {key} to {config[key]}, and no reference says what it does."
                )
        self.linear_bias = bool(config.get("add_bias_linear"))
        self.qkv_bias = self.linear_bias or bool(config.get("add_qkv_bias"))

    def at(self, layer: int) -> str:
        return f"transformer.encoder.layers.{layer}."

    def rope(self, length: int) -> rope.Rope:
        return rope.plain(10000.0 * self.config["rope_ratio"], self.dim // 2)

    def qkv(self, layer: int, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        packed = self.project(h, f"{self.at(layer)}self_attention.query_key_value", self.qkv_bias)
        if not self.grouped:
            q, k, v = split(packed, self.heads, 3 * self.dim).chunk(3, -1)
            return q, k, v
        q, k, v = torch.split(packed, [self.heads * self.dim, self.kv * self.dim, self.kv * self.dim], -1)
        return split(q, self.heads, self.dim), split(k, self.kv, self.dim), split(v, self.kv, self.dim)

    def out(self, layer: int, mixed: Tensor) -> Tensor:
        return self.project(mixed, f"{self.at(layer)}self_attention.dense", self.linear_bias)

    def feed(self, layer: int, h: Tensor) -> Tensor:
        gate, up = self.project(h, f"{self.at(layer)}mlp.dense_h_to_4h", self.linear_bias).chunk(2, -1)
        return self.project(activation("silu")(gate) * up, f"{self.at(layer)}mlp.dense_4h_to_h", self.linear_bias)


def recognise(config: Config) -> bool:
    return config.get("model_type") == "chatglm" and "padded_vocab_size" in config


decoder = ChatGLM
