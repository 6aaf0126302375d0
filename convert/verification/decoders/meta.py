"""Meta's own files: consolidated.NN.pth with params.json, split over model-parallel ranks, rope in adjacent pairs.

Written from meta-llama/llama llama/model.py:156-160, :331-335, meta-llama/llama3 llama/model.py:258, llama-models
models/llama3/model.py:46-62 (scaled rope: factor 8, or 32 in Llama 3.2, and 1, 4, 8192) and fairscale
nn/model_parallel/layers.py:120, :187, :257, :344. Ranks hold rows of wq, wk, wv, w1, w3 and output, columns of wo and
w2, and columns (Llama 1, 2) or rows (Llama 3) of tok_embeddings.
"""

from __future__ import annotations

import torch
from torch import Tensor

from convert.verification import rope
from convert.verification.blocks import activation, merge, split
from convert.verification.decoder import Config
from convert.verification.meaning import META_SIZES, meta_factor
from convert.verification.trunk import Trunk
from convert.verification.weights import Weights
from surgery.errors import ConversionError

_KEYS = {
    "num_hidden_layers": "n_layers",
    "hidden_size": "dim",
    "num_attention_heads": "n_heads",
    "num_key_value_heads": "n_kv_heads",
    "rms_norm_eps": "norm_eps",
}
_SCALED = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}


class Meta(Trunk):
    family = "meta"
    final_norm, interleaved = "0/norm.weight", True

    def __init__(self, weights: Weights, config: Config, variant: str | None = None) -> None:
        self.ranks = sum(name.endswith("/norm.weight") for name in weights.names)
        self.projection = "output" if weights.has("0/output.weight") else "tok_embeddings"  # tied, and stored once
        self.factor = meta_factor(config, variant)
        super().__init__(weights, {**config, **{ours: config.get(theirs) for ours, theirs in _KEYS.items()}})
        if config.get("use_scaled_rope") and variant is None and self._could_be_either(config):
            raise ConversionError(
                "params.json does not tell whether this is Llama 3.1 (rope factor 8) or 3.2 (32): its size is none that Meta "
                "published, and its output projection is its embedding. Name the variant: llama-3.1 or llama-3.2."
            )

    def _could_be_either(self, config: Config) -> bool:
        """Whether neither the size nor an output projection of its own tells the factor; some rows are enough."""
        if (config.get("dim"), config.get("n_layers")) in META_SIZES:
            return False
        if self.projection != "output":
            return True
        one, other = (self.weights.rows(f"0/{name}.weight", 0, 8) for name in ("output", "tok_embeddings"))
        width = min(one.shape[1], other.shape[1])
        return bool(torch.equal(one[:, :width], other[:, :width]))

    def vocabulary(self) -> int:
        rows = sum(self.weights.shape(name)[0] for name in self._shards(self.projection))
        if self.config.get("vocab_size", -1) not in (-1, rows):
            raise ConversionError(f"params.json says vocab_size {self.config['vocab_size']}, output has {rows} rows.")
        return rows

    def _shards(self, name: str) -> list[str]:
        return [f"{rank}/{name}.weight" for rank in range(self.ranks)]

    def _columns(self, x: Tensor, name: str) -> Tensor:
        """Ranks hold rows of the matrix: their results stand side by side."""
        return torch.cat([self.weights.linear(x, shard) for shard in self._shards(name)], -1)

    def _rows(self, x: Tensor, name: str) -> Tensor:
        """Ranks hold columns: each sees its part of the input, and the results add up."""
        parts = zip(x.chunk(self.ranks, -1), self._shards(name), strict=True)
        return torch.stack([self.weights.linear(part, shard) for part, shard in parts]).sum(0)

    def norm(self, x: Tensor, name: str) -> Tensor:
        for copy in (f"{rank}{name.removeprefix('0')}" for rank in range(1, self.ranks)):
            if not self.weights.vector(copy).equal(self.weights.vector(name)):
                raise ConversionError(f"{copy} differs from {name}: every rank must hold the same norms.")
        return super().norm(x, name)

    def rope(self, length: int) -> rope.Rope:
        scaled = self.config.get("use_scaled_rope")
        theta = self.config.get("rope_theta") or (500000.0 if scaled else 10000.0)
        if not scaled:
            return rope.plain(theta, self.dim)
        keys = {"rope_type": "llama3", "rope_theta": theta, "factor": self.factor, **_SCALED}
        return rope.table(keys, self.dim, length=length, longest=131072)

    def embed(self, ids: Tensor) -> Tensor:
        shards = self._shards("tok_embeddings")
        if sum(self.weights.shape(shard)[1] for shard in shards) == self.hidden:
            return torch.cat([self.weights.embed(ids, shard) for shard in shards], -1)
        height, width = self.weights.shape(shards[0])
        if width != self.hidden:
            raise ConversionError(f"params.json says dim {self.hidden}, and {shards[0]} is {width} wide.")
        found = torch.zeros((*ids.shape, self.hidden), dtype=self.weights.compute, device=self.weights.device)
        for rank, shard in enumerate(shards):
            here = ids // height == rank
            if here.any():
                found[here] = self.weights.embed(ids[here] - rank * height, shard)
        return found

    def at(self, layer: int) -> str:
        return f"layers.{layer}."

    def attention(self, layer: int, x: Tensor, ids: Tensor) -> Tensor:
        at = f"{self.at(layer)}attention."
        h = self.norm(x, f"0/{self.at(layer)}attention_norm.weight")
        q = split(self._columns(h, at + "wq"), self.heads, self.dim)
        k, v = (split(self._columns(h, at + name), self.kv, self.dim) for name in ("wk", "wv"))
        mixed = self.mix(layer, q, k, v)
        return x + self._rows(merge(mixed), at + "wo")

    def mlp(self, layer: int, x: Tensor, ids: Tensor) -> Tensor:
        at = f"{self.at(layer)}feed_forward."
        h = self.norm(x, f"0/{self.at(layer)}ffn_norm.weight")
        return x + self._rows(activation("silu")(self._columns(h, at + "w1")) * self._columns(h, at + "w3"), at + "w2")

    def head(self, x: Tensor, start: int, stop: int) -> Tensor:
        found, first = [], 0
        for shard in self._shards(self.projection):
            height = self.weights.shape(shard)[0]
            low, high = max(start - first, 0), min(stop - first, height)
            if low < high:
                found.append(self.weights.linear(x, shard, rows=(low, high)))
            first += height
        return torch.cat(found, -1)


def recognise(config: Config) -> bool:
    return "model_type" not in config and {"dim", "n_layers", "n_heads", "norm_eps"} <= set(config)


decoder = Meta
