"""Rope as some families spell it, brought to the hub's (theta, scaling) with everything implied said aloud."""

from __future__ import annotations

from collections.abc import Mapping
from math import log, sqrt
from typing import Any

from mappings.via import ROPE, Inexpressible, Unreadable, Values, Via, thawed
from surgery.errors import show
from surgery.passes.partial_rotary import FILLER

Scaling = tuple[tuple[str, Any], ...] | None


def _glm_read(facts: tuple[str, ...], values: Values) -> dict[str, Any]:
    return ROPE.read(facts, {key: _without_share(value) for key, value in values.items()})


def _without_share(value: Any) -> Any:
    """A rope table without the part of a head that it turns, unless that is what its type is about."""
    if not isinstance(value, Mapping) or "proportional" in (value.get("rope_type"), value.get("type")):
        return value
    return {key: inner for key, inner in value.items() if key != "partial_rotary_factor"}


def _glm_write(keys: tuple[str, ...], facts: Values) -> dict[str, Any]:
    table = dict(facts["rope.scaling"] or ())
    factors = table.get("short_factor", ())
    if table.get("rope_type") == "proportional" or max(factors, default=0.0) >= FILLER:
        raise Inexpressible("what of a head stands still is said by partial_rotary_factor", "rope.scaling")
    return ROPE.write(keys, facts)


#: where a part of each head is rotated, so that nobody need say it with frequencies of zero
GLM_ROPE = Via("rope over a part of each head", _glm_read, _glm_write)


def _rotary_read(facts: tuple[str, ...], values: Values) -> dict[str, Any]:
    """InternLM: {"base": theta, "type": "origin"} or "dynamic" with a scaling_factor of 1.0 unless given."""
    theta, scaling = facts
    ((key, rotary),) = values.items()
    if not isinstance(rotary, Mapping) or rotary.get("type") not in ("origin", "dynamic"):
        raise Unreadable(f"{key} = {show(rotary)} is not a table whose type is origin or dynamic")
    dynamic = (("rope_type", "dynamic"), ("factor", float(rotary.get("scaling_factor") or 1.0)))
    return {theta: float(rotary.get("base", 10000)), scaling: dynamic if rotary["type"] == "dynamic" else None}


def _rotary_write(keys: tuple[str, ...], facts: Values) -> dict[str, Any]:
    theta, scaling = facts.values()
    if scaling is None:
        return {keys[0]: {"base": theta, "type": "origin"}}
    table = dict(scaling)
    if set(table) != {"rope_type", "factor"} or table["rope_type"] != "dynamic":
        raise Inexpressible("rotary is of type origin or dynamic", "rope.scaling")
    return {keys[0]: {"base": theta, "type": "dynamic", "scaling_factor": table["factor"]}}


#: internlm-7b modeling_internlm.py 307-323
ROTARY = Via("rotary", _rotary_read, _rotary_write)


def _phi_read(facts: tuple[str, ...], values: Values) -> dict[str, Any]:
    """Phi-3: the lengths of longrope stand beside the table, and their ratio is its factor."""
    theta, scaling, context = facts
    length, original = values["max_position_embeddings"], values["original_max_position_embeddings"]
    tables = {key: _phi_table(key, value, length, original) for key, value in values.items() if key in _TABLES}
    stated = {context: length}
    return stated | ROPE.read((theta, scaling), {k: v for k, v in values.items() if k == "rope_theta"} | tables)


_TABLES = ("rope_scaling", "rope_parameters")


def _phi_table(key: str, value: Any, length: int, original: int) -> Any:
    if not isinstance(value, Mapping):
        return value
    table = {k: v for k, v in value.items() if k not in ("type", "partial_rotary_factor")}
    kind = value.get("rope_type") or value.get("type") or "default"
    if kind == "default":
        return {**table, "rope_type": "default"}
    if kind not in ("longrope", "su"):
        raise Unreadable(f"{key} is of type {show(kind)}; Phi-3 has longrope (once called su) or none")
    table |= {"rope_type": "longrope", "original_max_position_embeddings": original}
    table["factor"] = float(table.get("factor") or length / original)
    if table.get("attention_factor") is None:
        table["attention_factor"] = implied_attention_factor(table["factor"], original)
    return table


def implied_attention_factor(factor: float, original: int) -> float:
    """What longrope multiplies cos and sin by when nobody says: transformers modeling_rope_utils.py (5.23) 563-568."""
    return 1.0 if factor <= 1.0 else sqrt(1 + log(factor) / log(original))


def _phi_write(keys: tuple[str, ...], facts: Values) -> dict[str, Any]:
    theta, scaling, context = facts.values()
    config = {"max_position_embeddings": context}
    if scaling is None:
        return config | ROPE.write(keys, {"theta": theta, "scaling": None})
    table = thawed(scaling)
    assert table is not None
    original = int(table.get("original_max_position_embeddings") or context)
    factor = table.get("factor") or context / original
    if table["rope_type"] != "longrope":
        raise Inexpressible("the only scaling is longrope", "rope.scaling")
    if factor != context / original:
        lengths = f"{context} / {original}"
        raise Inexpressible(f"the factor of longrope is the ratio of the two lengths, {lengths}", "rope.scaling")
    implied = implied_attention_factor(factor, original)
    if abs((table.get("attention_factor") or implied) - implied) > 1e-12:
        reason = f"the attention factor of longrope is {implied}, which follows from the two lengths"
        raise Inexpressible(reason, "rope.scaling")
    kept = {"rope_type": "longrope", "short_factor": table["short_factor"], "long_factor": table["long_factor"]}
    told = kept | {"original_max_position_embeddings": original, "rope_theta": theta}
    old = {"type": "longrope", "short_factor": table["short_factor"], "long_factor": table["long_factor"]}
    return config | {
        "original_max_position_embeddings": original,
        "rope_theta": theta,
        "rope_scaling": old,
        "rope_parameters": told,
    }


#: transformers models/phi3/configuration_phi3.py (5.23) convert_rope_params_to_dict, modeling_rope_utils.py 487-578
PHI_ROPE = Via("rope with longrope's lengths beside it", _phi_read, _phi_write)
