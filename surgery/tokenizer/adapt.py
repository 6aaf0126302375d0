"""A recipe made to fit the checkpoint at hand: what its own configuration files say about added tokens and names.

Also the recipe of a vocabulary nobody has listed, which comes from the model alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from surgery.errors import ConversionError, show
from surgery.tokenizer.facts import token_text
from surgery.tokenizer.recipe import Names, Recipe, Replace, Special
from surgery.tokenizer.sources import BpeFiles, SentencePieceModel, Source, TiktokenRanks, read_json

ROLES = ("bos", "eos", "unk", "pad")
DERIVED = "derived from the model"
_ID = re.compile("[0-9]{1,9}")  # as JSON writes an id for a key; no vocabulary has a billion tokens

#: the shapes that the settings must have if they are there
_SHAPES = {
    "added_tokens_decoder": (dict, "an object of ids and tokens"),
    "additional_special_tokens": (list, "a list of tokens"),
}


def generic(source: Source, adds_bos: bool = True) -> Recipe:
    """The recipe of an unlisted SentencePiece or GPT-2 vocabulary; raises for tiktoken, which states no pattern."""
    match source:
        case SentencePieceModel():
            names = Names(*map(source.text, (source.bos, source.eos, source.unk, source.pad)))
            specials = tuple(map(Special, dict.fromkeys(names.items().values())))
            return Recipe(
                DERIVED, specials=specials, prefix=(names.bos,) if adds_bos and names.bos else (), names=names
            )
        case TiktokenRanks(name=name):
            raise ConversionError(
                f"{show(name)} has {source.size} ranks, which is no tiktoken vocabulary we know: such a file does "
                "not say by which pattern text is split, "
                "nor its special tokens, so ids could only be guessed; take a tokenizer.json of the model, or a "
                "recipe of your own (mappings/tokenizers.py)"
            )
        case _:
            return Recipe(DERIVED)


def configuration(files: Mapping[str, bytes]) -> dict[str, Any]:
    """tokenizer_config.json, with special_tokens_map.json and added_tokens.json where it has nothing itself."""
    config = read_object(files, "tokenizer_config.json")
    for key, value in read_object(files, "special_tokens_map.json").items():
        config.setdefault(key, value)
    _refuse_misshapen(config)
    added = {
        _id("added_tokens.json", place, text): {"content": text, "special": False}
        for text, place in read_object(files, "added_tokens.json").items()
    }
    named = {token_text(config.get(f"{role}_token")) for role in ROLES} | set(
        map(token_text, config.get("additional_special_tokens") or ())
    )
    for token in added.values():
        token["special"] = token["content"] in named
    config["added_tokens_decoder"] = {**added, **(config.get("added_tokens_decoder") or {})}
    return config


def _refuse_misshapen(config: Mapping[str, Any]) -> None:
    for key, (shape, told) in _SHAPES.items():
        if config.get(key) is not None and not isinstance(config[key], shape):
            raise ConversionError(
                f"tokenizer_config.json or special_tokens_map.json: {key} is {show(config[key])}, not {told}; correct it, or "
                "take the file from the model's repository"
            )


def _id(name: str, place: object, text: str) -> str:
    """An id as the key that added_tokens_decoder has for it."""
    if isinstance(place, int) and _ID.fullmatch(str(place)):
        return str(place)
    raise ConversionError(
        f"{name}: the token {show(text)} has the id {show(place)}, which is not a row number; take the file from the "
        "model's repository"
    )


def read_object(files: Mapping[str, bytes], name: str) -> dict[str, Any]:
    """The JSON object in a file, empty where there is no such file."""
    value = read_json(name, files[name]) if name in files else {}
    if not isinstance(value, dict):
        raise ConversionError(f"{show(name)} is not a JSON object; it is another file under that name")
    return value


def adapt(recipe: Recipe, source: SentencePieceModel | TiktokenRanks | BpeFiles, config: Mapping[str, Any]) -> Recipe:
    """The recipe with the checkpoint's own added tokens, its names of bos, eos, unk and pad, and its word on bos."""
    recipe = _with_added(recipe, source, config.get("added_tokens_decoder") or {})
    known, ours = _texts(recipe, source), recipe.names.items()
    said = {role: token_text(config.get(f"{role}_token")) for role in ROLES}
    theirs = {
        role: name for role, name in said.items() if name in known and ours.get(role) not in recipe.renamed.values()
    }
    names = Names(**{**ours, **{role: name for role, name in theirs.items() if name is not None}})
    unseen = [
        Special(name)
        for name in dict.fromkeys(names.items().values())
        if name not in _specials(recipe) | set(recipe.renamed.values())
    ]
    recipe = replace(recipe, names=names, specials=(*recipe.specials, *unseen))
    wanted = config.get("add_bos_token")
    if isinstance(wanted, bool) and names.bos and recipe.prefix in ((), (names.bos,)):
        recipe = replace(recipe, prefix=(names.bos,) if wanted else ())
    return recipe


