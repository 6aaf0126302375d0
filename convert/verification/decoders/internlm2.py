"""InternLM2: one matrix of q, k and v rows grouped by key head, and Meta's feed-forward names.

Written from internlm/internlm2-7b modeling_internlm2.py:204-210 (w1 gate, w3 up, w2 down), :256-261, :314-324 and
configuration_internlm2.py (`bias` is true and rope_theta 10000 where the key is missing).
"""

from __future__ import annotations

from torch import Tensor

from convert.verification.decoder import Config, architectures
from convert.verification.trunk import Trunk
from convert.verification.weights import Weights


class InternLM2(Trunk):
    family = "internlm2"
    embedding, output = "model.tok_embeddings.weight", "output.weight"
    input_norm, mlp_norm = "attention_norm.weight", "ffn_norm.weight"

    def __init__(self, weights: Weights, config: Config, variant: str | None = None) -> None:
        super().__init__(weights, config)
        self.qkv_bias = self.o_bias = bool(config["bias"])

    def qkv(self, layer: int, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        packed = self.project(h, f"{self.at(layer)}attention.wqkv", self.qkv_bias)
        by_group = packed.reshape(*h.shape[:-1], self.kv, self.heads // self.kv + 2, self.dim).transpose(1, 2)
        q = by_group[..., :-2, :].transpose(2, 3).flatten(1, 2)
        return q, by_group[..., -2, :], by_group[..., -1, :]

    def out(self, layer: int, mixed: Tensor) -> Tensor:
        return self.project(mixed, f"{self.at(layer)}attention.wo", self.o_bias)

    def feed(self, layer: int, h: Tensor) -> Tensor:
        at = f"{self.at(layer)}feed_forward."
        return self.gated(h, at + "w1", at + "w3", at + "w2")


def recognise(config: Config) -> bool:
    return config.get("model_type") == "internlm2" or "InternLM2ForCausalLM" in architectures(config)


decoder = InternLM2
