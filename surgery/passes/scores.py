"""Scores over another root than that of a head's width: the ratio is multiplied into the queries."""

from __future__ import annotations

from math import sqrt

from surgery.model import Model
from surgery.passes.pass_ import Pass
from surgery.values import Exactness, scaled

#: what queries are made by, up to where they meet the keys; rotation keeps factors
QUERIES = tuple(f"layer.{{layer}}.{name}" for name in ("q", "q_still", "q.bias", "q_still.bias"))


def scale_queries(model: Model) -> Model:
    """The model whose scores are divided by the root of a head's width.

    Returned as it is where queries are normalised by themselves, which would undo the factor, or come from a latent.
    """
    facts = model.facts
    if facts["scores.width"] is None or facts["norm.qk"] is not None or facts["attention"] != "direct":
        return model
    factor = sqrt(facts["head"] / facts["scores.width"])
    for name in QUERIES:
        model = model.mapped(name, lambda weight: scaled(weight, factor))
    return model.having("scores scaled in the queries", scores__width=None)


SCALE_QUERIES = Pass(
    name="scale-queries",
    mends=("scores.width",),
    says="the factor on attention scores is multiplied into the queries",
    exactness=Exactness.ALGEBRAIC,
    apply=lambda model, refused: scale_queries(model),
)
