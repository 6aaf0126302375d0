"""Dropping the layers that only predict further tokens: training made them, plain decoding never runs them."""

from __future__ import annotations

from dataclasses import replace

from surgery.edits.edit import S, edited
from surgery.model import Model


def drop_mtp(subject: S) -> S:
    """The model without its MTP layers; one that has none is returned as it is."""
    return edited(subject, _drop, "the layers that predict further tokens (MTP) are dropped")


def _drop(model: Model) -> Model:
    if not model.facts["mtp"]:
        return model
    beginnings = tuple(f"layer.{layer}." for layer in model.facts.run("layer", "mtp"))
    kept = {name: expr for name, expr in model.tensors.items() if not name.startswith(beginnings)}
    experts = tuple(layer for layer in model.facts["layers.moe"] if layer < model.facts["layer"])
    return replace(model, tensors=kept).having("MTP dropped", mtp=0, layers__moe=experts)
