"""Qwen 1: packed q, k, v with bias, `w2` the gate, a feed-forward width of half the configured one.

Written from Qwen/Qwen-7B modeling_qwen.py:269-273, :418, :561-575, :1316-1346, and QWenModel.__init__, which rotates the
first `rotary_pct` of each head. Within `seq_length` dynamic NTK and
log-n scaling are inert; longer sequences are refused.
"""

from __future__ import annotations

from torch import Tensor

from convert.verification import rope
from convert.verification.blocks import split
from convert.verification.decoder import Config
from convert.verification.trunk import Trunk
from convert.verification.weights import Weights
from surgery.errors import ConversionError

#: the keys of August 2023
_EARLY = {
    "num_hidden_layers": "n_layer", "hidden_size": "n_embd", "num_attention_heads": "n_head",
    "vocab_size": "padded_vocab_size",
}  # fmt: skip


class Qwen(Trunk):
    family = "qwen"
    embedding, final_norm = "transformer.wte.weight", "transformer.ln_f.weight"
    input_norm, mlp_norm = "ln_1.weight", "ln_2.weight"

    def __init__(self, weights: Weights, config: Config, variant: str | None = None) -> None:
        early = "n_embd" in config
        known = {ours: config[theirs] for ours, theirs in _EARLY.items() if theirs in config} if early else {}
        keys = {"head_dim": config.get("kv_channels"), "num_key_value_heads": None, "hidden_act": "silu", **known}
        super().__init__(weights, {**config, **keys})
        self.eps = config["layer_norm_epsilon"]
        self.o_bias = self.mlp_bias = not config["no_bias"]

    def at(self, layer: int) -> str:
        return f"transformer.h.{layer}."

    def rope(self, length: int) -> rope.Rope:
        if length > (self.config.get("seq_length") or length):
            raise ConversionError(
                f"Qwen 1 changes its rotation beyond seq_length; {length} tokens are too many to verify."
            )
        return rope.plain(self.config["rotary_emb_base"], int(self.dim * self.config.get("rotary_pct", 1.0)))

    def qkv(self, layer: int, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        packed = self.project(h, f"{self.at(layer)}attn.c_attn", bias=True)
        q, k, v = (split(part, self.heads, self.dim) for part in packed.chunk(3, -1))
        return q, k, v

    def out(self, layer: int, mixed: Tensor) -> Tensor:
        return self.project(mixed, f"{self.at(layer)}attn.c_proj", self.o_bias)

    def feed(self, layer: int, h: Tensor) -> Tensor:
        at = f"{self.at(layer)}mlp."
        return self.gated(h, at + "w2", at + "w1", at + "c_proj")


def recognise(config: Config) -> bool:
    return config.get("model_type") == "qwen"


decoder = Qwen
