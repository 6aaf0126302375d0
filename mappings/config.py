"""Config files and facts: which family a config.json is, what it states, and how a family would state it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from mappings.family import AS_ABSENT, REQUIRED, Family, Fixed, Of, Setting, lookup
from mappings.via import Inexpressible, Unreadable
from surgery.errors import ConversionError, listed, show
from surgery.facts import FACTS, Facts
from surgery.legalise import Refusal

#: keys of the loading libraries that change no logits of any causal model, whatever their value
GENERIC = frozenset(
    """
    architectures auto_map model_type torch_dtype dtype transformers_version transformers.js_config _name_or_path
    _from_model_config _attn_implementation _attn_implementation_autoset attn_implementation _flash_attn_2_enabled
    use_cache tokenizer_class processor_class name_or_path custom_pipelines
    return_dict output_attentions output_hidden_states output_router_logits torchscript use_bfloat16 tf_legacy_loss
    pruned_heads chunk_size_feed_forward is_encoder_decoder is_decoder cross_attention_hidden_size add_cross_attention
    tie_encoder_decoder problem_type task_specific_params finetuning_task id2label label2id num_labels prefix
    max_length min_length do_sample early_stopping num_beams num_beam_groups diversity_penalty temperature top_k top_p
    typical_p repetition_penalty length_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size bad_words_ids
    num_return_sequences output_scores return_dict_in_generate forced_bos_token_id forced_eos_token_id
    remove_invalid_values exponential_decay_length_penalty suppress_tokens begin_suppress_tokens
    decoder_start_token_id sep_token_id unk_token_id
    pretraining_tp gradient_checkpointing unsloth_version unsloth_fixed use_flash_attn use_flash_attention
    hidden_dropout embd_pdrop resid_pdrop attn_pdrop hidden_dropout_prob attn_dropout_prob emb_dropout_prob
    attention_probs_dropout_prob attention_dropout ep_size initializer_range
    """.split()
)


def recognise(families: Iterable[Family], config: Mapping[str, Any]) -> tuple[Family, ...]:
    """Every family (or variant) whose conditions the config meets."""
    return tuple(family for family in families if family.recognise.matches(config))


def read_facts(family: Family, config: Mapping[str, Any], *, accept: frozenset[str] = frozenset()) -> Facts:
    """The facts that a config states in a family's words.

    Every key is read by a setting, harmless, null / false / empty, or one of the loading libraries'; any other is refused
    by name, unless it is in ``accept``.
    """
    problems: list[str] = []
    facts = Facts()
    config = _opened(family, config)
    pending: list[tuple[str, Any, str]] = []
    for setting in family.settings:
        if isinstance(setting, Fixed):
            pending.append((setting.fact, setting.value, f"{family.label}'s code: {setting.why}"))
            continue
        present = {key: value for key in setting.keys if (value := lookup(config, key)) is not None}
        try:
            if not present and "norm.eps" in setting.facts and config.keys() & set(setting.keys):
                raise Unreadable(f"{' '.join(setting.keys)} = null is no number, and no library computes with it")
            stated = setting.via.read(setting.facts, present) if present else {}
            _typed(setting, present, stated)
        except Unreadable as error:
            problems.append(str(error))
            continue
        except KeyError as error:
            problems.append(f"{error.args[0]} is missing, without which {' '.join(present)} says nothing")
            continue
        except (TypeError, ValueError, ArithmeticError):
            problems.append(f"{setting.keys[0]} = {show(next(iter(present.values())))} is not of the kind this key holds")
            continue
        facts = facts.with_(stated, " ".join(present))
        if not present and setting.null is not AS_ABSENT and any(key in config for key in setting.keys):
            pending += [(fact, setting.null, f"{setting.keys[0]} is null") for fact in setting.facts]
            continue
        pending += [(f, d, f"{setting.keys[0]} is absent") for f, d in setting.defaults() if f not in stated]
    for fact, value, origin in pending:
        if value is REQUIRED:
            problems.append(f"the key for {FACTS[fact].meaning} ({_key(family, fact)}) is missing")
            continue
        facts = facts.with_({fact: _resolve(value, facts)}, origin)
    problems += _indivisible(family, facts)
    unread = sorted(key for key in config if _unread(family, key, config[key]) and key not in accept)
    if unread:
        flags = " ".join(f"--accept-key {key}" for key in unread if key.isidentifier())
        problems.append(
            f"{listed([show(key, 60) for key in unread])} {'is a key' if len(unread) == 1 else 'are keys'} that the table of "
            f"{family.label} does not know, so {'it' if len(unread) == 1 else 'they'} might change what the model computes; "
            f"if you know better, add {flags}"
        )
    if problems:
        raise ConversionError(f"config.json is not one of {family.label} that we understand: " + "; ".join(problems) + ".")
    return facts


def write_config(family: Family, facts: Facts) -> dict[str, Any]:
    """The config.json in which a family states the facts. ``refusals`` must be empty."""
    named = {"architectures": [family.architecture], "model_type": family.model_type}
    config: dict[str, Any] = named if family.architecture else {}
    for setting in family.settings:
        if isinstance(setting, Setting):
            for key, value in setting.via.write(setting.keys, {fact: facts[fact] for fact in setting.facts}).items():
                _store(config, key, value)
    return {**config, **family.constants}


def refusals(family: Family, facts: Facts) -> tuple[Refusal, ...]:
    """Every fact that the family cannot express, all at once."""
    found: list[Refusal] = []
    covered: set[str] = set()
    for setting in family.settings:
        covered.update(setting.fact.split())
        if isinstance(setting, Fixed):
            wanted = _resolve(setting.value, facts)
            if FACTS[setting.fact].kind != "passive" and facts[setting.fact] != wanted:
                reason = f"{family.name} has only {wanted}: {setting.why}"
                found.append(Refusal(setting.fact, _said(facts[setting.fact]), _origin(facts, setting.fact), reason))
            continue
        try:
            setting.via.write(setting.keys, {fact: facts[fact] for fact in setting.facts})
        except Inexpressible as error:
            for blamed in error.blamed or setting.facts:
                found.append(Refusal(blamed, _said(facts[blamed]), _origin(facts, blamed), str(error)))
    for name, fact in FACTS.items():
        if fact.kind == "trait" and name not in covered and facts[name] != fact.neutral:
            found.append(Refusal(name, _said(facts[name]), _origin(facts, name)))
    return tuple(found)


def _opened(family: Family, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The config with what it nests laid open; keys of the outer one count where both have them."""
    inner = config.get(family.nested) if family.nested else None
    if not isinstance(inner, Mapping):
        return config
    outer = {key: value for key, value in config.items() if key != family.nested and value is not None}
    return {**inner, **outer}


