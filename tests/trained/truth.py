"""What the ids of a trained vocabulary are, by those whose formats they are: sentencepiece, tiktoken and tokenizers.

The vendors' own classes look for special tokens first and give what is between them to the engine, each part by itself.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from tests.trained.kinds import Kind, kind, ranked

Encode = Callable[[str], list[int]]


def processor(model: bytes) -> Any:
    """sentencepiece's own engine."""
    from sentencepiece import SentencePieceProcessor

    return SentencePieceProcessor(model_proto=model)


def plain(one: Kind) -> Encode:
    """The ids of text in which no special token is looked for."""
    return _engine(one.name)


@cache
def _engine(name: str) -> Encode:
    one = kind(name)
    match one.engine:
        case "sentencepiece":
            pieces = processor(one.files["tokenizer.model"])
            return lambda text: list(pieces.encode(text))
        case "tiktoken":
            import tiktoken

            encoding = tiktoken.Encoding(name, pat_str=one.pattern, mergeable_ranks=ranked(one), special_tokens={})
            return lambda text: encoding.encode_ordinary(unicodedata.normalize("NFC", text) if one.nfc else text)
        case "tokenizers":
            from tokenizers import Tokenizer

            from tests.trained.ranks import trained_json

            carried = one.files.get("tokenizer.json")
            tokenizer = Tokenizer.from_str(trained_json((one.pattern,), one.nfc) if carried is None else carried.decode())
            return lambda text: list(tokenizer.encode(text, add_special_tokens=False).ids)


def ids(one: Kind, text: str) -> list[int]:
    """The ids of a user's text, special tokens in it found as the vendor's class finds them."""
    if not one.specials:
        return plain(one)(text)
    parts = re.split(f"({'|'.join(re.escape(name) for name in sorted(one.specials, key=len, reverse=True))})", text)
    found: list[int] = []
    for place, part in enumerate(parts):
        if place % 2:
            found.append(one.specials[part])
            continue
        part = part.lstrip() if place and parts[place - 1] in one.strips else part
        part = part.rstrip() if parts[place + 1 : place + 2] and parts[place + 1] in one.strips else part
        found += plain(one)(part)
    return found


#: a special token among the parts of a prompt
Mark = tuple[str]


def prompt(one: Kind, parts: Sequence[str | Mark]) -> list[int]:
    """The ids of a prompt: its special tokens, and its texts each encoded by itself."""
    known = {**one.specials, **one.unspelled}
    return [token for part in parts for token in ([known[part[0]]] if isinstance(part, tuple) else plain(one)(part))]
