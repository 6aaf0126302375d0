"""Config files and facts: which family a config.json is, what it states, and how a family would state it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from mappings.family import AS_ABSENT, REQUIRED, Family, Fixed, Harmless, Of, Setting, lookup
from mappings.harmless import LIBRARY, OPTIONS
from mappings.via import Inexpressible, Unreadable
from mappings.via_experts import MOST_LAYERS
from surgery.errors import ConversionError, listed, show
from surgery.facts import FACTS, Facts
from surgery.legalise import Refusal


def recognise(families: Iterable[Family], config: Mapping[str, Any]) -> tuple[Family, ...]:
    """Every family (or variant) whose conditions the config meets."""
    return tuple(family for family in families if family.recognise.matches(config))


def read_facts(family: Family, config: Mapping[str, Any], *, accept: frozenset[str] = frozenset()) -> Facts:
    """The facts that a config states in a family's words.

    Every key is read by a setting or harmless at its value; any other is refused by name, unless it is in ``accept``.
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
        values = {key: value for key, value in setting.absent.items() if key not in config} | present
        if not setting.facts and setting.null is not AS_ABSENT:  # a condition, which is then asked of what null means
            values |= {key: setting.null for key in setting.keys if key in config and config[key] is None}
        try:
            if not present and "norm.eps" in setting.facts and config.keys() & set(setting.keys):
                raise Unreadable(f"{' '.join(setting.keys)} = null is no number, and no library computes with it")
            _believed(setting, present)
            stated = setting.via.read(setting.facts, values) if values else {}
            _typed(setting, present, stated)
        except Unreadable as error:
            problems.append(str(error))
            continue
        except KeyError as error:
            without = f", without which {' '.join(present)} says nothing" if present else ""
            problems.append(f"the key {error.args[0]} is missing{without}")
            continue
        except (TypeError, ValueError, ArithmeticError):
            said = ", ".join(f"{key} = {show(value)}" for key, value in present.items())
            problems.append(f"{said} is not of the kind {'this key holds' if len(present) == 1 else 'these keys hold'}")
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
    problems += _unread(family, config, accept)
    if problems:
        raise ConversionError(f"config.json is not one of {family.label} that we understand: " + "; ".join(problems) + ".")
    return facts


def _believed(setting: Setting, present: Mapping[str, Any]) -> None:
    """Raises where there are more layers than any model has, before a list of them is made."""
    for key, value in present.items() if "layer" in setting.facts else ():
        if isinstance(value, int | float) and value > MOST_LAYERS:
            raise Unreadable(f"{key} is {show(value)}, and no model has more than {MOST_LAYERS:,} layers")


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
    for one, other in family.multiples:
        if facts.knows(one) and facts.knows(other) and facts[one] % facts[other]:
            reason = f"the library's {family.architecture} takes only a multiple of {facts[other]} ({FACTS[other].meaning})"
            found.append(Refusal(one, _said(facts[one]), _origin(facts, one), reason))
    for name, fact in FACTS.items():
        if fact.kind == "trait" and name not in covered and facts[name] != fact.neutral:
            found.append(Refusal(name, _said(facts[name]), _origin(facts, name)))
    return tuple(found)


def stated_context(family: Family, facts: Facts) -> int | None:
    """The longest text of what the family writes for these facts; None where it says nothing of it."""
    stating = [setting for setting in family.settings if "context" in setting.fact.split()]
    fixed = [int(setting.value) for setting in stating if isinstance(setting, Fixed)]
    return fixed[0] if fixed else facts["context"] if stating else None


def bounded(family: Family, facts: Facts) -> bool:
    """Whether the family keeps texts within the context of these facts: it states that, or a shorter one."""
    stated, context = stated_context(family, facts), facts["context"]
    return stated is not None and context is not None and stated <= context


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


def known_keys(family: Family) -> frozenset[str]:
    """Every key that the family's table has something to say of."""
    return _read(family) | _harmless(family).keys()


def _read(family: Family) -> frozenset[str]:
    return frozenset(key.split(".")[0] for s in family.settings if isinstance(s, Setting) for key in s.keys)


def _harmless(family: Family) -> dict[str, Harmless]:
    return {key: one for one in (*OPTIONS, *LIBRARY, *family.harmless) for key in one.keys.split()}


def _unread(family: Family, config: Mapping[str, Any], accept: frozenset[str]) -> list[str]:
    """What to say of keys that nothing reads: those that nobody knows, and those at values where they do something."""
    known = _harmless(family)
    keys = sorted(config.keys() - _read(family) - accept)
    unread = [key for key in keys if key not in known or not known[key].covers(config[key])]
    if not unread:
        return []
    told = [f"{key} = {_json(config[key])} {_at(known[key])}" for key in unread if key in known]
    if unknown := [show(key, 60) for key in unread if key not in known]:
        few = len(unknown) == 1
        told.append(
            f"{listed(unknown)} {'is a key' if few else 'are keys'} that the table of {family.label} does not know, so "
            f"{'it' if few else 'they'} might change what the model computes"
        )
    flags = " ".join(f"--accept-key {key}" for key in unread if key.isidentifier())
    return [*told[:-1], f"{told[-1]}; if you know better, add {flags}"]


def _at(one: Harmless) -> str:
    return f"is not read, and does nothing only at {' or '.join(map(_json, one.at or ()))} ({one.why})"


def _json(value: Any) -> str:
    """A value as config.json spells it, shortened."""
    return {True: "true", False: "false", None: "null"}[value] if value is None or isinstance(value, bool) else show(value)


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
