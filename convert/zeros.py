"""Biases that are nothing but zeros: found by reading them, and only where a target has no room for them."""

from __future__ import annotations

from collections.abc import Collection

from convert.checkpoint import Checkpoint, open_sources
from convert.checkpoint.reading import read_tensor
from surgery.model import Model
from surgery.passes.zero_biases import BIASED
from surgery.values import sources, zeros


def with_known_zeros(checkpoint: Checkpoint, model: Model, facts: Collection[str]) -> Model:
    """The model in which those biases of ``facts`` that are stored as zeros are known to be zeros.

    Every byte must be zero: a negative zero would not come back from the inverse. A tensor that is not of the
    checkpoint (an edit put it there) is not looked at.
    """
    roles = [
        f"layer.{layer}.{name}.bias"
        for fact, names in BIASED.items()
        if fact in facts and model.facts[fact]
        for layer in range(model.sizes["layer"])
        for name in names
    ]
    read = {role: sources(model.tensors[role]) for role in roles if role in model.tensors}
    stored = {name for names in read.values() for name in names if name in checkpoint.tensors}
    if not stored:
        return model
    with open_sources(checkpoint) as files:
        idle = {name for name in stored if not any(read_tensor(files, checkpoint.tensors[name]))}
    known = {role: model.tensors[role] for role, names in read.items() if names and names <= idle}
    return model.using({role: zeros(expr.axes, expr.shape, expr.dtype) for role, expr in known.items()})
