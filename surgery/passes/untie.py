"""Untie: the output projection becomes a tensor of its own, a copy of the embeddings."""

from __future__ import annotations

from surgery.model import Model
from surgery.passes.pass_ import Pass
from surgery.values import Exactness


def untie(model: Model) -> Model:
    """The model with ``head`` as a tensor of its own; an untied model is returned as it is."""
    if not model.facts["tied"]:
        return model
    return model.using({"head": model.tensors.get("embed")}).having("untied", tied=False)


UNTIE = Pass(
    name="untie",
    mends=("tied",),
    says="the output projection is written as a copy of the embeddings",
    exactness=Exactness.BYTE,
    apply=lambda model, refused: untie(model),
)
