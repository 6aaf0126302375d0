"""Mixtral: Mistral whose feed-forward block is a choice of experts, softmax over all, renormalised over the chosen.

Written from transformers 5.23.0, models/mixtral/modeling_mixtral.py:105-109, configuration_mixtral.py:44-83 and the
published names (w1 gate, w3 up, w2 down).
"""

from __future__ import annotations

from torch import Tensor

from convert.verification.decoder import Config
from convert.verification.experts import mixture, normalised, top
from convert.verification.trunk import Trunk
from convert.verification.weights import Weights


class Mixtral(Trunk):
    family = "mixtral"
    theta = 1000000.0

    def __init__(self, weights: Weights, config: Config, variant: str | None = None) -> None:
        super().__init__(weights, {"rms_norm_eps": 1e-5, **config})
        self.window = config.get("sliding_window")
        self.chosen = config.get("num_experts_per_tok", 2)

    def feed(self, layer: int, h: Tensor) -> Tensor:
        at = f"{self.at(layer)}block_sparse_moe."
        shares = normalised(top(self.weights.linear(h, at + "gate.weight").softmax(-1), self.chosen))

        def expert(number: int, x: Tensor) -> Tensor:
            return self.gated(x, *(f"{at}experts.{number}.{name}" for name in ("w1", "w3", "w2")))

        return mixture(h, shares, expert)


def recognise(config: Config) -> bool:
    return config.get("model_type") == "mixtral"


decoder = Mixtral
