"""The trunk that most families share: pre-norm attention and a gated feed-forward block, in pieces to override.

Written from transformers 5.23.0, models/llama/modeling_llama.py (biases :220-229, default rope ignoring
partial_rotary_factor :90-106) and meta-llama/llama3, llama/model.py.
"""

from __future__ import annotations

from torch import Tensor

from convert.verification import rope
from convert.verification.blocks import activation, attend, merge, rms_norm, split
from convert.verification.decoder import Config, Decoder, required
from convert.verification.weights import Weights
from surgery.errors import ConversionError


class Trunk(Decoder):
    """Llama without biases; a family says by class attributes and methods how it differs."""

    embedding, final_norm, output = "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"
    input_norm, mlp_norm = "input_layernorm.weight", "post_attention_layernorm.weight"
    qkv_bias = o_bias = mlp_bias = False
    partial_rope = False
    interleaved = False
    act = "silu"
    window: int | None = None
    scale: float | None = None
    softcap: float | None = None

    def __init__(self, weights: Weights, config: Config, variant: str | None = None) -> None:
        super().__init__(weights, config, variant)
        self.layers = required(config, "num_hidden_layers")
        self.hidden = required(config, "hidden_size")
        self.heads = required(config, "num_attention_heads")
        self.kv = config.get("num_key_value_heads") or self.heads
        self.dim = config.get("head_dim") or self.hidden // self.heads
        self.eps = config.get("rms_norm_eps", 1e-6)
        self.act = config.get("hidden_act") or self.act
        if config.get("tie_word_embeddings"):
            # the library ties them whichever is stored
            stored = self.output if weights.has(self.output) and not weights.has(self.embedding) else self.embedding
            self.output = self.embedding = stored
        self.vocab = self.vocabulary()

    def vocabulary(self) -> int:
        """How many tokens the head knows; refuses an embedding of another shape than config.json says."""
        said = (required(self.config, "vocab_size"), self.hidden)
        if self.weights.shape(self.embedding) != said:
            raise ConversionError(
                f"The embedding has the shape {list(self.weights.shape(self.embedding))} where the config says "
                f"{said[0]} tokens of width {said[1]}; loaders refuse such a checkpoint."
            )
        return self.weights.shape(self.output)[0]

    # what a family may say differently, from the smallest piece to the largest

    def norm(self, x: Tensor, name: str) -> Tensor:
        return rms_norm(x, self.weights.vector(name), self.eps)

    def rope(self, length: int) -> rope.Rope:
        return rope.table(
            rope.settings(self.config),
            self.dim,
            length=length,
            longest=self.config.get("max_position_embeddings") or length,
            partial=self.partial_rope,
        )

    def project(self, x: Tensor, at: str, bias: bool) -> Tensor:
        return self.weights.linear(x, at + ".weight", at + ".bias" if bias else None)

    def qkv(self, layer: int, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value heads before the rotation."""
        at = f"{self.at(layer)}self_attn."
        q, k, v = (self.project(h, f"{at}{part}_proj", self.qkv_bias) for part in "qkv")
        return split(q, self.heads, self.dim), split(k, self.kv, self.dim), split(v, self.kv, self.dim)

    def mix(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        table = self.rope(q.shape[-2])
        q, k = (table.rotate(part, interleaved=self.interleaved) for part in (q, k))
        return attend(q, k, v, window=self.window_of(layer), scale=self.scale, softcap=self.softcap)

    def window_of(self, layer: int) -> int | None:
        return self.window

    def out(self, layer: int, mixed: Tensor) -> Tensor:
        return self.project(mixed, f"{self.at(layer)}self_attn.o_proj", self.o_bias)

    def feed(self, layer: int, h: Tensor) -> Tensor:
        """The feed-forward block without norm and residual."""
        at = f"{self.at(layer)}mlp."
        return self.gated(h, at + "gate_proj", at + "up_proj", at + "down_proj")

    def gated(self, h: Tensor, gate: str, up: str, down: str) -> Tensor:
        opened = activation(self.act)(self.project(h, gate, self.mlp_bias))
        return self.project(opened * self.project(h, up, self.mlp_bias), down, self.mlp_bias)

    def at(self, layer: int) -> str:
        """What the names of a layer's tensors begin with."""
        return f"model.layers.{layer}."

    # the pieces that are compared

    def embed(self, ids: Tensor) -> Tensor:
        return self.weights.embed(ids, self.embedding)

    def attention(self, layer: int, x: Tensor, ids: Tensor) -> Tensor:
        q, k, v = self.qkv(layer, self.norm(x, self.at(layer) + self.input_norm))
        return x + self.out(layer, merge(self.mix(layer, q, k, v)))

    def mlp(self, layer: int, x: Tensor, ids: Tensor) -> Tensor:
        return x + self.feed(layer, self.norm(x, self.at(layer) + self.mlp_norm))

    def finish(self, x: Tensor) -> Tensor:
        return self.norm(x, self.final_norm)

    def head(self, x: Tensor, start: int, stop: int) -> Tensor:
        return self.weights.linear(x, self.output, rows=(start, stop))
