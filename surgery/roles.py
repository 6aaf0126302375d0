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

#: every role, by its name with the indices open
ROLES: dict[str, Role] = {
    role.name: role
    for role in (
        _role("embed", "vocab | hidden", "token embeddings"),
        _role("positions", "position | hidden", "what is added to the embeddings for each position, where that is learned"),
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
    )
}


@cache
def role(template: str) -> Role:
    """The role of a template; ``.bias`` stands for the bias of a weight, over the axes it shares.

    >>> role("layer.{layer}.k.bias").axes
    ('kv', 'two', 'pair')
    """
    weight, dot, kind = template.rpartition(".")
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
