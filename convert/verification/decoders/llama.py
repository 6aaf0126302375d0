"""Llama 1 to 3 as transformers stores them, with the biases that its config can ask for.

Written from transformers 5.23.0, models/llama/modeling_llama.py:90-106 (default rope ignores
partial_rotary_factor), :156-160 and :220-229 (mlp_bias, attention_bias on q, k, v and o).
"""

from __future__ import annotations

from convert.verification.decoder import Config
from convert.verification.trunk import Trunk
from convert.verification.weights import Weights


class Llama(Trunk):
    family = "llama"

    def __init__(self, weights: Weights, config: Config, variant: str | None = None) -> None:
        super().__init__(weights, config)
        self.qkv_bias = self.o_bias = bool(config.get("attention_bias"))
        self.mlp_bias = bool(config.get("mlp_bias"))


def recognise(config: Config) -> bool:
    return config.get("model_type") == "llama"


decoder = Llama
