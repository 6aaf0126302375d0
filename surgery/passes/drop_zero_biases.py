"""Drop zero biases: what a target has no room for need not be written when it is nothing but zeros."""

from __future__ import annotations

from surgery.model import Model
from surgery.passes.pass_ import Pass
from surgery.passes.zero_biases import BIASED
from surgery.values import Exactness, Expr, Moved


def drop_zero_biases(model: Model, which: frozenset[str]) -> Model:
    """The model without the biases of each fact of ``which`` whose tensors are all known to be zeros."""
    for fact, names in BIASED.items():
        roles = [f"layer.{layer}.{name}.bias" for layer in range(model.sizes["layer"]) for name in names]
        held = {name: model.tensors[name] for name in roles if name in model.tensors}
        if fact in which and model.facts[fact] and held and all(map(is_zero, held.values())):
            off = {fact.replace(".", "__"): False}
            model = model.using(dict.fromkeys(held)).having("biases of zero dropped", **off)
    return model


def is_zero(expr: Expr) -> bool:
    """Whether an expression is known to be zeros without reading anything."""
    return isinstance(expr, Moved) and all(piece.source is None for piece in expr.pieces)


DROP_ZERO_BIASES = Pass(
    name="drop-zero-biases",
    mends=tuple(BIASED),
    says="biases that are all zeros are left out",
    exactness=Exactness.BYTE,
    apply=drop_zero_biases,
)
