"""Where a tokenizer's files name ids outside the vocabulary: the steps around a text, padding, and lists of added tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from surgery.errors import show
from surgery.tokenizer.facts import token_text
from surgery.tokenizer.sources import spelled_ids

_PAIRS = ("sep", "cls")  # [token, id], in the steps that BERT and RoBERTa have


def framing(part: Any) -> Iterator[int]:
    """The ids that a post-processor puts around a text."""
    if isinstance(part, list):
        for one in part:
            yield from framing(one)
    elif isinstance(part, dict):
        for key, one in part.items():
            if key == "special_tokens":
                yield from (place for token in one.values() for place in token["ids"])
            elif key in _PAIRS:
                yield one[1]
            else:
                yield from framing(one)


def reframed(part: Any, new: Mapping[int, int]) -> Any:
    """The post-processor with its ids mapped, in whatever depth they stand."""
    if isinstance(part, list):
        return [reframed(one, new) for one in part]
    if not isinstance(part, dict):
        return part
    mapped = {key: reframed(one, new) for key, one in part.items() if key != "special_tokens"}
    mapped |= {key: [part[key][0], new[part[key][1]]] for key in _PAIRS if key in part}
    if "special_tokens" in part:
        mapped["special_tokens"] = {
            name: {**token, "ids": [new[old] for old in token["ids"]]} for name, token in part["special_tokens"].items()
        }
    return mapped


def padding_ids(tokenizer_json: Mapping[str, Any]) -> frozenset[int]:
    """The ids that fill a batch: by the token's name and by the number, which may differ."""
    padding, ids = tokenizer_json.get("padding"), spelled_ids(tokenizer_json)
    if not isinstance(padding, Mapping):
        return frozenset()
    named = {ids.get(padding.get("pad_token", ""), -1), padding.get("pad_id")}
    return frozenset(place for place in ids.values() if place in named)


def repadded(tokenizer_json: Mapping[str, Any], new: Mapping[int, int]) -> tuple[Any, tuple[str, ...]]:
    """The padding under new ids, and what there is to say of it.

    A token that the vocabulary lacks is given an id by whoever loads the file, behind the last one and without a row: then
    there is no padding to keep.
    """
    padding, ids = tokenizer_json.get("padding"), spelled_ids(tokenizer_json)
    if not isinstance(padding, Mapping):
        return padding, ()
    name, place = str(padding.get("pad_token")), int(padding.get("pad_id", -1))
    if name not in ids:
        return None, (
            f"tokenizer.json: padding with {show(name, 40)} is left out: the vocabulary lacks that token, and its id would have "
            "no row",
        )
    return {**padding, "pad_id": new.get(place, new[ids[name]])}, ()


def named_texts(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The tokens that a tokenizer_config.json names for some part: a library gives those that are not there ids of its own."""
    found = [token_text(value) for key, value in config.items() if key.endswith("_token")]
    for key in ("additional_special_tokens", "extra_special_tokens"):
        several = config.get(key)
        several = [*several.values()] if isinstance(several, Mapping) else several if isinstance(several, list) else []
        found += [token_text(value) for value in several]
    return tuple(dict.fromkeys(text for text in found if text is not None))


def renumbered_config(config: Mapping[str, Any], new: Mapping[int, int]) -> dict[str, Any]:
    """tokenizer_config.json with its list of added tokens under new ids; it has no other ids."""
    decoder = config.get("added_tokens_decoder")
    if not isinstance(decoder, Mapping):
        return dict(config)
    kept = {str(new[int(place)]): token for place, token in decoder.items() if int(place) in new}
    return {**config, "added_tokens_decoder": kept}
