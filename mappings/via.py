"""Named conversions between config values and facts, each with its inverse, defined and tested once.

``read(facts, values)`` gets the config keys that are present and not null and returns the facts they state;
``write(facts, keys, values)`` gets the facts and returns the keys. ``Inexpressible`` says why a key cannot state a fact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Values = Mapping[str, Any]


class Inexpressible(ValueError):
    """The config has no way to say this; the message is the reason."""


class Unreadable(ValueError):
    """The config says something that the family does not allow; the message names the key and the reason."""


@dataclass(frozen=True)
class Via:
    """A pair of inverse functions under a name that ``explain`` can print."""

    name: str
    read: Callable[[tuple[str, ...], Values], dict[str, Any]]
    write: Callable[[tuple[str, ...], Values], dict[str, Any]]

    def __repr__(self) -> str:
        return self.name


def _same_read(facts: tuple[str, ...], values: Values) -> dict[str, Any]:
    return {fact: value for fact in facts for value in values.values()}


def _same_write(keys: tuple[str, ...], facts: Values) -> dict[str, Any]:
    stated = list(facts.values())
    if any(value != stated[0] for value in stated):
        told = ", ".join(f"{name} = {value}" for name, value in facts.items())
        raise Inexpressible(f"one key, {keys[0]}, states all of them at once ({told})")
    return dict.fromkeys(keys, stated[0])


#: the key's value is the fact's; one key may state several facts that must agree
SAME = Via("same", _same_read, _same_write)


def _halved_read(facts: tuple[str, ...], values: Values) -> dict[str, Any]:
    ((key, value),) = values.items()
    if value % 2:
        raise Unreadable(f"{key} = {value} is odd, but twice the width of the MLP")
    return {facts[0]: value // 2}


#: the key holds twice the fact
HALVED = Via("half of", _halved_read, lambda keys, facts: {keys[0]: 2 * next(iter(facts.values()))})

#: different spellings of one function; the first is the hub's
ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}
_WRITTEN = {"silu": "silu", "gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh", "relu": "relu"}


def _activation_read(facts: tuple[str, ...], values: Values) -> dict[str, Any]:
    ((key, value),) = values.items()
    if value not in ACTIVATIONS:
        raise Unreadable(f"{key} = {value!r} is an activation that we do not know")
    return {facts[0]: ACTIVATIONS[value]}


ACTIVATION = Via(
    "activation name", _activation_read, lambda keys, facts: {keys[0]: _WRITTEN[next(iter(facts.values()))]}
)

_TYPE_KEYS = ("rope_type", "type")


def _frozen_scaling(scaling: Any, where: str) -> tuple[tuple[str, Any], ...] | None:
    """A rope scaling as sorted pairs, with one ``rope_type``; None for no scaling."""
    if not isinstance(scaling, Mapping):
        raise Unreadable(f"{where} is {scaling!r}, not a table")
    kinds = {scaling[key] for key in _TYPE_KEYS if scaling.get(key)}
    if len(kinds) > 1:
        raise Unreadable(f"{where} names two types of scaling, {sorted(kinds)}")
    kind = kinds.pop() if kinds else "default"
    kept = {k: v for k, v in scaling.items() if k not in (*_TYPE_KEYS, "rope_theta")}
    if kind == "default":
        return None
    pairs = ((k, tuple(v) if isinstance(v, list) else v) for k, v in kept.items())
    return (("rope_type", kind), *sorted(pairs))


def _rope_read(facts: tuple[str, ...], values: Values) -> dict[str, Any]:
    """Facts (theta, scaling) from the old keys, transformers 5's ``rope_parameters``, or both where they agree."""
    theta, scaling = facts
    stated: dict[str, Any] = {}
    if "rope_theta" in values:
        stated[theta] = float(values["rope_theta"])
    if "rope_scaling" in values:
        stated[scaling] = _frozen_scaling(values["rope_scaling"], "rope_scaling")
        if "rope_theta" in values["rope_scaling"]:
            _agree(stated, theta, float(values["rope_scaling"]["rope_theta"]))
    if "rope_parameters" in values:
        new = values["rope_parameters"]
        _agree(stated, scaling, _frozen_scaling(new, "rope_parameters"))
        if "rope_theta" in new:
            _agree(stated, theta, float(new["rope_theta"]))
    return stated


def _agree(stated: dict[str, Any], fact: str, value: Any) -> None:
    if stated.setdefault(fact, value) != value:
        raise Unreadable(
            f"rope_parameters and the older rope_theta / rope_scaling disagree ({stated[fact]!r} against {value!r}); "
            "transformers 4 and 5 would compute different models from them"
        )


def thawed(scaling: tuple[tuple[str, Any], ...] | None) -> dict[str, Any] | None:
    """A rope scaling as config.json spells it."""
    if scaling is None:
        return None
    return {key: list(value) if isinstance(value, tuple) else value for key, value in scaling}


def _rope_write(keys: tuple[str, ...], facts: Values) -> dict[str, Any]:
    """Both forms, consistently: transformers 4 reads the first two keys, 5 the last."""
    theta, scaling = facts.values()
    table = thawed(scaling)
    old = dict(table, type=table["rope_type"]) if table and table["rope_type"] in ("linear", "dynamic") else table
    return {
        "rope_theta": theta,
        "rope_scaling": old,
        "rope_parameters": {"rope_type": "default", **(table or {}), "rope_theta": theta},
    }


#: rope in both of its spellings
ROPE = Via("rope, old and new form", _rope_read, _rope_write)


def _theta_only_write(keys: tuple[str, ...], facts: Values) -> dict[str, Any]:
    theta, scaling = facts.values()
    return {keys[0]: theta, keys[1]: thawed(scaling)}


#: rope in the old form only, as remote code of 2023 reads it
OLD_ROPE = Via("rope, old form", _rope_read, _theta_only_write)


def only(value: Any, why: str) -> Via:
    """The key states no fact; it must have one value, and ``why`` says what another would mean."""

    def read(facts: tuple[str, ...], values: Values) -> dict[str, Any]:
        for key, found in values.items():
            if found != value:
                raise Unreadable(f"{key} = {found!r}, but only {value!r} is understood: {why}")
        return {}

    return Via(f"only {value!r}", read, lambda keys, facts: dict.fromkeys(keys, value))
