"""Scales that Llama lacks, as families spell them: each key brought to the hub's constants and back."""

from __future__ import annotations

from math import isfinite, sqrt
from typing import Any

from mappings.via import Inexpressible, Unreadable, Values, Via


def _factor(key: str, value: Any) -> Any:
    """A positive number, as it is written: 12 stays 12."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or value <= 0:
        raise Unreadable(f"{key} = {value!r} is not a positive number")
    return value


def _depth_read(facts: tuple[str, ...], values: Values) -> dict[str, Any]:
    layer, depth = facts
    layers = values.get("num_hidden_layers")
    stated = {layer: layers} if layers is not None else {}
    if "scale_depth" in values:
        scale = _factor("scale_depth", values["scale_depth"])
        stated[depth] = None if isinstance(layers, int) and layers > 0 and scale == sqrt(layers) else scale
    return stated


def _depth_write(keys: tuple[str, ...], facts: Values) -> dict[str, Any]:
    layers, depth = facts.values()
    return {keys[0]: layers, keys[1]: sqrt(layers) if depth is None else depth}


#: MiniCPM: branches times scale_depth over the root of the number of layers, so that this root stands for no scale
DEPTH = Via("over the root of the number of layers", _depth_read, _depth_write)


def _width_read(facts: tuple[str, ...], values: Values) -> dict[str, Any]:
    hidden, base, embed = facts
    width = values.get("hidden_size")
    stated = {hidden: width} if width is not None else {}
    if "dim_model_base" in values:
        found = _factor("dim_model_base", values["dim_model_base"])
        stated[base] = None if found == width else found
    if "scale_emb" in values:
        stated[embed] = _factor("scale_emb", values["scale_emb"])
    return stated


def _width_write(keys: tuple[str, ...], facts: Values) -> dict[str, Any]:
    hidden, base, embed = facts.values()
    scale = embed if isinstance(embed, int | float) else sqrt(hidden)
    return {keys[0]: hidden, keys[1]: hidden if base is None else base, keys[2]: scale}


#: MiniCPM: logits over hidden_size / dim_model_base, so that hidden_size is no scale; embeddings times scale_emb
WIDTH = Via("over the width it was tuned at", _width_read, _width_write)


def one_of(*values: Any, why: str) -> Via:
    """The keys state no fact; each must have one of the values, the first of which is written, and ``why`` says so."""

    def read(facts: tuple[str, ...], found: Values) -> dict[str, Any]:
        for key, value in found.items():
            if value not in values:
                raise Unreadable(f"{key} = {value!r}, but only {' or '.join(map(repr, values))} is understood: {why}")
        return {}

    return Via(f"one of {', '.join(map(repr, values))}", read, lambda keys, facts: dict.fromkeys(keys, values[0]))


def times(unit: float) -> Via:
    """The key holds the fact as a multiple of ``unit``."""

    def read(facts: tuple[str, ...], values: Values) -> dict[str, Any]:
        ((key, value),) = values.items()
        return {facts[0]: unit * _factor(key, value)}

    def write(keys: tuple[str, ...], facts: Values) -> dict[str, Any]:
        (value,) = facts.values()
        ratio = value / unit
        if unit * ratio != value:
            raise Inexpressible(f"{keys[0]} is a multiple of {unit:g}, and none gives {value!r} exactly")
        return {keys[0]: int(ratio) if ratio == int(ratio) else ratio}

    return Via(f"times {unit:g}", read, write)
