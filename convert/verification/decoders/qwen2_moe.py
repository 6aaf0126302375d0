"""Qwen1.5-MoE and Qwen2-MoE: Qwen 2 whose layers choose experts and add one shared expert, gated by a sigmoid.

Written from transformers 5.23.0, models/qwen2_moe/modeling_qwen2_moe.py:321-346 and configuration_qwen2_moe.py:92-121
(every decoder_sparse_step-th layer, mlp_only_layers excepted; shares are renormalised only with norm_topk_prob).
"""

from __future__ import annotations

from torch import Tensor

from convert.verification.decoder import Config, required
from convert.verification.decoders.qwen2 import Qwen2
from convert.verification.experts import mixture, normalised, top
from convert.verification.weights import Weights


class Qwen2Moe(Qwen2):
    family = "qwen2_moe"

    def __init__(self, weights: Weights, config: Config, variant: str | None = None) -> None:
        super().__init__(weights, config)
        self.qkv_bias = bool(config["qkv_bias"])

    def window_of(self, layer: int) -> int | None:
        kinds, before = self.config.get("layer_types"), self.config["max_window_layers"]
        if not self.config.get("use_sliding_window"):
            return None
        slides = kinds[layer] == "sliding_attention" if kinds else layer % 2 == 0 and layer < before
        return self.config["sliding_window"] if slides else None

    def feed(self, layer: int, h: Tensor) -> Tensor:
        at = f"{self.at(layer)}mlp."
        sparse = (layer + 1) % self.config["decoder_sparse_step"] == 0
        if not sparse or layer in (self.config.get("mlp_only_layers") or ()):
            return super().feed(layer, h)
        shares = top(
            self.weights.linear(h, at + "gate.weight").softmax(-1), required(self.config, "num_experts_per_tok")
        )
        if self.config.get("norm_topk_prob"):
            shares = normalised(shares)

        def expert(number: int | str, x: Tensor) -> Tensor:
            return self.gated(x, *(f"{at}{number}.{name}_proj" for name in ("gate", "up", "down")))

        opened = self.weights.linear(h, at + "shared_expert_gate.weight").sigmoid()
        return mixture(h, shares, lambda number, x: expert(f"experts.{number}", x)) + opened * expert(
            "shared_expert", h
        )


def recognise(config: Config) -> bool:
    return config.get("model_type") == "qwen2_moe"


decoder = Qwen2Moe
