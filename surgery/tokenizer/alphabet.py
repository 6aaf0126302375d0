"""Bytes as printable characters: the alphabet in which byte-level tokenizers spell their tokens.

GPT-2 gave every byte a visible character, so that a token can be a JSON key: 188 bytes stand for themselves, the other
68 follow from U+0100 in ascending order (openai/gpt-2 src/encoder.py `bytes_to_unicode`).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_THEMSELVES = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_HIDDEN = tuple(byte for byte in range(256) if byte not in _THEMSELVES)

CHARACTER: Mapping[int, str] = MappingProxyType(
    {byte: chr(byte) for byte in _THEMSELVES} | {byte: chr(0x100 + place) for place, byte in enumerate(_HIDDEN)}
)
BYTE: Mapping[str, int] = MappingProxyType({character: byte for byte, character in CHARACTER.items()})


def spell(token: bytes) -> str:
    """The byte-level spelling of a token.

    >>> spell(" né".encode())
    'ĠnÃ©'
    """
    return "".join(CHARACTER[byte] for byte in token)


def unspell(token: str) -> bytes | None:
    """The bytes that a byte-level spelling stands for, or None where a character is not in the alphabet.

    >>> unspell("Ġa"), unspell("你")
    (b' a', None)
    """
    try:
        return bytes(BYTE[character] for character in token)
    except KeyError:
        return None
