"""Where new tokens come from: another tokenizer.json, tiktoken ranks, SentencePiece pieces, words; and filters."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from surgery.errors import ConversionError, UsageError, show
from surgery.tokenizer.alphabet import unspell
from surgery.tokenizer.facts import is_byte_level
from surgery.tokenizer.pipeline import SPACE
from surgery.tokenizer.sources import (
    Piece,
    looks_like_tiktoken,
    read_sentencepiece,
    read_tiktoken,
    read_tokenizer_json,
    refuse_pointer,
)

Filter = Callable[[str], bool]

_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f]")  # which every SentencePiece model has, and no text
_WORDS, _CHARACTERS = 5, 40  # that an entry of a word list has at most, in columns

# Ideographs and what is written between them. Kana and hangul are left out: they are other languages' words.
_HAN = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
_CJK = re.compile(rf" ?[{_HAN}\u3000-\u3011\u3014-\u301f\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff60]*")


def donor_tokens(name: str, data: bytes) -> tuple[bytes | str, ...]:
    """A donor's tokens in its own order, special ones and single bytes left out.

    By the name and the content: *.json, tiktoken lines, *.txt with a word a line, otherwise a SentencePiece model.
    """
    refuse_pointer(name, data)
    if name.endswith(".json"):
        return _from_json(name, data)
    if looks_like_tiktoken(data):
        ranks = read_tiktoken(name, data).ranks
        return tuple(token for token in sorted(ranks, key=ranks.__getitem__) if len(token) > 1)
    if name.endswith(".txt"):
        found = words(name, data)
        _refuse_sentences(name, found)
        return found
    _refuse_text(name, data)
    return piece_texts(read_sentencepiece(name, data).pieces)


def donor_pieces(name: str, data: bytes) -> tuple[Piece, ...]:
    """All pieces of a donor that is a SentencePiece model, those that are no text included; none of another donor."""
    refuse_pointer(name, data)
    if name.endswith((".json", ".txt")) or looks_like_tiktoken(data):
        return ()
    _refuse_text(name, data)
    return read_sentencepiece(name, data).pieces


def piece_texts(pieces: Iterable[Piece]) -> tuple[str, ...]:
    """The text of each piece that is of text."""
    return tuple(piece.text.replace(SPACE, " ") for piece in pieces if piece.kind == "normal")


def _from_json(name: str, data: bytes) -> tuple[bytes | str, ...]:
    value = read_tokenizer_json(name, data).value
    special = {token["content"] for token in value.get("added_tokens") or ()}
    vocab = value["model"].get("vocab", {})
    ordered = [piece[0] for piece in vocab] if isinstance(vocab, list) else sorted(vocab, key=vocab.__getitem__)
    ordinary = [token for token in ordered if token not in special]
    if is_byte_level(value):
        spelled = (unspell(token) for token in ordinary)
        return tuple(token for token in spelled if token is not None and len(token) > 1)
    return tuple(token.replace(SPACE, " ") for token in ordinary if not re.fullmatch("<0x[0-9A-F]{2}>", token))


def words(name: str, data: bytes) -> tuple[str, ...]:
    """One word a line, empty lines dropped; a word of a script that puts spaces between words, with and without one."""
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ConversionError(f"{show(name)} is not UTF-8 text ({show(str(error))}); save it as UTF-8") from error
    plain = dict.fromkeys(word for line in lines if (word := line.strip()))
    return tuple(dict.fromkeys(form for word in plain for form in ((f" {word}", word) if _spaced(word) else (word,))))


def _refuse_text(name: str, data: bytes) -> None:
    """Raises where a file is text: of the names that are left a SentencePiece model is meant, which is none."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return
    if _CONTROL.search(text):
        return
    if text.lstrip().startswith(("{", "[")):
        raise UsageError(
            f"{show(name)} is JSON by its content, and by its name a SentencePiece model: if it is a tokenizer.json, give it a "
            "name that ends with .json"
        )
    raise UsageError(
        f"{show(name)} is text, and by its name a SentencePiece model: if it is a list of words, one a line, give it a name that "
        "ends with .txt; if it is a corpus, train pieces on it first (surgery train-pieces), and add those"
    )


def _refuse_sentences(name: str, found: Sequence[str]) -> None:
    """Raises where most lines are sentences: each would become one token, which no other text has."""
    lines = dict.fromkeys(word.strip() for word in found)
    long = [line for line in lines if len(line.split()) > _WORDS or _width(line) > _CHARACTERS]
    if 2 * len(long) > len(lines):
        raise UsageError(
            f"{show(name)} is no list of words, one a line: {len(long)} of its {len(lines)} lines are longer than {_WORDS} words,"
            f" {_CHARACTERS} letters or {_CHARACTERS // 2} ideographs, {show(long[0], 40)} for one. Each line would become one "
            "token. If it is a corpus, train pieces on it first (surgery train-pieces CORPUS PIECES.model --size N) and add those"
        )


def _width(line: str) -> int:
    """How wide it is in columns: an ideograph takes two, and says more."""
    return sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in line)


def _spaced(word: str) -> bool:
    return unicodedata.name(word[0], "").startswith(("LATIN ", "GREEK ", "CYRILLIC "))


def cjk(text: str) -> bool:
    """Whether a token is Chinese: ideographs (at least one) and their punctuation, perhaps a space in front."""
    return _CJK.fullmatch(text) is not None and re.search(f"[{_HAN}]", text) is not None


def matching(pattern: str) -> Filter:
    """Tokens that the pattern is found in."""
    try:
        found = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"the filter {show(pattern)} is not a regular expression: {show(str(error))}") from error
    return lambda text: found.search(text) is not None


def among(wanted: Iterable[str]) -> Filter:
    """Tokens of a list."""
    wanted = frozenset(wanted)
    return lambda text: text in wanted


def kept(tokens: Iterable[bytes | str], condition: Filter, most: int | None = None) -> tuple[bytes | str, ...]:
    """The donor's tokens that are text and meet the condition, the first `most` of them."""
    return tuple(islice((token for token in tokens if (text := _text(token)) is not None and condition(text)), most))


def kept_pieces(pieces: Iterable[Piece], condition: Filter, most: int | None = None) -> tuple[Piece, ...]:
    """The donor's pieces that meet the condition, the first `most` of them, whatever their kind."""
    return tuple(islice((piece for piece in pieces if condition(piece.text.replace(SPACE, " "))), most))


def _text(token: bytes | str) -> str | None:
    try:
        return token if isinstance(token, str) else token.decode()
    except UnicodeDecodeError:
        return None
