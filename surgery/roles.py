"""The hub: every canonical tensor, with named axes and one sentence.

Only queries and keys split a head into ``two pair``, the two halves that rope rotates against each other; what of a head
is not rotated lies beside it as ``two half`` in a role of its own. Values and outputs say ``head``. Whatever order a
family stores these axes in is its layout's business, never a role's.
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class Role:
    """A canonical tensor: its axes (those a bias shares, then those it is multiplied over) and what it is."""

    name: str
    out: tuple[str, ...]
    over: tuple[str, ...]
    meaning: str

    @property
    def axes(self) -> tuple[str, ...]:
        return self.out + self.over


def _role(name: str, axes: str, meaning: str) -> Role:
    out, _, over = axes.partition("|")
    return Role(name, tuple(out.split()), tuple(over.split()), meaning)


_LAYER = "layer.{layer}."
_EXPERT = _LAYER + "expert.{expert}."

#: every role, by its name with the indices open
ROLES: dict[str, Role] = {
    role.name: role
    for role in (
        _role("embed", "vocab | hidden", "token embeddings"),
        _role("positions", "position | hidden", "what is added to the embeddings at each position"),
        _role("head", "vocab | hidden", "output projection; absent when tied to the embeddings"),
        _role("norm", "hidden", "final norm"),
        _role(_LAYER + "attention_norm", "hidden", "norm before attention"),
        _role(_LAYER + "mlp_norm", "hidden", "norm before the MLP"),
        _role(_LAYER + "q", "kv group two pair | hidden", "queries, rotated part"),
        _role(_LAYER + "q_still", "kv group two half | hidden", "queries, part without position"),
        _role(_LAYER + "k", "kv two pair | hidden", "keys, rotated part"),
        _role(_LAYER + "k_still", "kv two half | hidden", "keys, part without position"),
        _role(_LAYER + "v", "kv head | hidden", "values"),
        _role(_LAYER + "o", "hidden | kv group head", "attention output"),
        _role(_LAYER + "q_norm", "two pair", "norm that all query heads share, rotated part"),
        _role(_LAYER + "q_norm_still", "two half", "norm that all query heads share, part without position"),
        _role(_LAYER + "k_norm", "two pair", "norm that all key heads share, rotated part"),
        _role(_LAYER + "k_norm_still", "two half", "norm that all key heads share, part without position"),
        _role(_LAYER + "query.{heads}.norm", "two pair", "norm of one query head, rotated part"),
        _role(_LAYER + "query.{heads}.norm_still", "two half", "norm of one query head, part without position"),
        _role(_LAYER + "key.{kv}.norm", "two pair", "norm of one key head, rotated part"),
        _role(_LAYER + "key.{kv}.norm_still", "two half", "norm of one key head, part without position"),
        _role(_LAYER + "attention_norm_after", "hidden", "norm behind attention"),
        _role(_LAYER + "mlp_norm_after", "hidden", "norm behind the MLP"),
        _role(_LAYER + "gate", "ffn | hidden", "MLP gate, inside the activation"),
        _role(_LAYER + "up", "ffn | hidden", "MLP up"),
        _role(_LAYER + "down", "hidden | ffn", "MLP down"),
        _role(_LAYER + "router", "expert | hidden", "scores of the experts"),
        _role(_LAYER + "router_shift", "expert", "added to the scores where experts are chosen, and only there"),
        _role(_EXPERT + "gate", "expert_ffn | hidden", "gate of a routed expert"),
        _role(_EXPERT + "up", "expert_ffn | hidden", "up of a routed expert"),
        _role(_EXPERT + "down", "hidden | expert_ffn", "down of a routed expert"),
        _role(_LAYER + "shared.gate", "shared_ffn | hidden", "gate of the shared expert"),
        _role(_LAYER + "shared.up", "shared_ffn | hidden", "up of the shared expert"),
        _role(_LAYER + "shared.down", "hidden | shared_ffn", "down of the shared expert"),
        _role(_LAYER + "shared.share", "hidden", "how much of the shared expert a token gets"),
        _role(_LAYER + "latent.q", "latent_q | hidden", "latent that queries are made from"),
        _role(_LAYER + "latent.q_norm", "latent_q", "norm of it"),
        _role(_LAYER + "latent.q_still", "heads qk_still | latent_q", "queries from it, part without position"),
        _role(_LAYER + "latent.q_turned", "heads qk_turned | latent_q", "queries from it, rotated part"),
        _role(_LAYER + "latent.direct_still", "heads qk_still | hidden", "queries without it, part without position"),
        _role(_LAYER + "latent.direct_turned", "heads qk_turned | hidden", "queries without it, rotated part"),
        _role(_LAYER + "latent.kv", "latent_kv | hidden", "latent that keys and values are made from"),
        _role(_LAYER + "latent.kv_norm", "latent_kv", "norm of it"),
        _role(_LAYER + "latent.k_turned", "qk_turned | hidden", "the rotated part of keys, one for all heads"),
        _role(_LAYER + "latent.k_still", "heads qk_still | latent_kv", "keys from the latent, part without position"),
        _role(_LAYER + "latent.v", "heads v_head | latent_kv", "values from the latent"),
        _role(_LAYER + "latent.o", "hidden | heads v_head", "attention output, beside a latent"),
        _role(_LAYER + "mtp.embed", "vocab | hidden", "a copy of the embeddings"),
        _role(_LAYER + "mtp.embed_norm", "hidden", "norm of the next token's embedding"),
        _role(_LAYER + "mtp.stream_norm", "hidden", "norm of the residual stream"),
        _role(_LAYER + "mtp.join", "hidden | joined", "what makes one of the two, embedding first"),
        _role(_LAYER + "mtp.norm", "hidden", "norm before its output projection"),
        _role(_LAYER + "mtp.head", "vocab | hidden", "a copy of the output projection"),
    )
}


@cache
def role(template: str) -> Role:
    """The role of a template; ``.bias`` stands for the bias of a weight, over the axes it shares.

    >>> role("layer.{layer}.k.bias").axes
    ('kv', 'two', 'pair')
    """
    weight, _, kind = template.rpartition(".")
    if kind == "bias":
        base = ROLES[weight]
        return Role(template, base.out, (), f"bias of {base.meaning}")
    return ROLES[template]


@cache
def fields(template: str) -> tuple[str, ...]:
    """The open indices of a template.

    >>> fields("layer.{layer}.expert.{expert}.up")
    ('layer', 'expert')
    """
    return tuple(name for _, name, _, _ in string.Formatter().parse(template) if name)


#: what runs in float32 whatever the rest is stored as, and is published so
_FLOAT32 = (".router_shift",)


def stays_float32(name: str) -> bool:
    """Whether a role is kept in float32 where the others are cast to half precision.

    >>> stays_float32("layer.3.router_shift")
    True
    """
    return name.endswith(_FLOAT32)
