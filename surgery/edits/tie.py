"""Untie and tie: whether the output projection is a tensor of its own or the embeddings."""

from __future__ import annotations

from collections.abc import Callable

from surgery.edits.edit import S, edited
from surgery.errors import ConversionError
from surgery.model import Applied, Model
from surgery.passes.untie import UNTIE
from surgery.passes.untie import untie as _untie
from surgery.values import Expr

#: what differs between two tensors, in words; empty where they are equal bit for bit
Differs = Callable[[Expr, Expr], str]


def untie(subject: S) -> S:
    """The model with an output projection of its own, a copy of the embeddings; an untied one is returned as it is."""
    return edited(subject, _untie, UNTIE.says, Applied("untie"))


def tie(subject: S, differs: Differs) -> S:
    """The model without an output projection of its own; a tied one is returned as it is.

    ``differs`` compares the tensors (this package reads none). ``ConversionError`` unless they are equal bit for bit.
    """

    def change(model: Model) -> Model:
        if model.facts["tied"]:
            return model
        embed, head = model.tensors["embed"], model.tensors["head"]
        if embed != head and (found := differs(embed, head)):
            raise ConversionError(
                f"the output projection is not the embeddings: {found}. Tying them would change what the model "
                "computes; a model that was trained with two tensors has to keep them."
            )
        return model.using({"head": None}).having("tied", tied=True)

    return edited(subject, change, "the output projection, equal to the embeddings bit for bit, is not written", Applied("tie"))
