"""Whether a smaller tokenizer cuts text as the larger one did, and gives it back: each token by the id that it had."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from surgery.errors import ConversionError, listed, quote, show
from surgery.tokenizer.facts import encoder, load


@dataclass(frozen=True)
class Same:
    """What was compared without a difference."""

    texts: int
    tokens: int


def whole(tokenizer_json: Mapping[str, Any]) -> Any:
    """The library's Tokenizer, which cuts no text off and fills none up."""
    return load({**tokenizer_json, "truncation": None, "padding": None})


def same(before: Any, after: Any, kept: Sequence[int], texts: Iterable[str]) -> Same:
    """Counts of texts whose tokens, framed ones too, and whose decoded text are the same; raises at the first that is not.

    ``kept[new id]`` is the old id. One text is in memory at a time.
    """
    old, new = encoder(before, framed=True), encoder(after, framed=True)
    count = tokens = 0
    for text in texts:
        wanted = list(old(text))
        ids = list(new(text))
        found = [kept[token] for token in ids]
        if found != wanted:
            at = next((n for n, (a, b) in enumerate(zip(wanted, found, strict=False)) if a != b), min(len(wanted), len(found)))
            raise ConversionError(
                f"the trimmed tokenizer cuts text {count + 1} of the corpus otherwise, from token {at} on: "
                f"{_names(before, wanted[at : at + 4])} became {_names(before, found[at : at + 4])}. That is a kind of tokenizer "
                "whose tokens depend on ones that they are not made of. Nothing was written; please report it, with the "
                "tokenizer.json."
            )
        for skipped in (True, False):
            if before.decode(wanted, skip_special_tokens=skipped) != after.decode(ids, skip_special_tokens=skipped):
                raise ConversionError(
                    f"the trimmed tokenizer decodes text {count + 1} of the corpus ({quote(text, 40)}) otherwise, though its "
                    "tokens are the same. Nothing was written; please report it, with the tokenizer.json."
                )
        count += 1
        tokens += len(wanted)
    return Same(count, tokens)


def _names(tokenizer: Any, ids: Sequence[int]) -> str:
    return listed(show(tokenizer.id_to_token(one), 30) for one in ids) or "nothing"
