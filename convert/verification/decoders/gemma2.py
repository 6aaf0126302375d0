"""Gemma 2: Gemma with norms after both blocks too, soft-caps on scores and logits, windows on every second layer.

Written from transformers 5.23.0, models/gemma2/modeling_gemma2.py:195-221, :518-521 and configuration_gemma2.py:74-98.
"""

from __future__ import annotations

import torch
from torch import Tensor

from convert.verification.decoder import Config
from convert.verification.decoders.gemma import Gemma
from convert.verification.weights import Weights


class Gemma2(Gemma):
    family = "gemma2"
    mlp_norm = "pre_feedforward_layernorm.weight"

    def __init__(self, weights: Weights, config: Config, variant: str | None = None) -> None:
        super().__init__(weights, config)
        self.act = config.get("hidden_activation") or "gelu_pytorch_tanh"
        self.scale = config["query_pre_attn_scalar"] ** -0.5
        self.softcap = config["attn_logit_softcapping"]

    def window_of(self, layer: int) -> int | None:
        kinds = self.config.get("layer_types")
        slides = kinds[layer] == "sliding_attention" if kinds else layer % 2 == 0
        return self.config["sliding_window"] if slides else None

    def out(self, layer: int, mixed: Tensor) -> Tensor:
        return self.norm(super().out(layer, mixed), self.at(layer) + "post_attention_layernorm.weight")

    def feed(self, layer: int, h: Tensor) -> Tensor:
        return self.norm(super().feed(layer, h), self.at(layer) + "post_feedforward_layernorm.weight")

    def head(self, x: Tensor, start: int, stop: int) -> Tensor:
        logits, cap = super().head(x, start, stop), self.config["final_logit_softcapping"]
        return logits if cap is None else cap * torch.tanh(logits / cap)


def recognise(config: Config) -> bool:
    return config.get("model_type") == "gemma2"


decoder = Gemma2
