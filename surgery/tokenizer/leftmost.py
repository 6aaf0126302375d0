"""Pieces that tie at the top of a SentencePiece BPE vocabulary, said so that a tokenizer.json cuts text as SentencePiece does.

A merge list ranks pairs; SentencePiece joins the leftmost of pairs that tie, which no rank says. But where the pieces that tie
are above all others (published Chinese merges give each score 0), joining the leftmost pair until none is left is the same as
reading from the left and taking, at each place, the longest of those pieces that SentencePiece makes of its own text:

    Reading one character after the other, joining the end of what was read as long as that gives a piece, is joining the
    leftmost pair first. The token that begins at a place is then the longest text from there on that is joined into one; and
    whatever is joined into one in some text is so by itself, as nothing outside takes part.

The longest from the left is what a pattern finds. So a pre-tokenizer cuts those pieces out, and every character of them that no
other piece has, which no later merge can touch; what is between goes through merges as ever. `ignore_merges` then finds a piece
that was cut out. Pieces that SentencePiece never makes must not be found so: they are spelled with a mark that no text has, and
that the decoder takes away.

What stays open are tied pieces of characters that lower pieces have too (runs of dashes): there an order of merges has to do.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet

from surgery.tokenizer.pipeline import SPACE, Json, replace
from surgery.tokenizer.sources import SentencePieceModel

MARK = "\U0010fffe"  # a noncharacter: "intended for process-internal use", so that no text has it
_FEW = 48  # alternatives that a place of the pattern tries one after the other


def unmarked(decoder: Json) -> Json:
    """A sequence of decoders that takes the mark away first."""
    return {**decoder, "decoders": [replace(MARK, ""), *decoder["decoders"]]}


def leftmost(source: SentencePieceModel, unmade: AbstractSet[str]) -> Json | None:
    """A pre-tokenizer that cuts tied pieces out; None where none tie above all others.

    ``unmade`` are the pieces that SentencePiece makes of no text.
    """
    tied = _tied(source)
    made = {piece.text for piece in source.pieces if piece.kind == "normal"} - unmade
    others = {character for text in made.difference(tied) if len(text) > 1 for character in text}
    own = {character for text in tied for character in text} - others
    found = sorted(text for text in tied if text in made and not own.isdisjoint(text))
    if source.algorithm != "bpe" or not found:
        return None
    pattern = f"{_pattern(found)}|[{_ranges(own)}]"
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def overlapping(source: SentencePieceModel, count: int = 1500) -> tuple[str, ...]:
    """Texts in which tied pieces overlap, where an order of merges shows; the same for the same pieces, none where none tie."""
    tied = sorted(_tied(source))
    if not tied:
        return ()
    chance = random.Random("leftmost")
    beginning: dict[str, list[str]] = {}
    for text in tied:
        beginning.setdefault(text[0], []).append(text)

    def one() -> str:
        made = chance.choice(tied)
        for _ in range(chance.randint(1, 5)):
            following = beginning.get(made[-1])
            made += chance.choice(following)[1:] if following else chance.choice(tied)
            made += chance.choice(("", "", "", " ", "a", ", ", "1"))
        return made.replace(SPACE, " ")

    return tuple(one() for _ in range(count))


def _tied(source: SentencePieceModel) -> tuple[str, ...]:
    """The pieces of several characters that share the highest score, in the order of their ids; none where only one has it."""
    normal = {piece.text: piece.score for piece in source.pieces if piece.kind == "normal"}
    top = max(normal.values(), default=0.0)
    tied = tuple(text for text, score in normal.items() if score == top and len(text) > 1)
    return tied if len(tied) > 1 else ()


def _pattern(texts: Sequence[str]) -> str:
    """The longest of these texts, as a pattern that shares what they begin with; texts are sorted."""
    by_first: dict[str, list[str]] = {}
    for text in texts:
        by_first.setdefault(text[0], []).append(text[1:])
    made = []
    for first, rest in by_first.items():
        longer = [text for text in rest if text]
        tail = f"(?:{_pattern(longer)})" if longer else ""
        made.append((first, re.escape(first) + (f"{tail}?" if tail and len(longer) < len(rest) else tail)))
    return _dispatched(made)


def _dispatched(alternatives: Sequence[tuple[str, str]]) -> str:
    """Alternatives by what they begin with; many of them in groups, so that a place looks at few."""
    if len(alternatives) <= _FEW:
        return "|".join(pattern for _, pattern in alternatives)
    groups = [alternatives[start : start + _FEW] for start in range(0, len(alternatives), _FEW)]
    return "|".join(
        f"(?=[{_escaped(group[0][0])}-{_escaped(group[-1][0])}])(?:{'|'.join(pattern for _, pattern in group)})"
        for group in groups
    )


def _ranges(characters: Iterable[str]) -> str:
    """A character class's inside."""
    spans: list[list[int]] = []
    for code in sorted(map(ord, characters)):
        if spans and code == spans[-1][1] + 1:
            spans[-1][1] = code
        else:
            spans.append([code, code])
    return "".join(_escaped(chr(a)) if a == b else f"{_escaped(chr(a))}-{_escaped(chr(b))}" for a, b in spans)


def _escaped(character: str) -> str:
    return f"\\x{{{ord(character):X}}}"
