"""Phi-3: one matrix of [q; k; v] rows, one of [gate; up] rows, partial rope, optional window.

Written from transformers 5.23.0, models/phi3/modeling_phi3.py:58-60, :111-126, :205-222.
"""

from __future__ import annotations

import torch
from torch import Tensor

from convert.verification.blocks import activation, split
from convert.verification.decoder import Config
from convert.verification.trunk import Trunk
from convert.verification.weights import Weights


class Phi3(Trunk):
    family = "phi3"
    partial_rope = True

    def __init__(self, weights: Weights, config: Config, variant: str | None = None) -> None:
        super().__init__(weights, config)
        self.window = config.get("sliding_window")

    def qkv(self, layer: int, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        packed = self.weights.linear(h, f"{self.at(layer)}self_attn.qkv_proj.weight")
        q, k, v = torch.split(packed, [self.heads * self.dim, self.kv * self.dim, self.kv * self.dim], -1)
        return split(q, self.heads, self.dim), split(k, self.kv, self.dim), split(v, self.kv, self.dim)

    def feed(self, layer: int, h: Tensor) -> Tensor:
        gate, up = self.weights.linear(h, f"{self.at(layer)}mlp.gate_up_proj.weight").chunk(2, -1)
        return self.weights.linear(activation(self.act)(gate) * up, f"{self.at(layer)}mlp.down_proj.weight")


def recognise(config: Config) -> bool:
    return config.get("model_type") == "phi3"


decoder = Phi3
