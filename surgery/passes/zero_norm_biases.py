"""Zero biases of norms: a LayerNorm without a bias is one whose bias is zero."""

from __future__ import annotations

from surgery.model import Model
from surgery.passes.pass_ import Pass
from surgery.values import Exactness, zeros

NORMS = ("layer.{layer}.attention_norm", "layer.{layer}.mlp_norm", "norm")


def zero_norm_biases(model: Model) -> Model:
    """The model whose norms all have a bias; those that had none get zeros."""
    if model.facts["bias.norm"]:
        return model
    names = [template.format(layer=layer) for template in NORMS for layer in range(model.sizes["layer"])]
    weights = {name: model.tensors[name] for name in names if name in model.tensors}
    biases = {f"{name}.bias": zeros(weight.axes, weight.shape, weight.dtype) for name, weight in weights.items()}
    return model.using(biases).having("zero biases written", bias__norm=True)


ZERO_NORM_BIASES = Pass(
    name="zero-norm-biases",
    mends=("bias.norm",),
    says="biases of norms that the target has and the source lacks are written as zeros",
    exactness=Exactness.BYTE,
    apply=lambda model, refused: zero_norm_biases(model),
    introduces=("bias.norm",),
)
