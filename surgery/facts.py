"""Facts: everything about a model that is not a weight, under the hub's names.

*Sizes* are counts of things. *Traits* are ways of computing; each has a neutral value, which is what Llama does, and a
target that does not mention a trait can express only that. *Passive* facts change no logits and are carried where they fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["size", "trait", "passive"]


@dataclass(frozen=True)
class Fact:
    """A fact's name, kind, neutral value and meaning."""

    name: str
    kind: Kind
    meaning: str
    neutral: Any = None


FACTS: dict[str, Fact] = {
    fact.name: fact
    for fact in (
        Fact("layer", "size", "decoder layers"),
        Fact("hidden", "size", "width of the residual stream"),
        Fact("vocab", "size", "rows of the embeddings"),
        Fact("ffn", "size", "width of the MLP"),
        Fact("heads", "size", "query heads"),
        Fact("kv", "size", "key-value heads"),
        Fact("head", "size", "width of a head"),
        Fact("expert", "size", "routed experts of a layer"),
        Fact("expert_ffn", "size", "width of a routed expert"),
        Fact("shared_ffn", "size", "width of the expert that every token passes through"),
        Fact("latent_q", "size", "width of what queries are made from, where that is narrower than hidden"),
        Fact("latent_kv", "size", "width of what keys and values are made from"),
        Fact("qk_still", "size", "part of a query or key without position, beside a latent"),
        Fact("qk_turned", "size", "part of a query or key that is rotated, beside a latent"),
        Fact("v_head", "size", "width of a head's values, beside a latent"),
        Fact("joined", "size", "width of an embedding beside the residual stream"),
        Fact("position", "size", "rows of a table of learned positions"),
        Fact("mtp", "trait", "layers behind the last that predict further tokens in training", 0),
        Fact("attention", "trait", "how queries, keys and values come from the residual stream", "direct"),
        Fact("router.used", "trait", "routed experts that a token passes through", None),
        Fact("router.scores", "trait", "what makes the router's logits scores", None),
        Fact("router.renormalised", "trait", "scores of the chosen experts are divided by their sum", None),
        Fact("router.scale", "trait", "factor on the routed experts' part", None),
        Fact("router.choice", "trait", "how experts are chosen by their scores", None),
        Fact("router.groups", "trait", "groups that experts are chosen from", None),
        Fact("router.groups_used", "trait", "groups that a token's experts may be of", None),
        Fact("router.input", "trait", "scores scale what experts get, not what they give", False),
        Fact("shared.gated", "trait", "a gate on the expert that every token passes through", False),
        Fact("layers.moe", "trait", "layers whose MLP is a mixture of experts", ()),
        Fact("norm.eps", "trait", "added to the mean square inside each norm", 1e-6),
        Fact("norm.kind", "trait", "how the residual stream is normalised", "rms"),
        Fact("norm.offset", "trait", "added to each stored norm weight", 0.0),
        Fact("activation", "trait", "the function inside the MLP", "silu"),
        Fact("mlp.gated", "trait", "a gate beside up in the MLP", True),
        Fact("positions", "trait", "how a token knows where it is", "rope"),
        Fact("rope.theta", "trait", "base of the rotary frequencies", 10000.0),
        Fact("rope.scaling", "trait", "change of the rotary frequencies, as transformers names it", None),
        Fact("rope.share", "trait", "share of each head that is rotated", 1.0),
        Fact("bias.qkv", "trait", "biases on queries, keys and values", False),
        Fact("bias.o", "trait", "bias on the attention output", False),
        Fact("bias.mlp", "trait", "biases in the MLP", False),
        Fact("bias.norm", "trait", "biases in the norms of the residual stream", False),
        Fact("tied", "trait", "the output projection is the embedding", False),
        Fact("head.unit_rows", "trait", "rows of the output projection are normalised at run time", False),
        Fact("norm.qk", "trait", "how queries and keys are normalised, each by itself, before they meet", None),
        Fact("residual.depth", "trait", "factor on each branch, times the root of the number of layers", None),
        Fact("residual.normed", "trait", "factor on the normed input that a branch is added to, not the stream", None),
        Fact("logits.base", "trait", "factor on the logits, times hidden", None),
        Fact("prefix", "trait", "tokens before the answer see each other both ways", False),
        Fact("embed.scale", "trait", "what embeddings are multiplied by: a number, or the root of hidden", 1.0),
        Fact("norm.after", "trait", "norms behind attention and MLP too, before the residual stream", False),
        Fact("block.parallel", "trait", "the MLP reads what attention reads, not what it writes", False),
        Fact("scores.width", "trait", "what the root of divides the scores, where it is not the width of a head", None),
        Fact("scores.cap", "trait", "soft limit of the attention scores, by tanh", None),
        Fact("logits.cap", "trait", "soft limit of the logits, by tanh", None),
        Fact("window", "trait", "how far back attention looks, in tokens", None),
        Fact("window.chunk", "trait", "length of the chunks that attention stays in, where it rotates", None),
        Fact("rope.none", "trait", "layers that rotate nothing, where others do", ()),
        Fact("scores.tuning", "trait", "(floor, scale) of how queries grow along the text where nothing rotates", None),
        Fact("window.full", "trait", "layers that look back without limit, where others have a window", ()),
        Fact("context", "passive", "longest sequence, in tokens"),
        Fact("token.bos", "passive", "id that begins a text"),
        Fact("token.eos", "passive", "id or ids that end a text"),
        Fact("token.pad", "passive", "id that fills a batch"),
        Fact("token.mask", "passive", "id of a gap to be filled"),
        Fact("token.gmask", "passive", "id of a gap at the end, to be filled with all that follows"),
        Fact("init.range", "passive", "standard deviation of fresh weights", 0.02),
        Fact("attention.dropout", "passive", "dropout in training", 0.0),
    )
}


