"""NormHead: Baichuan 2 divides each row of its head by the row's norm at run time; here it is done once, in the weights."""

from __future__ import annotations

from surgery.model import Model
from surgery.passes.pass_ import Pass
from surgery.passes.untie import untie
from surgery.values import Exactness, unit_rows


def bake_norm_head(model: Model) -> Model:
    """The model whose head holds unit rows (float32 norm, one rounding) and is not normalised again."""
    if not model.facts["head.unit_rows"]:
        return model
    free = untie(model)  # normalising a shared tensor would change the embeddings
    return free.mapped("head", lambda head: unit_rows(head, "hidden")).having("NormHead baked", head__unit_rows=False)


BAKE_NORM_HEAD = Pass(
    name="bake-norm-head",
    mends=("head.unit_rows",),
    says="each row of lm_head is divided by its L2 norm in float32 and rounded once (NormHead)",
    exactness=Exactness.ALGEBRAIC,
    apply=lambda model, refused: bake_norm_head(model),
)