def _resolve(value: Any, facts: Facts) -> Any:
    if not isinstance(value, Of):
        return value
    if not facts.knows(value.fact):
        return None
    if not value.over:
        return facts[value.fact] if value.times == 1 else value.times * facts[value.fact]
    return value.times * facts[value.fact] // facts[value.over] if facts.knows(value.over) and facts[value.over] else None


def _indivisible(family: Family, facts: Facts) -> list[str]:
    """Heads that do not divide what they must: whole heads are the unit in which everything here moves."""
    stated = [(s.fact, s.value if isinstance(s, Fixed) else s.default, isinstance(s, Fixed)) for s in family.settings]
    shares = [
        (value.fact, value.over)
        for fact, value, fixed in stated
        if isinstance(value, Of) and value.over and (fixed or facts.origins.get(fact, "").endswith("is absent"))
    ]
    return [
        f"{facts.origins.get(whole)} = {facts[whole]} is not divisible by {facts.origins.get(part)} = {facts[part]}"
        for whole, part in (*shares, ("heads", "kv"))
        if facts.knows(whole) and facts.knows(part) and facts[whole] % facts[part]
    ]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _are_ids(value: Any) -> bool:
    """An id, several, or none."""
    return value is None or all(type(one) is int for one in (value if isinstance(value, list) else [value]))


def _typed(setting: Setting, present: Mapping[str, Any], stated: Mapping[str, Any]) -> None:
    """Sizes are positive integers, factors are finite numbers, ids are integers; a bool is not a number."""
    for fact, value in stated.items():
        if isinstance(FACTS[fact].neutral, float) and not _is_number(value):
            raise Unreadable(f"{' '.join(present)} = {show(value)} is no number, and says what is {FACTS[fact].meaning}")
        if fact.startswith("token.") and not _are_ids(value):
            raise Unreadable(f"{' '.join(present)} = {show(value)} is no {FACTS[fact].meaning}")
        counted = value is not None and (FACTS[fact].kind == "size" or fact in ("context", "window"))
        if counted and (type(value) is not int or not 0 < value < 2**40):
            raise Unreadable(f"{' '.join(present)} = {show(value)} is not a sensible {FACTS[fact].meaning}")
        neutral = FACTS[fact].neutral
        if isinstance(neutral, bool) and not isinstance(value, bool):
            raise Unreadable(f"{' '.join(present)} = {show(value)} is not true or false")
        if isinstance(neutral, float) and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise Unreadable(f"{' '.join(present)} = {show(value)} is not a number")


def _unread(family: Family, key: str, value: Any) -> bool:
    if value is None or value is False or value in ("", [], {}):
        return False
    known = {k.split(".")[0] for s in family.settings if isinstance(s, Setting) for k in s.keys}
    return key not in known and key not in GENERIC and key not in family.harmless


def _key(family: Family, fact: str) -> str:
    return next(s.keys[0] for s in family.settings if isinstance(s, Setting) and fact in s.facts)


def _store(config: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    for part in path:
        config = config.setdefault(part, {})
    config[last] = value


def _said(value: Any) -> str:
    if isinstance(value, tuple) and value and isinstance(value[0], tuple):
        return ", ".join(f"{k} {v}" for k, v in value)
    if isinstance(value, tuple) and len(value) > 2 and all(isinstance(item, int) for item in value):
        run = value == tuple(range(value[0], value[0] + len(value)))
        return f"{value[0]} to {value[-1]}" if run else ", ".join(map(str, value))
    return "none" if value is None else f"{value}".lower() if isinstance(value, bool) else f"{value}"


def _origin(facts: Facts, fact: str) -> str:
    return facts.origins.get(fact, "")
