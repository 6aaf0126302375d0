"""MiniCPM 1 and 2: Llama with a factor on embeddings, on every residual branch and before the head.

Written from modeling_minicpm.py of openbmb/MiniCPM-V-2 (the same language model): :984, :993, :1212, :1411. The head is
the embedding where the file has none: config.json does not say, the class default is tied.
"""

from __future__ import annotations

import math

from torch import Tensor

from convert.verification.decoder import Config, architectures
from convert.verification.trunk import Trunk
from convert.verification.weights import Weights


class MiniCPM(Trunk):
    family = "minicpm"

    def __init__(self, weights: Weights, config: Config, variant: str | None = None) -> None:
        tied = config.get("tie_word_embeddings", not weights.has(self.output))
        super().__init__(weights, {**config, "tie_word_embeddings": tied})
        self.qkv_bias = self.o_bias = bool(config.get("attention_bias"))
        self.branch = config["scale_depth"] / math.sqrt(self.layers)

    def embed(self, ids: Tensor) -> Tensor:
        return super().embed(ids) * float(self.config["scale_emb"])

    def out(self, layer: int, mixed: Tensor) -> Tensor:
        written: Tensor = super().out(layer, mixed) * self.branch
        return written

    def feed(self, layer: int, h: Tensor) -> Tensor:
        written: Tensor = super().feed(layer, h) * self.branch
        return written

    def finish(self, x: Tensor) -> Tensor:
        return super().finish(x) / (self.hidden / float(self.config["dim_model_base"]))


def recognise(config: Config) -> bool:
    return config.get("model_type") == "minicpm" or "MiniCPMForCausalLM" in architectures(config)


decoder = MiniCPM
