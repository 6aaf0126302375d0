"""Scales: factors on embeddings, on every branch and on logits, which Llama lacks, multiplied into the weights."""

from __future__ import annotations

from math import sqrt

from surgery.facts import Facts
from surgery.model import Model
from surgery.passes.pass_ import Pass
from surgery.passes.untie import untie
from surgery.values import Exactness, scaled

SCALES = ("embed.scale", "residual.depth", "logits.base")
ROOT = "root of hidden"
_LAYER = "layer.{layer}."
#: what writes to the residual stream
BRANCHES = tuple(_LAYER + name for name in ("o", "o.bias", "down", "down.bias"))


def embedding_factor(facts: Facts) -> float:
    """What embeddings are multiplied by. The root is that of a real number: bfloat16 runs of Gemma round it."""
    return sqrt(facts["hidden"]) if facts["embed.scale"] == ROOT else float(facts["embed.scale"])


def branch_factor(facts: Facts) -> float:
    """What attention and MLP are multiplied by before they join the stream."""
    return 1.0 if facts["residual.depth"] is None else float(facts["residual.depth"] / sqrt(facts["layer"]))


def logits_factor(facts: Facts) -> float:
    """What logits are multiplied by."""
    return 1.0 if facts["logits.base"] is None else float(facts["logits.base"] / facts["hidden"])


def plain_branches(facts: Facts) -> bool:
    """Whether what a branch writes is linear in ``BRANCHES``, and nothing else writes."""
    return not facts["norm.after"] and not facts["layers.moe"] and facts["attention"] == "direct"


def fold_scales(model: Model, which: frozenset[str] = frozenset(SCALES), embed_scale: float | str = 1.0) -> Model:
    """The model without the scales of ``which``, each multiplied into the matrix that it stands beside.

    Embeddings then differ from the output projection, so a tie ends. ``embed_scale`` is what is left on embeddings, for
    a target that has one. A model whose branches end in a norm or in experts is returned as it is where those would
    have to be scaled.
    """
    facts, left = model.facts, model.having("scales folded", **_neutral(which, embed_scale))
    embed = embedding_factor(facts) / embedding_factor(left.facts)
    branch = branch_factor(facts) / branch_factor(left.facts)
    logits = logits_factor(facts) / logits_factor(left.facts)
    if branch != 1.0 and not plain_branches(facts):
        return model
    if (embed, logits) != (1.0, 1.0):
        left = untie(left)
    left = left.mapped("embed", lambda weight: scaled(weight, embed))
    left = left.mapped("head", lambda weight: scaled(weight, logits))
    for name in BRANCHES:
        left = left.mapped(name, lambda weight: scaled(weight, branch))
    return left


def _neutral(which: frozenset[str], embed_scale: float | str) -> dict[str, object]:
    """Facts that say there is no scale, but for embeddings."""
    wanted = {"embed.scale": embed_scale, "residual.depth": None, "logits.base": None}
    return {name.replace(".", "__"): value for name, value in wanted.items() if name in which}


FOLD = Pass(
    name="fold",
    mends=SCALES,
    says="scales of embeddings, branches and logits are multiplied into the weights, so that a tie ends",
    exactness=Exactness.ALGEBRAIC,
    apply=fold_scales,
    otherwise=lambda model, refused: fold_scales(model, refused, ROOT),
)
