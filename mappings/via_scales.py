"""Scales that Llama lacks, as families spell them: each key brought to the hub's constants and back."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite, sqrt
from typing import Any

from mappings.via import Inexpressible, Unreadable, Values, Via
from surgery.errors import show


def _factor(key: str, value: Any) -> Any:
    """A positive number, as it is written: 12 stays 12."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or value <= 0:
        raise Unreadable(f"{key} = {show(value)} is not a positive number")
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
                raise Unreadable(f"{key} = {show(value)}, but only {' or '.join(map(repr, values))} is understood: {why}")
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


def _nearest(value: float, fits: Callable[[float], bool]) -> float:
    """The shortest number that means the same: roots and their squares leave a last digit behind."""
    return next((short for digits in range(1, 17) if fits(short := round(value, digits))), value)


def _branches_read(facts: tuple[str, ...], values: Values) -> dict[str, Any]:
    layer, depth = facts
    layers = values.get("num_hidden_layers")
    factor = _factor("residual_multiplier", values.get("residual_multiplier", 1))
    stated = {layer: layers} if layers is not None else {}
    if isinstance(layers, int) and layers > 0:
        stated[depth] = None if factor == 1 else factor * sqrt(layers)
    return stated


def _branches_write(keys: tuple[str, ...], facts: Values) -> dict[str, Any]:
    layers, depth = facts.values()
    factor = 1.0 if depth is None else _nearest(depth / sqrt(layers), lambda short: short * sqrt(layers) == depth)
    return {keys[0]: layers, keys[1]: factor}


#: Granite: branches times residual_multiplier
RESIDUAL_TIMES = Via("times the root of the number of layers", _branches_read, _branches_write)


def _width_over_read(facts: tuple[str, ...], values: Values) -> dict[str, Any]:
    hidden, base, embed = facts
    width, over = values.get("hidden_size"), _factor("logits_scaling", values.get("logits_scaling", 1))
    stated = {hidden: width} if width is not None else {}
    if isinstance(width, int) and width > 0:
        stated[base] = None if over == 1 else width / over
    return stated | {embed: _factor("embedding_multiplier", values.get("embedding_multiplier", 1.0))}


def _width_over_write(keys: tuple[str, ...], facts: Values) -> dict[str, Any]:
    hidden, base, embed = facts.values()
    over = 1.0 if base is None else _nearest(hidden / base, lambda short: short > 0 and hidden / short == base)
    return {keys[0]: hidden, keys[1]: over, keys[2]: embed if isinstance(embed, int | float) else sqrt(hidden)}


#: Granite: logits over logits_scaling, embeddings times embedding_multiplier
WIDTH_OVER = Via("hidden over logits_scaling", _width_over_read, _width_over_write)


def _scores_read(facts: tuple[str, ...], values: Values) -> dict[str, Any]:
    factor = _factor("attention_multiplier", values.get("attention_multiplier", 1.0))
    head = values["head_dim"] if "head_dim" in values else values["hidden_size"] // values["num_attention_heads"]
    return {facts[0]: head, facts[1]: None if factor == head**-0.5 else factor**-2}


def _scores_write(keys: tuple[str, ...], facts: Values) -> dict[str, Any]:
    head, width = facts.values()
    if head is None:
        raise Inexpressible(f"{keys[1]} follows from the width of a head, and these heads have several", "head")
    factor = head**-0.5 if width is None else _nearest(width**-0.5, lambda short: short > 0 and short**-2 == width)
    return {keys[0]: head, keys[1]: factor}


#: Granite: scores times attention_multiplier, where the root of a head's width is no scale
SCORES_TIMES = Via("over its square", _scores_read, _scores_write)
