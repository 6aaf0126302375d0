"""DeepSeek V2 and V3: latent attention, grouped choice of experts, FP8 weights in blocks.

Written from deepseek-ai/DeepSeek-V3 inference/model.py:390 (interleaved), :435-437 (mscale), :564-597 (gate) and
kernel.py:78-86; DeepSeek-V2 differs by softmax scores, the group's best instead of its two best, and no renormalising,
which configs of either may leave to the class.
The prediction layers after num_hidden_layers are no part of the function.
"""

from __future__ import annotations

import torch
from torch import Tensor

from convert.verification import rope
from convert.verification.blocks import attend, merge, rms_norm, split
from convert.verification.decoder import Config, required
from convert.verification.experts import mixture, normalised, top
from convert.verification.trunk import Trunk
from convert.verification.weights import Weights

_LATENT_EPS = 1e-6  # of the norms between low-rank factors, whatever rms_norm_eps says


class DeepSeek(Trunk):
    family = "deepseek"

    def __init__(self, weights: Weights, config: Config, variant: str | None = None) -> None:
        super().__init__(weights, config)
        self.still, self.turning = required(config, "qk_nope_head_dim"), required(config, "qk_rope_head_dim")
        self.value, self.rank = required(config, "v_head_dim"), required(config, "kv_lora_rank")
        keys = rope.settings(config)
        spread = rope.yarn_scale(keys.get("factor", 1.0), keys.get("mscale_all_dim") or 0.0)
        self.scale = (self.still + self.turning) ** -0.5 * spread**2
        self.bias = bool(config.get("attention_bias"))

    def attention(self, layer: int, x: Tensor, ids: Tensor) -> Tensor:
        at = f"{self.at(layer)}self_attn."
        h = self.norm(x, self.at(layer) + self.input_norm)
        low, shared = torch.split(self.project(h, at + "kv_a_proj_with_mqa", self.bias), [self.rank, self.turning], -1)
        low = rms_norm(low, self.weights.vector(at + "kv_a_layernorm.weight"), _LATENT_EPS)
        both = split(self.weights.linear(low, at + "kv_b_proj.weight"), self.heads, self.still + self.value)
        k, v = torch.split(both, [self.still, self.value], -1)
        q, q_turning = torch.split(self._queries(at, h), [self.still, self.turning], -1)

        table = rope.table(
            rope.settings(self.config),
            self.turning,
            length=x.shape[1],
            longest=self.config.get("max_position_embeddings") or x.shape[1],
        )
        q_turning = table.rotate(q_turning, interleaved=True)
        turned = table.rotate(split(shared, 1, self.turning), interleaved=True).expand(-1, self.heads, -1, -1)
        mixed = attend(torch.cat((q, q_turning), -1), torch.cat((k, turned), -1), v, scale=self.scale)
        return x + self.project(merge(mixed), at + "o_proj", self.bias)

    def _queries(self, at: str, h: Tensor) -> Tensor:
        if self.config.get("q_lora_rank") is None:
            q = self.weights.linear(h, at + "q_proj.weight")
        else:
            low = self.project(h, at + "q_a_proj", self.bias)
            low = rms_norm(low, self.weights.vector(at + "q_a_layernorm.weight"), _LATENT_EPS)
            q = self.weights.linear(low, at + "q_b_proj.weight")
        return split(q, self.heads, self.still + self.turning)

    def feed(self, layer: int, h: Tensor) -> Tensor:
        first, every = self.config["first_k_dense_replace"], self.config["moe_layer_freq"]
        if layer < first or layer % every:
            return super().feed(layer, h)
        at = f"{self.at(layer)}mlp."

        def expert(name: str, x: Tensor) -> Tensor:
            return self.gated(x, *(f"{at}{name}.{part}_proj" for part in ("gate", "up", "down")))

        routed = mixture(h, self._shares(at, h), lambda number, x: expert(f"experts.{number}", x))
        return routed + expert("shared_experts", h) if self.config.get("n_shared_experts") else routed

    def _shares(self, at: str, h: Tensor) -> Tensor:
        raw = self.weights.linear(h, at + "gate.weight")
        method = self.config["topk_method"]
        scores = raw.sigmoid() if self.config["scoring_func"] == "sigmoid" else raw.softmax(-1)
        among, best_of_group = scores, 1
        if method == "noaux_tc":
            among, best_of_group = scores + self.weights.vector(at + "gate.e_score_correction_bias"), 2
        if method != "greedy":
            groups = among.reshape(*among.shape[:-1], self.config.get("n_group") or 1, -1)
            rank = groups.topk(best_of_group, -1).values.sum(-1)
            kept = rank.topk(self.config.get("topk_group") or 1, -1).indices
            shut = torch.ones_like(rank, dtype=torch.bool).scatter(-1, kept, False)
            among = groups.masked_fill(shut[..., None], float("-inf")).flatten(-2)
        shares = top(scores, required(self.config, "num_experts_per_tok"), among=among)
        if self.config.get("norm_topk_prob"):
            shares = normalised(shares)
        scaled: Tensor = shares * self.config["routed_scaling_factor"]
        return scaled


def recognise(config: Config) -> bool:
    return config.get("model_type") in ("deepseek_v2", "deepseek_v3", "kimi_k2")


decoder = DeepSeek