@dataclass(frozen=True)
class Facts(Mapping[str, Any]):
    """Known facts with where each came from; a missing one has its neutral value."""

    values_: Mapping[str, Any] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.values_[name] if name in self.values_ else FACTS[name].neutral

    def __iter__(self) -> Iterator[str]:
        return iter(FACTS)

    def __len__(self) -> int:
        return len(FACTS)

    def knows(self, name: str) -> bool:
        return self.values_.get(name) is not None

    def with_(self, changes: Mapping[str, Any], origin: str) -> Facts:
        """The same facts but for ``changes``, which remember their ``origin``."""
        if unknown := [name for name in changes if name not in FACTS]:
            raise KeyError(f"no such fact: {unknown}")
        return Facts({**self.values_, **changes}, {**self.origins, **dict.fromkeys(changes, origin)})

    def run(self, index: str, which: str = "") -> Sequence[int]:
        """The values that an index takes; of layers also the sets that files name differently.

        ``moe`` have experts and ``dense`` have none; ``mtp`` are those behind the last that predict more tokens in
        training, ``all`` every layer with them.
        """
        count = self[index]
        runs: dict[str, Sequence[int]] = {"": range(count)}
        if index == "layer":
            every = range(count + self["mtp"])
            experts = [layer for layer in self["layers.moe"] if layer in every]
            dense = [layer for layer in every if layer not in experts]
            runs |= {"all": every, "mtp": every[count:], "moe": experts, "dense": dense}
        return runs[which]

    def sizes(self) -> dict[str, int]:
        """The lengths of all axes that the facts determine."""
        known = {name: self[name] for name, fact in FACTS.items() if fact.kind == "size" and self.knows(name)}
        sizes: dict[str, int] = {**known, "two": 2}
        if {"heads", "kv"} <= known.keys() and known["kv"]:
            sizes["group"] = known["heads"] // known["kv"]
        if "head" in known:
            pair = (self.rotated + 1) // 2  # an odd one is rotated with its neighbour
            sizes |= {"pair": pair, "half": known["head"] // 2 - pair}
        return sizes

    @property
    def rotated(self) -> int:
        """Elements of a head that the frequencies are spread over: cut, as transformers' modeling_rope_utils.py (5.23) 181."""
        return int(self["head"] * self["rope.share"])
