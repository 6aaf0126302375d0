"""Named conversions between config values and facts, each with its inverse, defined and tested once.

``read(facts, values)`` gets the config keys that are present and not null and returns the facts they state;
``write(facts, keys, values)`` gets the facts and returns the keys. ``Inexpressible`` says why a key cannot state a fact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from surgery.errors import show

Values = Mapping[str, Any]


class Inexpressible(ValueError):
    """The config has no way to say this; the message is the reason, ``blamed`` the facts, where not all of the setting."""

    def __init__(self, reason: str, *blamed: str) -> None:
        self.blamed = blamed
        super().__init__(reason)


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
    (key, stated), *others = values.items()
    for other, value in others:
        if value != stated:
            raise Unreadable(f"{key} = {show(stated)} and {other} = {show(value)} must be the same")
    return dict.fromkeys(facts, stated)


def _same_write(keys: tuple[str, ...], facts: Values) -> dict[str, Any]:
    stated = list(facts.values())
    if any(value != stated[0] for value in stated):
        told = ", ".join(f"{name} = {value}" for name, value in facts.items())
        raise Inexpressible(f"one key, {keys[0]}, states all of them at once ({told})")
    return dict.fromkeys(keys, stated[0])


#: the key's value is the fact's; one key may state several facts that must agree
SAME = Via("same", _same_read, _same_write)


def repeated(key: str) -> Via:
    """The key's value is the fact's; the other keys, which some releases write, repeat it and are not written."""

    def read(facts: tuple[str, ...], values: Values) -> dict[str, Any]:
        return _same_read(facts, {key: values[key], **values})

    return Via(f"same, as {key}", read, lambda keys, facts: _same_write((key,), facts))



def _halved_read(facts: tuple[str, ...], values: Values) -> dict[str, Any]:
    ((key, value),) = values.items()
    if value % 2:
        raise Unreadable(f"{key} = {value} is odd, but twice the width of the MLP")
    return {facts[0]: value // 2}


def _halved_write(keys: tuple[str, ...], facts: Values) -> dict[str, Any]:
    (value,) = facts.values()
    if value is None:
        raise Inexpressible(f"{keys[0]} has to say something")
    return {keys[0]: 2 * value}


#: the key holds twice the fact
HALVED = Via("half of", _halved_read, _halved_write)


def _scores_read(facts: tuple[str, ...], values: Values) -> dict[str, Any]:
    head, width = values["head_dim"], values["query_pre_attn_scalar"]
    if not width > 0:
        raise Unreadable(f"query_pre_attn_scalar = {width!r} has no root that could divide the scores")
    return {facts[0]: head, facts[1]: None if width == head else width}


def _scores_write(keys: tuple[str, ...], facts: Values) -> dict[str, Any]:
    head, width = facts.values()
    return {keys[0]: head, keys[1]: head if width is None else width}


#: the width of a head, and what the root of divides the scores
SCORES = Via("head width and divisor of the scores", _scores_read, _scores_write)

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
        raise Unreadable(f"{key} = {show(value)} is an activation that we do not know")
    return {facts[0]: ACTIVATIONS[value]}


ACTIVATION = Via(
    "activation name", _activation_read, lambda keys, facts: {keys[0]: _WRITTEN[next(iter(facts.values()))]}
)

_TYPE_KEYS = ("rope_type", "type")
_ORIGINAL = "original_max_position_embeddings"


#: the types that transformers computes (5.23 modeling_rope_utils.py ROPE_INIT_FUNCTIONS), and what none of them lacks
_ROPE_NEEDS: Mapping[str, tuple[str, ...]] = {
    "default": (),
    "linear": ("factor",),
    "dynamic": ("factor",),
    "yarn": ("factor",),
    "longrope": ("short_factor", "long_factor"),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor"),
    "proportional": (),
}

#: other names, and what libraries compute under them: the first longrope of Phi-3 (5.23 configuration_phi3.py 124-128),
#: and positions in three streams, which are one for text (configuration_qwen2_vl.py 118-128)
_ROPE_KNOWN_AS = {"su": "longrope", "mrope": "default"}


def _frozen_scaling(scaling: Any, where: str) -> tuple[tuple[str, Any], ...] | None:
    """A rope scaling as sorted pairs, with one ``rope_type`` that transformers computes; None for no scaling."""
    if not isinstance(scaling, Mapping):
        raise Unreadable(f"{where} is {show(scaling)}, not a table")
    if layers := [key for key, value in scaling.items() if isinstance(value, Mapping)]:
        raise Unreadable(f"{where} has a rope of its own for {layers[0]}, and this family's code has one for all layers")
    kinds = {_ROPE_KNOWN_AS.get(str(scaling[key]), str(scaling[key])) for key in _TYPE_KEYS if scaling.get(key)}
    if len(kinds) > 1:
        raise Unreadable(f"{where} names two types of scaling, {sorted(kinds)}")
    kind = kinds.pop() if kinds else "default"
    if kind not in _ROPE_NEEDS:
        raise Unreadable(f"{where} is of type {show(kind)}, which no class of transformers computes ({', '.join(_ROPE_NEEDS)})")
    if lacking := [key for key in _ROPE_NEEDS[kind] if key not in scaling]:
        raise Unreadable(f"{where} is of type {show(kind)} and has no {' and no '.join(lacking)}")
    kept = {k: v for k, v in scaling.items() if k not in (*_TYPE_KEYS, "rope_theta", "mrope_section")}
    if kind == "default":
        if kept.get("partial_rotary_factor", 1.0) != 1.0:
            raise Unreadable(
                f"{where} says partial_rotary_factor {show(kept['partial_rotary_factor'])} beside the default rope, which "
                "transformers ignores in this family and vLLM obeys: two different models"
            )
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
    if stated.get(scaling) and _ORIGINAL in values:
        # transformers modeling_rope_utils.py (5.23) 836-841: the length beside the table counts
        table = dict(stated[scaling])
        if table["rope_type"] in ("llama3", "yarn", "longrope"):
            stated[scaling] = _frozen_scaling({**table, _ORIGINAL: values[_ORIGINAL]}, "rope_scaling")
    return stated


def _agree(stated: dict[str, Any], fact: str, value: Any) -> None:
    if stated.setdefault(fact, value) != value:
        raise Unreadable(
            f"rope_parameters and the older rope_theta / rope_scaling disagree ({show(stated[fact])} against {show(value)}); "
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
    # transformers 4 looks for the length that longrope was trained for beside the table (4.57 modeling_rope_utils.py 430)
    beside = {_ORIGINAL: table[_ORIGINAL]} if table and table["rope_type"] == "longrope" and _ORIGINAL in table else {}
    return beside | {
        "rope_theta": theta,
        "rope_scaling": old,
        "rope_parameters": {"rope_type": "default", **(table or {}), "rope_theta": theta},
    }


#: rope in both of its spellings
ROPE = Via("rope, old and new form", _rope_read, _rope_write)


def _old_rope_write(keys: tuple[str, ...], facts: Values) -> dict[str, Any]:
    theta, scaling = facts.values()
    if scaling is None:
        return {keys[0]: theta, keys[1]: None}
    table = thawed(scaling) or {}
    kind = table.pop("rope_type")
    if kind not in ("linear", "dynamic") or set(table) != {"factor"}:
        raise Inexpressible(f"the code of 2023 knows scaling of type linear or dynamic, and not {kind}", "rope.scaling")
    return {keys[0]: theta, keys[1]: {"type": kind, **table}}


#: rope as remote code of 2023 reads it: FlagAI modeling_aquila.py _init_rope, internlm2-7b modeling_internlm2.py _init_rope
OLD_ROPE = Via("rope, linear or dynamic", _rope_read, _old_rope_write)


def _theta_write(keys: tuple[str, ...], facts: Values) -> dict[str, Any]:
    theta, scaling = facts.values()
    if scaling is not None:
        raise Inexpressible("no key scales the frequencies", "rope.scaling")
    return {keys[0]: theta}


#: a base, and code that never looks at a scaling
BASE_ONLY = Via("base of the rope alone", _rope_read, _theta_write)


def only(value: Any, why: str) -> Via:
    """The key states no fact; it must have one value, and ``why`` says what another would mean."""

    def read(facts: tuple[str, ...], values: Values) -> dict[str, Any]:
        for key, found in values.items():
            if found != value:
                raise Unreadable(f"{key} = {show(found)}, but only {show(value)} is understood: {why}")
        return {}

    return Via(f"only {value!r}", read, lambda keys, facts: dict.fromkeys(keys, value))


#: what Meta has published as (multiple_of, ffn_dim_multiplier), tried in this order
_META_WIDTHS = ((256, None), (256, 1.5), (4096, 1.3), (1024, 1.3), (4096, None), (1024, None))


def _meta_width(hidden: int, multiple: int, multiplier: float | None) -> int:
    """The width of Meta's MLP: meta-llama/llama llama/model.py:331-335."""
    width = int(2 * 4 * hidden / 3)
    if multiplier is not None:
        width = int(multiplier * width)
    return multiple * -(-width // multiple)


def _meta_widths_read(facts: tuple[str, ...], values: Values) -> dict[str, Any]:
    hidden, ffn = facts
    stated: dict[str, Any] = {hidden: values["dim"]} if "dim" in values else {}
    if {"dim", "multiple_of"} <= values.keys():
        stated[ffn] = _meta_width(values["dim"], values["multiple_of"], values.get("ffn_dim_multiplier"))
    return stated


def _meta_widths_write(keys: tuple[str, ...], facts: Values) -> dict[str, Any]:
    hidden, ffn = facts.values()
    if ffn is None:
        raise Inexpressible("the width of the MLP has to follow from multiple_of", "ffn")
    plain = _meta_width(hidden, 1, None)
    last = (ffn, None if plain <= ffn else ffn / plain)  # always true: whatever is below is rounded up to the width
    multiple, multiplier = next(pair for pair in (*_META_WIDTHS, last) if _meta_width(hidden, *pair) == ffn)
    return {"dim": hidden, "multiple_of": multiple} | ({"ffn_dim_multiplier": multiplier} if multiplier else {})


#: facts (hidden, ffn) from Meta's dim, and a rule that rounds 8/3 of it
META_WIDTHS = Via("Meta's rule for the MLP", _meta_widths_read, _meta_widths_write)

#: -1 leaves it to the tensors
UNLESS_NEGATIVE = Via(
    "-1: as many rows as there are",
    lambda facts, values: {facts[0]: value for value in values.values() if value != -1},
    _same_write,
)


def meta_scaled(factor: float) -> Via:
    """Meta's switch for a scaling that is in code: llama-models models/llama3/model.py:46-62, with this factor."""
    scaling = (
        ("rope_type", "llama3"),
        ("factor", factor),
        ("high_freq_factor", 4.0),
        ("low_freq_factor", 1.0),
        ("original_max_position_embeddings", 8192),
    )

    def read(facts: tuple[str, ...], values: Values) -> dict[str, Any]:
        return {facts[0]: scaling if value else None for value in values.values()}

    def write(keys: tuple[str, ...], facts: Values) -> dict[str, Any]:
        (found,) = facts.values()
        if found != scaling:
            raise Inexpressible(f"{keys[0]} says {dict(scaling)} and nothing else")
        return {keys[0]: True}

    return Via(f"scaled by {factor:g}", read, write)


def _stored_write(keys: tuple[str, ...], facts: Values) -> dict[str, Any]:
    if any(facts.values()):
        raise Inexpressible("no key says that the output projection is the embedding")
    return {}


#: no key states it; the tensors do
BY_THE_TENSORS = Via("by the tensors", _same_read, _stored_write)


def switch(value: Any) -> Via:
    """The key is true where the fact is ``value``, and false where it is nothing."""

    def read(facts: tuple[str, ...], values: Values) -> dict[str, Any]:
        return {facts[0]: value if on else None for on in values.values()}

    def write(keys: tuple[str, ...], facts: Values) -> dict[str, Any]:
        (found,) = facts.values()
        if found not in (value, None):
            raise Inexpressible(f"{keys[0]} can only say {value!r}")
        return dict.fromkeys(keys, found is not None)

    return Via(f"true for {value!r}", read, write)
