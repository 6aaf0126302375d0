"""GPT-2: learned positions, LayerNorm, packed q, k, v, an ungated feed-forward block, a tied head.

Written from transformers 5.23.0, models/gpt2/modeling_gpt2.py:106-107, :233-234 (Conv1D: matrices are [in, out]).
`attn.bias` is a mask buffer, `attn.c_attn.bias` the bias; published files lack the `transformer.` prefix.
"""

from __future__ import annotations

from torch import Tensor

from convert.verification.blocks import activation, attend, layer_norm, merge, split
from convert.verification.decoder import Config, Decoder, required
from convert.verification.weights import Weights

_COMPILED = "_orig_mod."  # torch.compile leaves it before every name


class GPT2(Decoder):
    family = "gpt2"
    conv1d, biased = True, True

    def __init__(self, weights: Weights, config: Config, variant: str | None = None) -> None:
        super().__init__(weights, config)
        self.layers, self.hidden = required(config, "n_layer"), required(config, "n_embd")
        self.heads, self.eps = required(config, "n_head"), config["layer_norm_epsilon"]
        self.act = config.get("activation_function") or "gelu_new"
        compiled = _COMPILED if any(name.startswith(_COMPILED) for name in weights.names) else ""
        self.prefix = next((p for p in (f"{compiled}transformer.", compiled) if weights.has(p + "wte.weight")), "")
        tied = config["tie_word_embeddings"]
        self.embedding = self.prefix + "wte.weight"
        self.output = self.embedding if tied else f"{compiled}lm_head.weight"
        self.vocab = weights.shape(self.output)[0]

    def project(self, x: Tensor, at: str) -> Tensor:
        apply = self.weights.linear_from if self.conv1d else self.weights.linear
        return apply(x, at + ".weight", at + ".bias" if self.biased else None)

    def norm(self, x: Tensor, at: str) -> Tensor:
        bias = self.weights.vector(at + ".bias") if self.biased else None
        return layer_norm(x, self.weights.vector(at + ".weight"), bias, self.eps)

    def embed(self, ids: Tensor) -> Tensor:
        at = self.weights.rows(self.prefix + "wpe.weight", 0, ids.shape[1])
        return self.weights.embed(ids, self.embedding) + at

    def attention(self, layer: int, x: Tensor, ids: Tensor) -> Tensor:
        at = f"{self.prefix}h.{layer}."
        packed = self.project(self.norm(x, at + "ln_1"), at + "attn.c_attn")
        q, k, v = (split(part, self.heads, self.hidden // self.heads) for part in packed.chunk(3, -1))
        scale = None if self.config["scale_attn_weights"] else 1.0
        if self.config.get("scale_attn_by_inverse_layer_idx"):
            q = q / (layer + 1)
        return x + self.project(merge(attend(q, k, v, scale=scale)), at + "attn.c_proj")

    def mlp(self, layer: int, x: Tensor, ids: Tensor) -> Tensor:
        at = f"{self.prefix}h.{layer}."
        wide = activation(self.act)(self.project(self.norm(x, at + "ln_2"), at + "mlp.c_fc"))
        return x + self.project(wide, at + "mlp.c_proj")

    def finish(self, x: Tensor) -> Tensor:
        return self.norm(x, self.prefix + "ln_f")

    def head(self, x: Tensor, start: int, stop: int) -> Tensor:
        return self.weights.linear(x, self.output, rows=(start, stop))


def recognise(config: Config) -> bool:
    return config.get("model_type") == "gpt2"


decoder = GPT2
