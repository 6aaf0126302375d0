"""GLM as transformers stores GLM-4-9B: q, k and v apart, [gate; up] together, half of each head rotated in pairs.

Written from transformers 5.23.0, models/glm/modeling_glm.py:59, :100-126, :150-196 and
configuration_glm.py:62-77 (defaults: head_dim 128, attention_bias true, half rotated, eps 1.5625e-7).
"""

from __future__ import annotations

from torch import Tensor

from convert.verification.blocks import activation
from convert.verification.decoder import Config
from convert.verification.trunk import Trunk
from convert.verification.weights import Weights


class Glm(Trunk):
    family = "glm"
    interleaved = partial_rope = True

    def __init__(self, weights: Weights, config: Config, variant: str | None = None) -> None:
        super().__init__(weights, config)
        self.qkv_bias = bool(config["attention_bias"])

    def feed(self, layer: int, h: Tensor) -> Tensor:
        gate, up = self.weights.linear(h, f"{self.at(layer)}mlp.gate_up_proj.weight").chunk(2, -1)
        return self.weights.linear(activation(self.act)(gate) * up, f"{self.at(layer)}mlp.down_proj.weight")


def recognise(config: Config) -> bool:
    return config.get("model_type") == "glm"


decoder = Glm
