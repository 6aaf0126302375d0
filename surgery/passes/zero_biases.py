"""Zero biases: where a target has biases that the model lacks, they are written as zeros."""

from __future__ import annotations

from surgery.model import Model
from surgery.passes.pass_ import Pass
from surgery.roles import role
from surgery.values import Exactness, Expr, zeros

_LAYER = "layer.{layer}."
#: which weights each bias fact is about
BIASED = {
    "bias.qkv": ("q", "q_still", "k", "k_still", "v"),
    "bias.o": ("o",),
    "bias.mlp": ("gate", "up", "down"),
}


def zero_biases(model: Model, which: frozenset[str]) -> Model:
    """The model with biases of zero wherever a fact of ``which`` says there were none."""
    sizes = model.sizes
    filled: dict[str, Expr] = {}
    lacking = [fact for fact in BIASED if fact in which and not model.facts[fact]]
    for fact in lacking:
        for layer in range(sizes["layer"]):
            for name in BIASED[fact]:
                weight = model.tensors.get(f"{_LAYER}{name}".format(layer=layer))
                if weight is not None:
                    bias = role(f"{_LAYER}{name}.bias")
                    shape = tuple(sizes[axis] for axis in bias.axes)
                    filled[bias.name.format(layer=layer)] = zeros(bias.axes, shape, weight.dtype)
    changed = {fact.replace(".", "__"): True for fact in lacking}
    return model.using(filled).having("zero biases written", **changed)


ZERO_BIASES = Pass(
    name="zero-biases",
    mends=tuple(BIASED),
    says="biases that the target has and the source lacks are written as zeros",
    exactness=Exactness.BYTE,
    apply=zero_biases,
    introduces=tuple(BIASED),
)
