"""Leaving out the tokens that a corpus does not need, so that the text it has keeps exactly its tokens, under new ids.

BPE reaches a token through others, so those stay as well: of every way to make a kept token, both parts. Fewer merges
then take the same steps on the same text, as each step they took is still the best one there is. Unigram takes the best of
all cuts: with fewer pieces the best one still is, as long as an unknown character costs what it cost.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from surgery.errors import ConversionError, listed
from surgery.tokenizer.alphabet import BYTE
from surgery.tokenizer.facts import is_byte_level
from surgery.tokenizer.named import framing, padding_ids, reframed, repadded
from surgery.tokenizer.pipeline import SPACE, Json
from surgery.tokenizer.sources import spelled_ids

_BYTE_PIECE = re.compile("<0x[0-9A-F]{2}>")


@dataclass(frozen=True)
class Trim:
    """The smaller tokenizer.json; `kept[new id]` is the old id, which is also the row of the embedding to take.

    A `tokenizer.model` beside the old file no longer fits and must be left out.
    """

    tokenizer_json: Json
    kept: tuple[int, ...]
    dropped: int
    said: tuple[str, ...] = ()  # what was left out besides tokens


def kept_ids(tokenizer_json: Mapping[str, Any], used: Iterable[int]) -> tuple[int, ...]:
    """Used ids, and what they and all other text need: the parts they are made of, all bytes, all added tokens."""
    ids = spelled_ids(tokenizer_json)
    names = {place: token for token, place in ids.items()}
    used = set(used)
    unknown = sorted(used - names.keys())
    if unknown:
        raise ConversionError(
            f"{len(unknown)} of the ids to keep are not the tokenizer's, which end at {max(names)}: {listed(unknown)}; "
            "the corpus was encoded with another tokenizer"
        )
    around = set(framing(tokenizer_json.get("post_processor")))
    if not around <= names.keys():
        raise ConversionError(
            f"tokenizer.json: its post_processor puts the ids {listed(sorted(around - names.keys()))} around a text, which no "
            "token has; the file is damaged or was edited by hand, take it from the model's repository"
        )
    needed = {names[place] for place in used | around | padding_ids(tokenizer_json)} | {
        token["content"] for token in tokenizer_json.get("added_tokens") or ()
    }
    needed |= (_unknown(tokenizer_json) | {SPACE}) & ids.keys()  # the library lets unk be a token that is not there
    needed |= _letters(tokenizer_json, ids) | _cheapest(tokenizer_json)
    parts = defaultdict[str, list[str]](list)
    joined = _joiner(tokenizer_json)
    for left, right in _pairs(tokenizer_json):
        parts[joined(left, right)] += (left, right)
    waiting = list(needed)
    while waiting:
        fresh = set(parts[waiting.pop()]) - needed
        needed |= fresh
        waiting += fresh
    return tuple(sorted(ids[token] for token in needed))


def trim(tokenizer_json: Mapping[str, Any], kept: Sequence[int]) -> Trim:
    """The tokenizer with these old ids alone, numbered anew in their order."""
    ids = spelled_ids(tokenizer_json)
    new = {old: place for place, old in enumerate(kept)}
    around = {*framing(tokenizer_json.get("post_processor")), *padding_ids(tokenizer_json)}
    if len(new) != len(kept) or not around <= new.keys() <= set(ids.values()):
        raise ConversionError(
            "the ids to keep have doubles, some that the tokenizer lacks, or too few; take them from kept_ids"
        )
    model = dict(tokenizer_json["model"])
    if isinstance(model["vocab"], dict):
        model["vocab"] = {
            token: new[old] for token, old in sorted(ids.items(), key=lambda entry: entry[1]) if old in new
        }
        there = model["vocab"]
        joined = _joiner(tokenizer_json)
        if "merges" in model:
            pairs = _pairs(tokenizer_json)
            model["merges"] = [[a, b] for a, b in pairs if a in there and b in there and joined(a, b) in there]
    else:
        model["vocab"] = [model["vocab"][old] for old in kept if old < len(model["vocab"])]
        model["unk_id"] = None if model.get("unk_id") is None else new[model["unk_id"]]
    value = {**tokenizer_json, "model": model}
    value["added_tokens"] = [
        {**token, "id": new[token["id"]]} for token in tokenizer_json.get("added_tokens") or () if token["id"] in new
    ]
    value["post_processor"] = reframed(tokenizer_json.get("post_processor"), new)
    padding, said = repadded(tokenizer_json, new)
    value |= {"padding": padding} if "padding" in tokenizer_json else {}
    return Trim(value, tuple(kept), len(ids) - len(kept), said)


def _letters(tokenizer_json: Mapping[str, Any], ids: Iterable[str]) -> set[str]:
    """What any other text is spelled with, inside words and at their ends: the bytes; where there are none, all characters."""
    model = tokenizer_json["model"]
    inside, behind = (model.get(key) or "" for key in ("continuing_subword_prefix", "end_of_word_suffix"))
    plain = {token: token.removeprefix(inside).removesuffix(behind) for token in ids}
    if is_byte_level(tokenizer_json):
        return {token for token, letter in plain.items() if letter in BYTE}
    pieces = {token for token in plain if _BYTE_PIECE.fullmatch(token)} if model.get("byte_fallback") else set()
    return pieces or {token for token, letter in plain.items() if len(letter) == 1}


def _cheapest(tokenizer_json: Mapping[str, Any]) -> set[str]:
    """Unigram's piece of the lowest score, from which that of an unknown character is counted (tokenizers unigram/model.rs).

    Pieces that no text should find, as ``<0x41>``, share it: their characters stay, so that text which spells such a name is
    still cut into them.
    """
    vocab = tokenizer_json["model"].get("vocab")
    if not isinstance(vocab, list) or not vocab:
        return set()
    least = min(float(score) for _, score in vocab)
    lowest = [piece for piece, score in vocab if float(score) == least]
    return {lowest[0]} | ({letter for piece in lowest for letter in piece} & {piece for piece, _ in vocab})


def _pairs(tokenizer_json: Mapping[str, Any]) -> list[tuple[str, str]]:
    merges = tokenizer_json["model"].get("merges") or ()
    return [(left, right) for left, right in (pair.split(" ", 1) if isinstance(pair, str) else pair for pair in merges)]


def _joiner(tokenizer_json: Mapping[str, Any]) -> Callable[[str, str], str]:
    """What a merge makes: a word's later part comes without the mark that it is one (tokenizers bpe/model.rs)."""
    inside = tokenizer_json["model"].get("continuing_subword_prefix") or ""
    return lambda left, right: left + right[len(inside) :]


def _unknown(tokenizer_json: Mapping[str, Any]) -> set[str]:
    model = tokenizer_json["model"]
    if isinstance(model.get("vocab"), list):
        return {model["vocab"][model["unk_id"]][0]} if model.get("unk_id") is not None else set()
    return {model["unk_token"]} if model.get("unk_token") else set()
