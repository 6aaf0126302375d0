"""Qwen 1.5, 2 and 2.5, and the text half of Qwen2-VL and Qwen2.5-VL: Llama with biases on q, k and v only.

Written from transformers 5.23.0, models/qwen2/modeling_qwen2.py:181-184, configuration_qwen2.py:72-95 (a window counts
only with use_sliding_window, and then from layer max_window_layers on). With text alone the three position streams
of the VL models are equal, so mrope is plain rope.
"""

from __future__ import annotations

from convert.verification.decoder import Config
from convert.verification.trunk import Trunk
from convert.verification.weights import Weights

_NESTED = "model.language_model."


class Qwen2(Trunk):
    family = "qwen2"
    qkv_bias = True

    def __init__(self, weights: Weights, config: Config, variant: str | None = None) -> None:
        self.prefix = _NESTED if weights.has(_NESTED + "embed_tokens.weight") else "model."
        self.embedding, self.final_norm = self.prefix + "embed_tokens.weight", self.prefix + "norm.weight"
        super().__init__(weights, {**config, **(config.get("text_config") or {})})

    def at(self, layer: int) -> str:
        return f"{self.prefix}layers.{layer}."

    def window_of(self, layer: int) -> int | None:
        if not self.config.get("use_sliding_window"):
            return None
        kinds = self.config.get("layer_types")
        slides = kinds[layer] == "sliding_attention" if kinds else layer >= self.config["max_window_layers"]
        return self.config["sliding_window"] if slides else None


def recognise(config: Config) -> bool:
    return config.get("model_type") in ("qwen2", "qwen2_vl", "qwen2_5_vl")


decoder = Qwen2
