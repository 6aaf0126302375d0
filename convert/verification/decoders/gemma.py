"""Gemma 1: norms multiply by 1 + weight, embeddings by sqrt(hidden), tanh-GELU always, the head tied.

Written from transformers 5.23.0, models/gemma/modeling_gemma.py:60, :76, :363 and configuration_gemma.py:73-95
("gelu" of old configs means the tanh form); google/gemma_pytorch gemma/model.py:186, :208, :597.
"""

from __future__ import annotations

from torch import Tensor

from convert.verification.blocks import rms_norm
from convert.verification.decoder import Config
from convert.verification.trunk import Trunk
from convert.verification.weights import Weights


class Gemma(Trunk):
    family = "gemma"

    def __init__(self, weights: Weights, config: Config, variant: str | None = None) -> None:
        super().__init__(weights, config)
        self.act = "gelu_pytorch_tanh"
        self.qkv_bias = self.o_bias = bool(config.get("attention_bias"))

    def norm(self, x: Tensor, name: str) -> Tensor:
        return rms_norm(x, 1.0 + self.weights.vector(name), self.eps)

    def embed(self, ids: Tensor) -> Tensor:
        scaled: Tensor = super().embed(ids) * self.hidden**0.5
        return scaled


def recognise(config: Config) -> bool:
    return config.get("model_type") == "gemma"


decoder = Gemma
