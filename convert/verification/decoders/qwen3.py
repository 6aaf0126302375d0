"""Qwen 3: Llama with an RMSNorm over every query and key head before the rotation.

Written from transformers 5.23.0, models/qwen3/modeling_qwen3.py:215-245 and configuration_qwen3.py:68-97.
"""

from __future__ import annotations

from torch import Tensor

from convert.verification.decoder import Config
from convert.verification.decoders.qwen2 import Qwen2
from convert.verification.weights import Weights


class Qwen3(Qwen2):
    family = "qwen3"

    def __init__(self, weights: Weights, config: Config, variant: str | None = None) -> None:
        super().__init__(weights, config)
        self.qkv_bias = self.o_bias = bool(config.get("attention_bias"))

    def qkv(self, layer: int, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        at = f"{self.at(layer)}self_attn."
        q, k, v = super().qkv(layer, h)
        return self.norm(q, at + "q_norm.weight"), self.norm(k, at + "k_norm.weight"), v


def recognise(config: Config) -> bool:
    return config.get("model_type") == "qwen3"


decoder = Qwen3
