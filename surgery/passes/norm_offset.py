"""Norm offset: Gemma stores norm weights minus one and adds the one at run time; here it moves into the weights."""

from __future__ import annotations

from surgery.model import Model
from surgery.passes.pass_ import Pass
from surgery.values import Exactness, shifted

_LAYER = "layer.{layer}."
#: the norms of the residual stream, which is all that the fact is about
NORMS = ("norm", *(_LAYER + name for name in ("attention_norm", "mlp_norm", "attention_norm_after", "mlp_norm_after")))


def shift_norms(model: Model, offset: float = 0.0) -> Model:
    """The model that adds ``offset`` to its stored norm weights at run time, with the weights changed to suit."""
    moved = model.facts["norm.offset"] - offset
    if moved == 0.0:
        return model
    changed = model
    for name in NORMS:
        changed = changed.mapped(name, lambda weight: shifted(weight, moved))
    return changed.having("norm offset moved into the weights", norm__offset=offset)


NORM_OFFSET = Pass(
    name="norm-offset",
    mends=("norm.offset",),
    says="the one that Gemma adds to each norm weight is moved between code and weights (1 + weight)",
    exactness=Exactness.ALGEBRAIC,
    apply=lambda model, refused: shift_norms(model, 0.0 if model.facts["norm.offset"] else 1.0),
    wants="F32",
    why_wants="1 + weight has more digits than a half-precision norm weight can hold",
)
