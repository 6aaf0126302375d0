"""StableLM: LayerNorm with bias, a quarter of each head rotated, optional q/k norms and parallel residual.

Written from transformers 5.23.0, models/stablelm/modeling_stablelm.py:157-161, :230-242, :280-285, :357-362 and
configuration_stablelm.py:51-68.
"""

from __future__ import annotations

import torch
from torch import Tensor

from convert.verification.blocks import layer_norm, merge
from convert.verification.decoder import Config
from convert.verification.trunk import Trunk
from convert.verification.weights import Weights


class StableLM(Trunk):
    family = "stablelm"
    partial_rope = True

    def __init__(self, weights: Weights, config: Config, variant: str | None = None) -> None:
        super().__init__(weights, config)
        self.eps = config["layer_norm_eps"]
        self.qkv_bias = bool(config.get("use_qkv_bias"))
        if config.get("use_parallel_residual"):
            self.steps = ("parallel",)

    def norm(self, x: Tensor, name: str) -> Tensor:
        bias = self.weights.vector(name.removesuffix("weight") + "bias")
        return layer_norm(x, self.weights.vector(name), bias, self.eps)

    def qkv(self, layer: int, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = super().qkv(layer, h)
        if self.config.get("qk_layernorm"):
            q, k = self._by_head(layer, "q", q), self._by_head(layer, "k", k)
        return q, k, v

    def _by_head(self, layer: int, part: str, x: Tensor) -> Tensor:
        at = f"{self.at(layer)}self_attn.{part}_layernorm.norms."
        heads = [self.weights.vector(f"{at}{head}.weight") for head in range(x.shape[1])]
        return layer_norm(x, torch.ones_like(heads[0]), None, self.eps) * torch.stack(heads)[:, None]

    def parallel(self, layer: int, x: Tensor, ids: Tensor) -> Tensor:
        h = self.norm(x, self.at(layer) + self.input_norm)
        return x + self.out(layer, merge(self.mix(layer, *self.qkv(layer, h)))) + self.feed(layer, h)


def recognise(config: Config) -> bool:
    return config.get("model_type") == "stablelm"


decoder = StableLM
