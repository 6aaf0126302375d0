"""Rotary positions, which config.json spells in two ways."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from convert.validate.rule import Found, rule
from convert.validate.subject import Subject, said
from mappings.family import Setting

_FORMS = "transformers 5.23 and 4.57.6, executed (ecosystem facts 3.2)"
DEFAULT_THETA = 10000.0
#: types of scaling that every class of transformers with rope computes
KINDS = ("default", "linear", "dynamic", "yarn", "longrope", "llama3", "proportional")
#: further types, and the beginnings of the model_types whose own configs translate them
_OWN_KINDS = {"su": ("phi3", "phi4_multimodal"), "mrope": ("qwen2_vl", "qwen2_5_vl")}


@rule(
    "rope-disagree", "error",
    what="rope_parameters and the older rope_theta / rope_scaling say different things",
    why="transformers 5 drops rope_parameters, vLLM and mlx may not: the model differs from server to server",
    fix="make both forms say the same",
    source=_FORMS,
)  # fmt: skip
def rope_disagree(subject: Subject) -> Iterator[Found]:
    new = rope_parameters(subject)
    if new is None:
        return
    config = subject.text_config
    old_theta, new_theta = config.get("rope_theta"), new.get("rope_theta")
    if old_theta is not None and new_theta is not None and old_theta != new_theta:
        yield Found("config.json", f"rope_theta is {said(old_theta)}, in rope_parameters {said(new_theta)}")
    if "rope_scaling" in config and _filled(config["rope_scaling"], config) != _filled(new, config):
        yield Found("config.json", f"rope_scaling is {said(config['rope_scaling'])}, rope_parameters {said(new)}")


@rule(
    "rope-new-form-only", "warning",
    what="rope is stated only as rope_parameters, and it is not the default",
    why="transformers 4 reads its class's own theta and no scaling, without an error; mlx-lm too",
    fix="write rope_theta and rope_scaling beside it (`--fix` does)",
    source=_FORMS + "; mlx-lm models/llama.py ModelArgs",
)  # fmt: skip
def rope_new_form_only(subject: Subject) -> Iterator[Found]:
    if told := hidden_rope(subject):
        yield Found(
            "config.json", f"rope_parameters is {said(told)}, and there is no rope_theta or rope_scaling that says so"
        )


@rule(
    "rope-partial-ignored", "error",
    what="partial_rotary_factor stands beside rope_type default in a class that rotates whole heads",
    why="transformers ignores it and vLLM honours it: two different models, both silent",
    fix="remove the key, or express partial rotation as longrope factors (`weightsmith run SRC OUT --to llama` does)",
    source="transformers 5.23, executed (exactness facts E-3); vLLM layers/rotary_embedding get_rope",
)  # fmt: skip
def rope_partial_ignored(subject: Subject) -> Iterator[Found]:
    config = subject.text_config
    new = rope_parameters(subject) or {}
    share = new.get("partial_rotary_factor", config.get("partial_rotary_factor"))
    kind = (_scaling(new) or _scaling(config.get("rope_scaling")) or {}).get("rope_type", "default")
    if config.get("model_type") in _WHOLE and share not in (None, 1, 1.0) and kind == "default":
        yield Found("config.json", f"partial_rotary_factor is {said(share)}")


@rule(
    "rope-type", "error",
    what="the type of rope scaling is none that the class knows",
    why="transformers does not build the model (KeyError)",
    fix="su is longrope, and mrope without pictures is no scaling at all; else write a type that the class computes",
    source="transformers 5.23 modeling_rope_utils.py ROPE_INIT_FUNCTIONS, executed; transformers #34950, vLLM #8388",
)  # fmt: skip
def rope_type(subject: Subject) -> Iterator[Found]:
    config = subject.text_config
    if "auto_map" in config or subject.kind != "model":
        return
    for key in ("rope_scaling", "rope_parameters"):
        stated = config.get(key)
        tables = [stated] if isinstance(stated, Mapping) else []
        tables += [inner for table in tables for inner in table.values() if isinstance(inner, Mapping)]
        kinds = [table.get("rope_type", table.get("type")) for table in tables]
        if wrong := [kind for kind in kinds if kind is not None and not _is_computed(kind, config)]:
            yield Found("config.json", f"the type in {key} is {said(wrong[0])}")
            return


def _is_computed(kind: object, config: Mapping[str, Any]) -> bool:
    """Whether the class of this model_type computes a type of scaling."""
    if not isinstance(kind, str) or kind in KINDS:
        return kind in KINDS
    named = config.get("model_type")
    return isinstance(named, str) and named.startswith(_OWN_KINDS.get(kind, ()))


@rule(
    "rope-factors", "error",
    what="the factors of a rope scaling have the wrong number or value",
    why="longrope needs one factor for every pair of a head; transformers only warns and computes something",
    fix="give short_factor and long_factor head_dim / 2 numbers each",
    source="transformers 5.23 modeling_rope_utils.py _validate_longrope_rope_parameters",
)  # fmt: skip
def rope_factors(subject: Subject) -> Iterator[Found]:
    config = subject.text_config
    scaling = config.get("rope_scaling") or rope_parameters(subject)
    heads, width = config.get("num_attention_heads"), config.get("hidden_size")
    head = config.get("head_dim")
    if head is None and isinstance(heads, int) and isinstance(width, int) and heads > 0:
        head = width // heads
    if not isinstance(scaling, Mapping) or not isinstance(head, int):
        return
    share = scaling.get("partial_rotary_factor", config.get("partial_rotary_factor", 1.0))
    pairs = int(head * share) // 2 if isinstance(share, int | float) else head // 2
    for key in ("short_factor", "long_factor"):
        factors = scaling.get(key)
        if isinstance(factors, list) and len(factors) != pairs:
            yield Found("config.json", f"{key} has {len(factors)} numbers; a head of {head} rotates {pairs} pairs")
    factor = scaling.get("factor")
    if factor is not None and (isinstance(factor, bool) or not isinstance(factor, int | float) or factor <= 0):
        yield Found("config.json", f"the factor of the scaling is {said(factor)}")


_WHOLE = ("llama", "mistral", "qwen2", "mixtral")
_BESIDE = ("partial_rotary_factor", "original_max_position_embeddings")


def rope_parameters(subject: Subject) -> Mapping[str, Any] | None:
    """The newer form, where there is one table for all layers."""
    new = subject.text_config.get("rope_parameters")
    nested = isinstance(new, dict) and any(isinstance(value, dict) for value in new.values())
    return new if isinstance(new, dict) and not nested else None


def default_theta(subject: Subject) -> object:
    """The theta that the class takes where its config states none."""
    family = subject.expected.family
    for setting in family.settings if family is not None else ():
        if isinstance(setting, Setting) and "rope.theta" in setting.facts:
            stated = dict(setting.defaults())["rope.theta"]
            return stated if isinstance(stated, int | float) else DEFAULT_THETA
    return DEFAULT_THETA


def hidden_rope(subject: Subject) -> Mapping[str, Any]:
    """What of rope_parameters transformers 4 does not see; empty when it sees all that is not the default."""
    new = rope_parameters(subject)
    if new is None:
        return {}
    config, hidden, default = subject.text_config, {}, default_theta(subject)
    if "rope_theta" not in config and new.get("rope_theta", default) != default:
        hidden["rope_theta"] = new["rope_theta"]
    if not config.get("rope_scaling") and (scaling := _scaling(new)) is not None:
        hidden |= scaling
    return hidden


def _filled(table: object, config: Mapping[str, Any]) -> dict[str, Any] | None:
    """A scaling with what may stand beside it in the config, where one form has it inside and the other has not."""
    scaling = _scaling(table)
    beside = {key: config[key] for key in _BESIDE if config.get(key) is not None}
    return None if scaling is None else {**beside, **scaling}


def _scaling(table: object) -> dict[str, Any] | None:
    """A scaling in one spelling, without theta; None for none."""
    if not isinstance(table, Mapping):
        return None
    kept = {key: value for key, value in table.items() if key not in ("type", "rope_type", "rope_theta")}
    kind = table.get("rope_type") or table.get("type") or "default"
    return None if kind == "default" else {"rope_type": kind, **kept}
