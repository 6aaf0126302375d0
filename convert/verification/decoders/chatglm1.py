"""ChatGLM-6B, the first: a prefix that sees itself whole, two position streams, residuals of the normed input.

Written from THUDM/chatglm-6b modeling_chatglm.py:167 (tanh-GELU), :448-466 ([q; k; v] head by head, each half of a head
turned by its own positions), :642-651 (residual ``sqrt(56) * norm(x)``: the block's own default of 28 layers, which no
caller changes), :682-704: everything before the token bos is prefix; from bos on second positions count from 1, and
first positions stand still where [gMASK] is, or else [MASK].
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from convert.verification import rope
from convert.verification.blocks import activation, attend, layer_norm, merge, split
from convert.verification.decoder import Config, Decoder, required
from convert.verification.weights import Weights

_ALPHA = math.sqrt(2 * 28)


class ChatGLM1(Decoder):
    family = "chatglm1"
    embedding, output = "transformer.word_embeddings.weight", "lm_head.weight"

    def __init__(self, weights: Weights, config: Config, variant: str | None = None) -> None:
        super().__init__(weights, config)
        self.layers, self.hidden = required(config, "num_layers"), required(config, "hidden_size")
        self.heads, self.eps = required(config, "num_attention_heads"), config["layernorm_epsilon"]
        self.dim = self.hidden // self.heads
        self.vocab = weights.shape(self.output)[0]

    def project(self, x: Tensor, at: str) -> Tensor:
        return self.weights.linear(x, at + ".weight", at + ".bias")

    def norm(self, x: Tensor, at: str) -> Tensor:
        return layer_norm(x, self.weights.vector(at + ".weight"), self.weights.vector(at + ".bias"), self.eps)

    def embed(self, ids: Tensor) -> Tensor:
        return self.weights.embed(ids, self.embedding)

    def attention(self, layer: int, x: Tensor, ids: Tensor) -> Tensor:
        at = f"transformer.layers.{layer}."
        h = self.norm(x, at + "input_layernorm")
        packed = split(self.project(h, at + "attention.query_key_value"), self.heads, 3 * self.dim)
        q, k, v = packed.chunk(3, -1)
        table = rope.Rope(self.frequencies(at + "attention.rotary_emb.inv_freq"))
        prefix, *streams = self.positions(ids)
        q, k = (
            torch.cat(
                [table.rotate(half, positions=at) for half, at in zip(part.chunk(2, -1), streams, strict=True)], -1
            )
            for part in (q, k)
        )
        return _ALPHA * h + self.project(merge(attend(q, k, v, prefix=prefix)), at + "attention.dense")

    def mlp(self, layer: int, x: Tensor, ids: Tensor) -> Tensor:
        at = f"transformer.layers.{layer}."
        h = self.norm(x, at + "post_attention_layernorm")
        wide = activation("gelu_pytorch_tanh")(self.project(h, at + "mlp.dense_h_to_4h"))
        return _ALPHA * h + self.project(wide, at + "mlp.dense_4h_to_h")

    def finish(self, x: Tensor) -> Tensor:
        return self.norm(x, "transformer.final_layernorm")

    def head(self, x: Tensor, start: int, stop: int) -> Tensor:
        return self.weights.linear(x, "lm_head.weight", rows=(start, stop))

    def frequencies(self, name: str) -> Tensor:
        """Those of the file, which loading puts to use; where it has none, the class makes them, rounded to half."""
        if self.weights.has(name):
            return self.weights.vector(name).double()
        return rope.plain(10000.0, self.dim // 2).frequencies.float().half().double()

    def positions(self, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Prefix lengths [batch], first and second positions [batch, position]; without bos all is prefix."""
        length = ids.shape[1]
        at = torch.arange(length).expand_as(ids)
        prefix = _first(ids, self.config.get("bos_token_id"))
        mask, gmask = (_first(ids, self.config.get(key)) for key in ("mask_token_id", "gmask_token_id"))
        answer = at >= prefix[:, None]
        first = torch.where(answer, torch.where(gmask < length, gmask, mask)[:, None], at)
        return prefix, first, torch.where(answer, at - prefix[:, None] + 1, 0)


def _first(ids: Tensor, token: int | None) -> Tensor:
    """Where a token first stands in each sequence; the length where it does not."""
    found = ids == (-1 if token is None else token)
    return torch.where(found.any(1), found.long().argmax(1), ids.shape[1])


def recognise(config: Config) -> bool:
    return config.get("model_type") == "chatglm" and "padded_vocab_size" not in config


decoder = ChatGLM1
