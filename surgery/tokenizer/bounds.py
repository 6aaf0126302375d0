"""What of a tokenizer.json is refused by its form alone, before anything reads it: more values than any tokenizer has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from surgery.errors import ConversionError, show

#: in a whole file: the largest vocabularies known (262,144 tokens, 514,906 merges) have 2.4 million
MOST_VALUES = 5_000_000
#: in all parts around the vocabulary: the longest known, with hundreds of characters to be replaced, have a few thousand
MOST_PARTS = 20_000
#: what ids are below: lists of their size are made, and the largest vocabularies known have 262,144
MOST_IDS = 1 << 21
_PARTS = ("normalizer", "pre_tokenizer", "post_processor", "decoder", "truncation", "padding")


def refuse_many_values(name: str, data: bytes) -> None:
    """Raises where JSON has more values than a tokenizer: each takes a hundred bytes once it is read.

    Counted are the characters that stand between values; those in texts count too, of which vocabularies have few.
    """
    found = sum(map(data.count, (b",", b"[", b"{")))
    if found > MOST_VALUES:
        raise ConversionError(
            f"{show(name)} has about {found:,} values, and no tokenizer has over {MOST_VALUES:,}: it is damaged, or made to fill "
            "the memory. Take the file from the model's repository."
        )


def refuse_many_parts(value: Mapping[str, Any]) -> None:
    """Raises where what stands around the vocabulary is longer than that of any tokenizer.

    A post-processor puts all its tokens around every text: two million of them make each word two million tokens long.
    """
    waiting: list[Any] = [value.get(key) for key in _PARTS]
    found = 0
    while waiting:
        one = waiting.pop()
        found += 1
        if isinstance(one, Mapping):
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
        if found + len(waiting) > MOST_PARTS:
            raise ConversionError(
                f"tokenizer.json has over {MOST_PARTS:,} values around its vocabulary (normaliser, pre-tokenizer, "
                "post-processor, decoder), and no tokenizer has: it is damaged, or made to take for ever. Take the file from "
                "the model's repository."
            )