def _with_added(recipe: Recipe, source: Source, decoder: Mapping[str, Any]) -> Recipe:
    texts = _places(source)
    specials, numbered, renamed, steps = (
        list(recipe.specials),
        dict(recipe.numbered),
        dict(recipe.renamed),
        list(recipe.steps),
    )
    covered = _specials(recipe)
    for key, token in sorted(decoder.items(), key=lambda entry: int(entry[0]) if _ID.fullmatch(entry[0]) else -1):
        text = token_text(token)
        if not _ID.fullmatch(key) or not text or not isinstance(token, Mapping):
            raise ConversionError(
                f"tokenizer_config.json: added_tokens_decoder has {show(key)}: {show(token)}, which is not an id and "
                "a token"
            )
        _refuse_control(text)
        place, here = int(key), texts.get(int(key))
        special = Special(
            text, strip=bool(token.get("lstrip") and token.get("rstrip")), special=bool(token.get("special", True)),
        )  # fmt: skip
        if text in covered or place in renamed:
            continue
        if here == text:
            specials.append(special)
        elif here is None:
            numbered.setdefault(place, special)
        else:
            alias = _renames(source, place, text)
            renamed[place] = text
            steps += [Replace(here, text)] if alias else []
            specials.append(replace(special, normalised=alias))
    return replace(
        recipe,
        specials=tuple(specials),
        numbered=MappingProxyType(numbered),
        renamed=MappingProxyType(renamed),
        steps=tuple(steps),
    )


def _renames(source: Source, place: int, text: str) -> bool:
    """Whether a vendor's slow class finds the renamed piece by both of its names; raises where it is no free piece.

    With a dummy prefix only the new name can be had: after the normaliser, a name would begin with the prefix.
    """
    if not isinstance(source, SentencePieceModel) or source.pieces[place].kind not in ("user", "control", "unused"):
        raise ConversionError(
            f"tokenizer_config.json calls the id {place} {show(text)}, but the vocabulary has an ordinary token there: "
            "one embedding row would mean two things; the files are not of one tokenizer, take both from the "
            "model's repository"
        )
    return not source.dummy_prefix and source.pieces[place].kind == "user"


def _refuse_control(text: str) -> None:
    if any(ord(one) < 0x20 or 0x7F <= ord(one) < 0xA0 for one in text):
        raise ConversionError(
            f"the added token {show(text)} has control characters in its name, which no log, template or terminal "
            "shows as they are, "
            "and which JSON tools drop; rename it in tokenizer_config.json"
        )


def _specials(recipe: Recipe) -> set[str]:
    return {special.text for special in (*recipe.specials, *recipe.numbered.values())}


def _places(source: Source) -> Mapping[int, str]:
    match source:
        case SentencePieceModel(pieces=pieces):
            return {place: piece.text for place, piece in enumerate(pieces)}
        case BpeFiles(vocab=vocab):
            return {place: text for text, place in vocab.items()}
        case _:
            return (
                {rank: token.decode("utf-8", "replace") for token, rank in source.ranks.items()}
                if isinstance(source, TiktokenRanks)
                else {}
            )


def _texts(recipe: Recipe, source: Source) -> set[str]:
    listed = set(_places(source).values()) if isinstance(source, SentencePieceModel | BpeFiles) else set()
    return (listed | _specials(recipe)) - {text for place, text in _places(source).items() if place in recipe.renamed}
