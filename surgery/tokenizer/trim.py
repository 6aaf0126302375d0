"""Leaving out the tokens that a corpus does not need, so that the text it has keeps exactly its tokens, under new ids.

BPE reaches a token through others, so those stay as well: of every way to make a kept token, both parts. Fewer merges
then take the same steps on the same text, as each step they took is still the best one there is.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from surgery.errors import ConversionError, listed
from surgery.tokenizer.alphabet import BYTE
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
    framing = set(_framing(tokenizer_json.get("post_processor")))
    if not framing <= names.keys():
        raise ConversionError(
            f"tokenizer.json: its post_processor puts the ids {listed(sorted(framing - names.keys()))} around a text, which no "
            "token has; the file is damaged or was edited by hand, take it from the model's repository"
        )
    needed = {names[place] for place in used | framing} | {
        token["content"] for token in tokenizer_json.get("added_tokens") or ()
    }
    needed |= {token for token in ids if token in BYTE or _BYTE_PIECE.fullmatch(token)}
    needed |= (_unknown(tokenizer_json) | {SPACE}) & ids.keys()  # the library lets unk be a token that is not there
    if not any(token in BYTE for token in needed) and not any(_BYTE_PIECE.fullmatch(token) for token in needed):
        needed |= {
            token for token in ids if len(token) == 1
        }  # without bytes, characters are all there is to spell with
    parts = defaultdict[str, list[str]](list)
    for left, right in _pairs(tokenizer_json):
        parts[left + right] += (left, right)
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
    framing = set(_framing(tokenizer_json.get("post_processor")))
    if len(new) != len(kept) or not framing <= new.keys() <= set(ids.values()):
        raise ConversionError(
            "the ids to keep have doubles, some that the tokenizer lacks, or too few; take them from kept_ids"
        )
    model = dict(tokenizer_json["model"])
    if isinstance(model["vocab"], dict):
        model["vocab"] = {
            token: new[old] for token, old in sorted(ids.items(), key=lambda entry: entry[1]) if old in new
        }
        there = model["vocab"]
        pairs = _pairs(tokenizer_json)
        model["merges"] = [[a, b] for a, b in pairs if a in there and b in there and a + b in there]
    else:
        model["vocab"] = [model["vocab"][old] for old in kept if old < len(model["vocab"])]
        model["unk_id"] = None if model.get("unk_id") is None else new[model["unk_id"]]
    value = {**tokenizer_json, "model": model}
    value["added_tokens"] = [
        {**token, "id": new[token["id"]]} for token in tokenizer_json.get("added_tokens") or () if token["id"] in new
    ]
    value["post_processor"] = _renumbered(tokenizer_json.get("post_processor"), new)
    return Trim(value, tuple(kept), len(ids) - len(kept))


def _pairs(tokenizer_json: Mapping[str, Any]) -> list[tuple[str, str]]:
    merges = tokenizer_json["model"].get("merges") or ()
    return [(left, right) for left, right in (pair.split(" ", 1) if isinstance(pair, str) else pair for pair in merges)]


def _unknown(tokenizer_json: Mapping[str, Any]) -> set[str]:
    model = tokenizer_json["model"]
    if isinstance(model.get("vocab"), list):
        return {model["vocab"][model["unk_id"]][0]} if model.get("unk_id") is not None else set()
    return {model["unk_token"]} if model.get("unk_token") else set()


_PAIRS = ("sep", "cls")  # [token, id], in the steps that BERT and RoBERTa have


def _framing(part: Any) -> Iterator[int]:
    """The ids that a post-processor puts around a text."""
    if isinstance(part, list):
        for one in part:
            yield from _framing(one)
    elif isinstance(part, dict):
        for key, one in part.items():
            if key == "special_tokens":
                yield from (place for token in one.values() for place in token["ids"])
            elif key in _PAIRS:
                yield one[1]
            else:
                yield from _framing(one)


def _renumbered(part: Any, new: Mapping[int, int]) -> Any:
    """The post-processor with its ids mapped, in whatever depth they stand."""
    if isinstance(part, list):
        return [_renumbered(one, new) for one in part]
    if not isinstance(part, dict):
        return part
    mapped = {key: _renumbered(one, new) for key, one in part.items() if key != "special_tokens"}
    mapped |= {key: [part[key][0], new[part[key][1]]] for key in _PAIRS if key in part}
    if "special_tokens" in part:
        mapped["special_tokens"] = {
            name: {**token, "ids": [new[old] for old in token["ids"]]} for name, token in part["special_tokens"].items()
        }
    return mapped
