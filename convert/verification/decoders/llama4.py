"""Llama 4, its text half: interleaved rope with L2-normed heads in chunks, every fourth layer global without positions.

Written from transformers 5.23.0, models/llama4/modeling_llama4.py:80, :149-169 (a sigmoid of the chosen
logits scales what the expert reads), :230, :331-359 and configuration_llama4.py:111-190.
Experts are stacked [expert, in, out].
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from convert.verification.blocks import activation, attend, rms_norm
from convert.verification.decoder import Config, required
from convert.verification.experts import mixture, top
from convert.verification.trunk import Trunk
from convert.verification.weights import Weights

_NESTED = "language_model."


class Llama4(Trunk):
    family = "llama4"
    interleaved = True

    def __init__(self, weights: Weights, config: Config, variant: str | None = None) -> None:
        self.prefix = _NESTED if weights.has(_NESTED + self.embedding) else ""
        self.embedding, self.final_norm = self.prefix + self.embedding, self.prefix + self.final_norm
        self.output = self.prefix + self.output
        text: dict[str, Any] = dict(config.get("text_config") or config)
        super().__init__(weights, text)
        self.qkv_bias = self.o_bias = bool(text.get("attention_bias"))
        every, step = text["no_rope_layer_interval"], text["interleave_moe_layer_step"]
        self.turns = text.get("no_rope_layers") or [int((layer + 1) % every != 0) for layer in range(self.layers)]
        sparse = text.get("moe_layers")
        self.sparse = range(step - 1, self.layers, step) if sparse is None else sparse

    def at(self, layer: int) -> str:
        return f"{self.prefix}model.layers.{layer}."

    def mix(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if not self.turns[layer]:
            return attend(self._tempered(q), k, v)
        table = self.rope(q.shape[-2])
        q, k = (table.rotate(part, interleaved=True) for part in (q, k))
        if self.config["use_qk_norm"]:
            q, k = rms_norm(q, None, self.eps), rms_norm(k, None, self.eps)
        return attend(q, k, v, chunk=self.config["attention_chunk_size"])

    def _tempered(self, q: Tensor) -> Tensor:
        if not self.config["attn_temperature_tuning"]:
            return q
        at = torch.arange(1, q.shape[-2] + 1).to(q)
        tuned = torch.log1p((at / self.config["floor_scale"]).floor()) * self.config["attn_scale"]
        tempered: Tensor = q * (tuned + 1.0)[:, None]
        return tempered

    def feed(self, layer: int, h: Tensor) -> Tensor:
        at = f"{self.at(layer)}feed_forward."
        if layer not in self.sparse:
            return self.gated(h, at + "gate_proj", at + "up_proj", at + "down_proj")
        logits = self.weights.linear(h, at + "router.weight")
        count = required(self.config, "num_experts_per_tok")

        def expert(number: int, x: Tensor) -> Tensor:
            gate, up = self.weights.linear_from(x, at + "experts.gate_up_proj", at=number).chunk(2, -1)
            return self.weights.linear_from(activation(self.act)(gate) * up, at + "experts.down_proj", at=number)

        routed = mixture(h, top(logits.sigmoid(), count, among=logits), expert, at_input=True)
        return routed + self.gated(h, *(f"{at}shared_expert.{name}_proj" for name in ("gate", "up", "down")))


def recognise(config: Config) -> bool:
    return config.get("model_type") in ("llama4", "llama4_text")


decoder = Llama4
