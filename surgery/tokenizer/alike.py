"""The same token in two vocabularies, however each of them spells it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from surgery.tokenizer.alphabet import unspell
from surgery.tokenizer.facts import is_byte_level
from surgery.tokenizer.pipeline import SPACE
from surgery.tokenizer.sources import spelled_ids

_BYTE = re.compile("<0x([0-9A-F]{2})>")


def bytes_of(token: str, byte_level: bool) -> bytes:
    """What text a token stands for, as bytes; a special token stands for its name.

    >>> bytes_of("Ġcat", True) == bytes_of("▁cat", False) == b" cat"
    True
    >>> bytes_of("<0xE4>", False)
    b'\\xe4'
    """
    if byte_level:
        plain = unspell(token)
        return token.encode() if plain is None else plain
    single = _BYTE.fullmatch(token)
    return bytes([int(single[1], 16)]) if single else token.replace(SPACE, " ").encode()


def ids_by_bytes(tokenizer_json: Mapping[str, Any]) -> dict[bytes, int]:
    """The id of each token, by what it stands for.

    SentencePiece has single bytes beside pieces, to fall back on: ``<0x65>`` is not the token of the letter e, which has a
    piece, and text never has it. Such a byte goes by its name; one that no piece stands for goes by what it is.
    """
    byte_level = is_byte_level(tokenizer_json)
    ids = spelled_ids(tokenizer_json)
    pieces = ids if byte_level else {token: place for token, place in ids.items() if not _BYTE.fullmatch(token)}
    found: dict[bytes, int] = {}
    for token, place in pieces.items():
        found.setdefault(bytes_of(token, byte_level), place)
    for token in ids.keys() - pieces.keys():
        single = bytes_of(token, byte_level)
        found[single if single not in found else token.encode()] = ids[token]
    return found
