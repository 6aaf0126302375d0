"""Granite 3, dense: Llama with a factor on embeddings, on every residual branch, on attention scores and under logits.

Written from transformers 5.23.0, models/granite/modeling_granite.py:123, :272, :277, :386, :486 and
configuration_granite.py:83-86.
"""

from __future__ import annotations

from torch import Tensor

from convert.verification.decoder import Config
from convert.verification.trunk import Trunk
from convert.verification.weights import Weights


class Granite(Trunk):
    family = "granite"

    def __init__(self, weights: Weights, config: Config, variant: str | None = None) -> None:
        super().__init__(weights, config)
        self.qkv_bias = self.o_bias = bool(config.get("attention_bias"))
        self.mlp_bias = bool(config.get("mlp_bias"))
        self.scale = self._factor("attention_multiplier")

    def _factor(self, key: str) -> float:
        return float(self.config[key])

    def embed(self, ids: Tensor) -> Tensor:
        return super().embed(ids) * self._factor("embedding_multiplier")

    def out(self, layer: int, mixed: Tensor) -> Tensor:
        written: Tensor = super().out(layer, mixed) * self._factor("residual_multiplier")
        return written

    def feed(self, layer: int, h: Tensor) -> Tensor:
        written: Tensor = super().feed(layer, h) * self._factor("residual_multiplier")
        return written

    def head(self, x: Tensor, start: int, stop: int) -> Tensor:
        return super().head(x, start, stop) / self._factor("logits_scaling")


def recognise(config: Config) -> bool:
    return config.get("model_type") == "granite"


decoder = Granite
