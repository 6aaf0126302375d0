"""Dynamic rope scaling grows the base of the frequencies for texts beyond the context; up to it, it does nothing.

Such a model is made to be used beyond its context, so that leaving the scaling out costs what a window does.
"""

from __future__ import annotations

from surgery.model import Model
from surgery.passes.limit_context import LIMIT_CONTEXT
from surgery.passes.pass_ import Pass
from surgery.values import Exactness


def drop_dynamic_scaling(model: Model) -> Model:
    """The model without dynamic rope scaling, the same up to its context; another scaling is left as it is.

    The base is multiplied by a power of (factor * n / context - factor + 1), which is 1 at n = context and is taken
    there for every shorter text (transformers 5.23 modeling_rope_utils.py, dynamic).
    """
    scaling = dict(model.facts["rope.scaling"] or ())
    if scaling.get("rope_type") != "dynamic" or model.facts["context"] is None:
        return model
    return model.having("dynamic scaling, idle up to the context, dropped", rope__scaling=None)


DROP_DYNAMIC_SCALING = Pass(
    name="drop-dynamic-scaling",
    mends=("rope.scaling",),
    says="dynamic rope scaling, which does nothing up to the context, is left out",
    exactness=Exactness.BYTE,
    apply=lambda model, refused: drop_dynamic_scaling(model),
    asked=True,
    consent=LIMIT_CONTEXT.name,
    costs="longer texts, for which the source changes its frequencies, are given up",
    up_to_context=True,
)
