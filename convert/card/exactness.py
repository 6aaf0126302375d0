"""What of the source's function an output keeps, in words: for which tokens, and what else has changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from surgery.errors import show

_EXACT = {
    "byte": "every stored number is a copy of one of the source, or a written zero or one",
    "algebraic": "it computes the same real function; computed weights were rounded once",
    "approximate": "weights were rounded more than the function needs, because it was asked for",
}
_KEPT = {
    "byte": "every stored number of theirs is a copy of one of the source",
    "algebraic": "their logits are the source's but for weights that were rounded once",
    "approximate": "their logits are about the source's: weights were rounded more than they need, because it was asked for",
}


def exactness(told: Mapping[str, Any]) -> Iterator[str]:
    """The sentences for a manifest: the class of exactness, and of an edited vocabulary the tokens that it is said of."""
    named = str(told.get("exactness"))
    options = told.get("options")
    edit = options.get("vocabulary") if isinstance(options, Mapping) else None
    words = _EDITS.get(str(edit.get("edit"))) if isinstance(edit, Mapping) else None
    if words is None or not isinstance(edit, Mapping):
        yield f"Exactness: **{named}**: {_EXACT.get(named, 'see weightsmith.json')}."
        return
    of, rest = words(edit)
    yield f"Exactness: **{named}**, of {of} alone: {_KEPT.get(named, 'see weightsmith.json')}. {rest}"


def _extended(edit: Mapping[str, Any]) -> tuple[str, str]:
    count, init = _number(edit, "tokens"), show(edit.get("init"))[1:-1]
    return (
        f"the {_number(edit, 'first')} tokens that the source has",
        f"The tokenizer has {count} tokens more, and text that has them is cut otherwise. Their rows were made, not trained "
        f"(`{init}`), and take a share of every probability until they are.",
    )


def _trimmed(edit: Mapping[str, Any]) -> tuple[str, str]:
    return (
        f"the {_number(edit, 'tokens')} tokens that were kept",
        f"{_number(edit, 'dropped')} tokens of the source are gone, ids are numbered anew, and the probability of those that are "
        "gone falls on the others. Text unlike the corpus that it was trimmed to is cut into more tokens.",
    )


def _transplanted(edit: Mapping[str, Any]) -> tuple[str, str]:
    counts, k = [edit.get(key) for key in ("tokens", "shared", "parts")], _number(edit, "k")
    tokens, shared, parts = (one if type(one) is int else None for one in counts)
    made = f"{tokens - shared - (parts or 0):,}" if tokens is not None and shared is not None else "other"
    ends = " Tokens that begin, end or fill a text have the rows that did so in the source." if parts else ""
    return (
        f"the {_number(edit, 'shared')} tokens that both tokenizers have",
        f"**As a whole it is not the source's function**: its tokenizer is another model's ({show(edit.get('donor'))[1:-1]}), so "
        f"that text is cut otherwise, and the rows of {made} tokens are approximations, sums of up to {k} rows of the source."
        f"{ends}",
    )


def _resized(edit: Mapping[str, Any]) -> tuple[str, str]:
    return "the tokens that it has", f"It has {_number(edit, 'rows')} rows in all; those without a token are no part of any text."


_EDITS: Mapping[str, Callable[[Mapping[str, Any]], tuple[str, str]]] = {
    "extend-vocab": _extended, "trim-vocab": _trimmed, "transplant-tokenizer": _transplanted, "pad-vocab": _resized,
    "unpad-vocab": _resized,
}  # fmt: skip


def _number(edit: Mapping[str, Any], key: str) -> str:
    value = edit.get(key)
    return f"{value:,}" if type(value) is int else "?"
