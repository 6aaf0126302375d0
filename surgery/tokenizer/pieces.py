"""SentencePiece vocabularies as text with scores: merging one into another, scores that never tie, training.

The order of the joined vocabulary is the base's pieces, then the addition's in their own order: row ids depend on it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from itertools import groupby
from types import MappingProxyType
from typing import Any, Final, Literal

from surgery.errors import ConversionError, quote, show
from surgery.tokenizer.pipeline import SPACE
from surgery.tokenizer.processor import parsed, processor
from surgery.tokenizer.sources import FLOOR, Piece, SentencePieceModel, read_sentencepiece

Scores = Literal["canonical", "published"]

#: how much better than its parts a word of a Unigram model scores: enough for engines that add in float32; and how often words
#: are scored anew, since one may be a part of another
_BETTER, _ROUNDS = 0.01, 4
#: why a piece of a model that is not of text stays out of a merge, by its kind
NO_TEXT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "unknown": "it is the unknown piece, which stands for text and is none",
        "control": "it is a control piece, which no text gives",
        "user": "it is a user-defined piece, which its own model finds before all merges: --tokens adds it as one",
        "unused": "it is marked unused, so that its own model never gives it",
        "byte": "it is a byte, and those belong to the model's own fallback",
    }
)


@dataclass(frozen=True)
class Merge:
    """A joined model, and what became of each piece of the addition."""

    model: bytes
    added: tuple[str, ...]
    duplicates: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]  # piece, reason
    unreachable: tuple[
        str, ...
    ]  # added, but the engine cuts its text otherwise: no two pieces make it up, or others join first

    @property
    def report(self) -> str:
        return (
            f"{len(self.added)} pieces added, {len(self.duplicates)} there already, {len(self.skipped)} skipped, "
            f"{len(self.unreachable)} out of reach"
        )


def merge_sentencepiece(base: bytes, addition: bytes, scores: Scores = "canonical") -> Merge:
    """The base model with the addition's pieces behind its own.

    `published` is what Chinese-LLaMA's script did (ymcui/Chinese-LLaMA-Alpaca scripts/merge_tokenizer): every piece that
    the base does not spell, whatever its kind, becomes a normal one of score 0. It outranks every old merge, so that old
    words are cut anew. `canonical` takes the pieces of text and continues below the base's lowest score: text without new
    pieces keeps its ids, and no two pieces tie.
    """
    return merge_pieces(base, read_sentencepiece("the addition", addition).pieces, scores)


def merge_pieces(base: bytes, pieces: Sequence[Piece], scores: Scores = "canonical") -> Merge:
    """The base model with these pieces of another, or some of them, as ``merge_sentencepiece`` adds them all."""
    there = {piece.text for piece in read_sentencepiece("the base", base).pieces}
    if scores == "published":
        texts = dict.fromkeys(piece.text for piece in pieces)
        fresh = {text: 0.0 for text in texts if text not in there}
        return _joined(base, fresh, tuple(text for text in texts if text in there), ())
    merge = add_pieces(base, [piece.text for piece in pieces if piece.kind == "normal"], scores)
    return replace(merge, skipped=(*merge.skipped, *left_out(pieces, there)))


def left_out(pieces: Iterable[Piece], there: AbstractSet[str]) -> tuple[tuple[str, str], ...]:
    """The pieces that are not of text and that a base lacks, each with why only a published merge has it."""
    return tuple((piece.text, NO_TEXT[piece.kind]) for piece in pieces if piece.kind != "normal" and piece.text not in there)


def add_pieces(base: bytes, pieces: Iterable[str], scores: Scores = "canonical", chains: bool = False) -> Merge:
    """The base model with these pieces behind its own; a space may be written as such.

    `chains` adds the steps between what the base cuts a word into and the word itself, without which BPE never reaches
    it: a trained addition has them, a word list does not. A Unigram model takes no steps, but the likeliest pieces: there a word
    gets a score that is better than its parts'. Both get the characters that the base spells in bytes: sentencepiece joins those
    all the same, tokenizers does not.

    With canonical scores, text without new pieces keeps its ids. So a word is left out where its pieces would be joined to an
    old one that the base itself never makes.
    """
    read = read_sentencepiece("the base", base)
    there = frozenset(piece.text for piece in read.pieces)
    wanted = Counter(word.replace(" ", SPACE) for word in pieces)
    skipped = {text: reason for text in wanted if (reason := refusal(text)) is not None}
    duplicates = tuple(text for text, times in wanted.items() if text in there or (times > 1 and text not in skipped))
    unmade = never_made(read) if scores == "canonical" and read.algorithm == "bpe" else frozenset()
    lowest = 0.0 if scores == "published" else _lowest(parsed(base))
    own = bare(base)
    fresh = [text for text in wanted if text not in skipped and text not in there]
    unigram = read.algorithm == "unigram"
    steps = {text: _steps(own, there, text, chains and not unigram, scores) for text in fresh}
    while True:
        words = [text for text in steps if text not in skipped]
        added = dict.fromkeys(step for text in words for step in steps[text] if step not in there and refusal(step) is None)
        ranked = {text: 0.0 if scores == "published" else lowest - place for place, text in enumerate(added, 1)}
        made = _joined(base, ranked, duplicates, tuple(skipped.items()))
        if unigram and chains and scores == "canonical":
            made = _lifted(base, made, ranked, words)
        revived = _made(made.model, unmade)
        blamed = {
            text: old for text in words for old in revived
            if any(step in added and step in old and step != old for step in steps[text])
        }  # fmt: skip
        if not blamed:
            return made
        for text, old in blamed.items():
            skipped[text] = f"with it the old piece {quote(old)} would come up in old text, which the base never cuts so"


def _steps(own: Any, there: AbstractSet[str], text: str, chains: bool, scores: Scores) -> list[str]:
    """What is added for a word, the word last; a published script adds nothing else."""
    if chains:
        return list(_chain(own, there, text))
    return [*(one for one in text if one not in there and scores == "canonical"), text]


def _lifted(base: bytes, made: Merge, ranked: Mapping[str, float], words: Sequence[str]) -> Merge:
    """The same for a Unigram model, with words that lie out of reach scored a little better than what they are cut into."""
    for _ in range(_ROUNDS):
        low = [text for text in made.unreachable if text in words]
        if not low:
            break
        whole, pieces = bare(made.model), parsed(made.model).pieces
        best = {text: sum(pieces[place].score for place in whole.encode(text.replace(SPACE, " "))) for text in low}
        ranked = {**ranked, **{text: max(ranked[text], score + _BETTER) for text, score in best.items()}}
        made = _joined(base, ranked, made.duplicates, made.skipped)
    return made


def _made(model: bytes, unmade: AbstractSet[str]) -> list[str]:
    """Those of these pieces that a model makes of their own text."""
    whole = bare(model)
    return [text for text in sorted(unmade) if whole.encode(text.replace(SPACE, " "), out_type=str) == [text]]


def never_made(source: SentencePieceModel) -> frozenset[str]:
    """Normal pieces that SentencePiece makes of no text: by themselves they come apart, and so they do anywhere."""
    whole = bare(source.data)
    return frozenset(
        piece.text
        for piece in source.pieces
        if piece.kind == "normal" and len(piece.text) > 1
        and whole.encode(piece.text.replace(SPACE, " "), out_type=str) != [piece.text]
    )  # fmt: skip


def _joined(
    base: bytes, added: Mapping[str, float], duplicates: tuple[str, ...], skipped: tuple[tuple[str, str], ...]
) -> Merge:
    """The base model with normal pieces of these scores behind its own."""
    model = parsed(base)
    for text, score in added.items():
        model.pieces.add(piece=text, score=score)
    data: bytes = model.SerializeToString()
    own = bare(data)
    out = tuple(text for text in added if own.encode(text.replace(SPACE, " "), out_type=str) != [text])
    return Merge(data, tuple(added), duplicates, skipped, out)


def refusal(text: str) -> str | None:
    """Why a text cannot be a piece, or None."""
    if not text:
        return "it is empty"
    if any(ord(one) < 0x20 or 0x7F <= ord(one) < 0xA0 for one in text):
        return "it has control characters"
    if "\ufffd" in text:
        return "it has a replacement character, the trace of a wrong decoding"
    return None


def _chain(own: Any, known: AbstractSet[str], word: str) -> Iterator[str]:
    """A word behind the steps to it, from the left; characters that the base spells in bytes are steps too."""
    joined = ""
    for part in _parts(own, known, word):
        yield part
        joined += part
        yield joined


def _parts(own: Any, known: AbstractSet[str], word: str) -> Iterator[str]:
    for covered, characters in groupby(word, key=known.__contains__):
        run = "".join(characters)
        yield from own.encode(run.replace(SPACE, " "), out_type=str) if covered else run


def bare(model: bytes) -> Any:
    """The engine without what it does around a text, so that a piece can be put to it as it is."""
    changed = parsed(model)
    changed.normalizer_spec.add_dummy_prefix = False
    changed.normalizer_spec.remove_extra_whitespaces = False
    return processor(changed.SerializeToString())


def _lowest(model: Any) -> float:
    lowest = min((piece.score for piece in model.pieces if piece.score > FLOOR), default=0.0)
    if lowest - len(model.pieces) < -(2**23):
        raise ConversionError(
            f"the base's lowest score is {lowest:.0f}, below which float32 cannot count a vocabulary by ones: its "
            "scores were edited; "
            "start from the vendor's own file"
        )
    return float(lowest)


def canonical(data: bytes) -> bytes:
    """The same vocabulary with scores that all differ: a normal piece whose score is taken goes last, in order of ids.

    Raises where nothing ties. The runs of spaces to which Llama gives -1e9 are left alone.
    """
    model = parsed(data)
    normal = 1  # ModelProto.SentencePiece.Type.NORMAL
    taken: set[float] = set()
    late = []
    for piece in model.pieces:
        if piece.type == normal and piece.score > FLOOR:
            (late.append(piece) if piece.score in taken else taken.add(piece.score))
    if not late:
        raise ConversionError(
            "no two pieces share a score, so there is nothing to make canonical: leave `scores` at published"
        )
    lowest = _lowest(model)
    for place, piece in enumerate(late, 1):
        piece.score = lowest - place
    rescored: bytes = model.SerializeToString()
    return rescored


def add_piece(data: bytes, text: str) -> bytes:
    """The model with one more normal piece of score 0, as Chinese-Alpaca appended [PAD]; text never reaches it."""
    reason = refusal(text)
    if reason is not None:
        raise ConversionError(f"{quote(text)} cannot be a piece: {reason}; give another text")
    if any(piece.text == text for piece in read_sentencepiece("the base", data).pieces):
        raise ConversionError(f"{show(text)} is a piece of the base already; nothing to add")
    model = parsed(data)
    model.pieces.add(piece=text, score=0.0)
    joined: bytes = model.SerializeToString()
    return joined
