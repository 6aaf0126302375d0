"""Mixtral: Mistral whose feed-forward block is a choice of experts, softmax over all, renormalised over the chosen.

Written from transformers 5.23.0, models/mixtral/modeling_mixtral.py:64-109, configuration_mixtral.py:44-83 and the
published names (w1 gate, w3 up, w2 down). The same library may keep the experts of a layer stacked, gate rows above up.
"""

from __future__ import annotations

from torch import Tensor

from convert.verification.blocks import activation
from convert.verification.decoder import Config
from convert.verification.experts import mixture, normalised, top
from convert.verification.trunk import Trunk
from convert.verification.weights import Weights


class Mixtral(Trunk):
    family = "mixtral"

    def __init__(self, weights: Weights, config: Config, variant: str | None = None) -> None:
        super().__init__(weights, config)
        self.window = config.get("sliding_window")
        self.chosen = config["num_experts_per_tok"]

    def feed(self, layer: int, h: Tensor) -> Tensor:
        stacked = self.weights.has(f"{self.at(layer)}mlp.gate.weight")
        at = f"{self.at(layer)}{'mlp' if stacked else 'block_sparse_moe'}."
        shares = normalised(top(self.weights.linear(h, at + "gate.weight").softmax(-1), self.chosen))

        def single(number: int, x: Tensor) -> Tensor:
            return self.gated(x, *(f"{at}experts.{number}.{name}" for name in ("w1", "w3", "w2")))

        def of_stack(number: int, x: Tensor) -> Tensor:
            gate, up = self.weights.linear_in(x, at + "experts.gate_up_proj", number).chunk(2, -1)
            return self.weights.linear_in(activation(self.act)(gate) * up, at + "experts.down_proj", number)

        return mixture(h, shares, of_stack if stacked else single)


def recognise(config: Config) -> bool:
    return config.get("model_type") == "mixtral"


decoder = Mixtral
