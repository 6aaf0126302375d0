"""Which ids begin, end and fill a text once the tokenizer is another model's: that model's own, as its files state them.

A setting of generation that names other tokens keeps those that the new vocabulary has; how long to generate has nothing to do
with tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from convert.documents import generation_config
from mappings.token_keys import KEYS, renumbered
from surgery.errors import show
from surgery.model import Artefact
from surgery.tokenizer.facts import TokenizerFacts

ROLES = ("bos", "eos", "pad")  # named by a config
_ENDS = "eos_token_id"


@dataclass(frozen=True)
class Played:
    """The ids of the roles, as config.json has them, and the settings of generation."""

    facts: Mapping[str, Any]  # fact -> id or ids
    settings: Mapping[str, Any] | None
    said: tuple[str, ...]


def played(artefact: Artefact, donor: Artefact, wanted: TokenizerFacts, ids: Mapping[int, int], answer: int | None) -> Played:
    """What a model with the donor's tokenizer says of ids.

    ``ids`` are the new ids of tokens that both have, by the old ones; ``wanted`` are the donor's tokenizer's facts, and
    ``answer`` is the id that its chat template writes behind an answer. An id that no token of it has is none.
    """
    own, theirs = generation_config(artefact.origin)[0], generation_config(donor.origin)[0] or {}
    facts: dict[str, Any] = {}
    roles: dict[str, list[int]] = {}
    for role in ROLES:
        key, fact = f"{role}_token_id", f"token.{role}"
        token = _listed(getattr(wanted, role))
        before, stated = (each.model.facts[fact] if each.model.facts.knows(fact) else None for each in (artefact, donor))
        said_so = [_sensible(source, token, wanted) for source in (stated, theirs.get(key))]
        old = [*_listed((own or {}).get(key)), *_listed(before)]
        mapped = _sensible([ids[one] for one in old if one in ids], token, wanted)
        config = _first(*said_so, token, mapped)
        roles[key] = _first(*reversed(said_so), token, mapped)
        if role == "eos":  # whatever ends a text for either of them
            roles[key] = list(dict.fromkeys([*roles[key], *token, *_listed(answer), *mapped]))
            config = config if own is not None and own.get(key) is not None else roles[key]
        if artefact.model.facts.knows(fact):
            facts[fact] = _like(before, config)
    said: list[str] = []
    if own is None:
        return Played(facts, None, ())
    found = renumbered({key: value for key, value in own.items() if key not in roles}, ids)
    settings = dict(found.settings)
    for key, new in roles.items():
        if own.get(key) is None:
            continue
        value = _like(own[key], new)
        if value not in (None, [], ()):
            settings[key] = value
        if value != own[key]:
            who = "what ends a text by the donor's settings, tokenizer and chat template" if key == _ENDS else "as the donor says"
            became = f"becomes {show(value, 60)}, {who}" if key in settings else "is left out: the donor has none"
            said.append(f"generation_config.json: {key} = {show(own[key], 60)} {became}")
    said += found.said
    words = [key for key in settings if key in KEYS and KEYS[key].holds in ("words", "biases")]
    if words:
        said.append(
            f"generation_config.json: {', '.join(words)} came over token by token, and the donor may cut the same words "
            "otherwise: make them anew with its tokenizer"
        )
    return Played(facts, {key: settings[key] for key in own if key in settings}, tuple(said))


def _sensible(stated: Any, token: list[int], wanted: TokenizerFacts) -> list[int]:
    """Stated ids, unless the tokenizer names another one: then those that are special tokens at least."""
    ids = [one for one in _listed(stated) if 0 <= one <= wanted.max_id]
    return ids if not token or token[0] in ids else [one for one in ids if one in wanted.specials]


def _first(*sources: list[int]) -> list[int]:
    return next((ids for ids in sources if ids), [])


def _listed(ids: Any) -> list[int]:
    return [one for one in (ids if isinstance(ids, list | tuple) else [ids]) if type(one) is int]


def _like(before: Any, ids: list[int]) -> Any:
    """One id plainly, unless there was a list; several as a list; None for none."""
    if isinstance(before, list | tuple):
        return type(before)(ids)
    return ids if len(ids) > 1 else ids[0] if ids else None
