"""Residual gauge: the whole stream in another unit, so that embeddings keep their bytes and a tie survives.

RMSNorm undoes any factor on the stream but for its epsilon. So instead of multiplying embeddings by ``s``, everything
else that writes to the stream is divided by ``s`` and the epsilon by ``s * s``; the factor on logits goes into the
final norm.
"""

from __future__ import annotations

from surgery.model import Model
from surgery.passes.pass_ import Pass
from surgery.passes.scales import (
    BRANCHES,
    FOLD,
    ROOT,
    SCALES,
    branch_factor,
    embedding_factor,
    logits_factor,
    plain_branches,
)
from surgery.values import Exactness, scaled, shifted


def gauge_scales(model: Model, which: frozenset[str] = frozenset(SCALES), embed_scale: float | str = 1.0) -> Model:
    """The model without the scales of ``which``, whose embeddings and output projection are the very tensors they were.

    ``embed_scale`` is what is left on embeddings. A model whose branches end in a norm or in experts is returned as it
    is.
    """
    wanted = {"embed.scale": embed_scale, "residual.depth": None, "logits.base": None}
    left = model.having("scales gauged", **{n.replace(".", "__"): v for n, v in wanted.items() if n in which})
    unit = embedding_factor(left.facts) / embedding_factor(model.facts)  # of the new stream, in old ones
    branch = unit * branch_factor(model.facts) / branch_factor(left.facts)
    logits = logits_factor(model.facts) / logits_factor(left.facts)
    if not plain_branches(model.facts):
        return model
    for name in BRANCHES:
        left = left.mapped(name, lambda weight: scaled(weight, branch))
    offset = model.facts["norm.offset"]
    left = left.mapped("norm", lambda weight: shifted(scaled(shifted(weight, offset), logits), -offset))
    left = left.mapped("norm.bias", lambda bias: scaled(bias, logits))
    return left.having("scales gauged", norm__eps=model.facts["norm.eps"] * unit**2) if unit != 1.0 else left


GAUGE = Pass(
    name="gauge",
    mends=SCALES,
    says="the residual stream gets another unit, and epsilon too, so that embeddings keep their bytes and a tie",
    exactness=Exactness.ALGEBRAIC,
    apply=gauge_scales,
    otherwise=lambda model, refused: gauge_scales(model, refused, ROOT),
    introduces=("norm.eps",),
    instead_of=FOLD.name,
)
