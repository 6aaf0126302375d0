"""The four Baichuans: one packed [q; k; v] matrix, then rope (7B) or ALiBi (13B), and a normalised head (2).

Written from baichuan-inc/Baichuan-7B models/modeling_baichuan.py:107-110, :208-234; Baichuan-13B-Chat
modeling_baichuan.py:20-46, :106-151; Baichuan2-7B-Base modeling_baichuan.py:110-112, :187, :495-511;
Baichuan2-13B-Chat modeling_baichuan.py:504-522. ALiBi adds slope times the absolute key index.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from convert.verification import rope
from convert.verification.blocks import alibi_slopes, attend, split
from convert.verification.decoder import Config, architectures
from convert.verification.trunk import Trunk
from convert.verification.weights import Weights
from surgery.errors import ConversionError, show


@dataclass(frozen=True)
class Variant:
    alibi: bool
    normalised_head: bool


VARIANTS = {
    "7b": Variant(alibi=False, normalised_head=False),
    "13b": Variant(alibi=True, normalised_head=False),
    "2-7b": Variant(alibi=False, normalised_head=True),
    "2-13b": Variant(alibi=True, normalised_head=True),
}
_BY_VOCABULARY = {64000: "13b", 125696: "2-13b"}


class Baichuan(Trunk):
    family = "baichuan"

    def __init__(self, weights: Weights, config: Config, variant: str | None = None) -> None:
        super().__init__(weights, config)
        name = variant or _told_by(config)
        if name not in VARIANTS:
            raise ConversionError(f"The Baichuan variant {show(name)} is none of {', '.join(VARIANTS)}.")
        self.variant = VARIANTS[name]

    def rope(self, length: int) -> rope.Rope:
        return rope.plain(10000.0, self.dim)

    def qkv(self, layer: int, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        packed = self.weights.linear(h, f"{self.at(layer)}self_attn.W_pack.weight")
        q, k, v = (split(part, self.heads, self.dim) for part in packed.chunk(3, -1))
        return q, k, v

    def mix(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if self.variant.alibi:
            return attend(q, k, v, slopes=alibi_slopes(self.heads))
        return super().mix(layer, q, k, v)

    def head(self, x: Tensor, start: int, stop: int) -> Tensor:
        if not self.variant.normalised_head:
            return super().head(x, start, stop)
        step = max(1, (1 << 22) // self.hidden)
        rows = (self.weights.rows(self.output, low, min(low + step, stop)) for low in range(start, stop, step))
        return torch.cat([x @ F.normalize(block).T for block in rows], -1)


def recognise(config: Config) -> bool:
    return config.get("model_type") == "baichuan"


def _told_by(config: Config) -> str:
    if "BaiChuanForCausalLM" in architectures(config):
        return "7b"
    if config.get("max_position_embeddings"):
        return "2-7b"
    told = _BY_VOCABULARY.get(config.get("vocab_size", 0))
    if told is None:
        raise ConversionError(
            "This Baichuan is a 13B, and config.json does not tell version 1 from version 2 (normalised head): "
            f"vocab_size is {show(config.get('vocab_size'))}, neither 64000 nor 125696. Name the variant: 13b or 2-13b."
        )
    return told


decoder = Baichuan
