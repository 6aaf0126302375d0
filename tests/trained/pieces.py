"""SentencePiece models trained here, and their pieces put where a vendor has them.

A recipe knows a vendor's vocabulary by its size, and its special tokens by their ids, so a small model is brought to
that size with filler: pieces of three characters each, of which no two make a piece, so that no text ever reaches one.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as form

from tests.trained.cache import trained
from tests.trained.corpus import chinese, english, lines

NORMAL, CONTROL, USER, BYTE = 1, 3, 4, 6  # ModelProto.SentencePiece.Type
CORPORA: dict[str, Callable[[], Sequence[str]]] = {"all": lines, "english": english, "chinese": chinese}

#: how Llama's model was trained, as its trainer_spec and normalizer_spec say
LLAMA: dict[str, Any] = {
    "model_type": "bpe", "byte_fallback": True, "split_digits": True, "allow_whitespace_only_pieces": True,
    "normalization_rule_name": "identity", "remove_extra_whitespaces": False, "max_sentencepiece_length": 16,
    "character_coverage": 0.995,
}  # fmt: skip


@dataclass(frozen=True)
class Spelled:
    """What makes one vendor's model besides the training: settings of the trainer, then the places of its pieces."""

    settings: dict[str, Any] = field(default_factory=dict)
    user: tuple[str, ...] = ()  # user-defined pieces
    controls: tuple[str, ...] = ()  # those of `user` that are control pieces
    last: bool = False  # user-defined pieces stand at the end, not behind </s>
    runs: int = 0  # runs of spaces that get -1e9, as in Llama and Mistral
    letters_first: bool = False  # single characters come before all other pieces, with the scores that they had
    size: int | None = None  # of the vendor's
    corpus: str = "all"
    pieces: int = 1200


@cache
def _trained(pieces: int, corpus: str, user: tuple[str, ...], settings: tuple[tuple[str, Any], ...]) -> bytes:
    def train() -> bytes:
        sentencepiece.set_min_log_level(2)
        written = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(CORPORA[corpus]()), model_writer=written, vocab_size=pieces, num_threads=1,
            hard_vocab_limit=False, user_defined_symbols=list(user), minloglevel=2, **dict(settings),
        )  # fmt: skip
        return written.getvalue()

    name = hashlib.sha256(repr((pieces, corpus, user, settings)).encode()).hexdigest()[:24]
    return trained(f"{name}.model", train)


def model(spelled: Spelled) -> bytes:
    """The model as the vendor has it: trained, its pieces in the vendor's order, and as many as the vendor's."""
    settings = {**LLAMA, **spelled.settings}
    data = _trained(spelled.pieces + len(spelled.user), spelled.corpus, spelled.user, tuple(sorted(settings.items())))
    made = form.ModelProto.FromString(data)
    kept = list(made.pieces)
    for piece in kept:
        if piece.piece in spelled.controls:
            piece.type = CONTROL
    fixed = [piece for piece in kept if piece.type != NORMAL]
    last = [piece for piece in fixed if spelled.last and piece.type == USER]
    normal = [*_runs(spelled.runs), *(piece for piece in kept if piece.type == NORMAL and not _is_run(piece, spelled.runs))]
    if spelled.letters_first:
        normal.sort(key=lambda piece: len(piece.piece) > 1)
    ordered = [*(piece for piece in fixed if piece not in last), *normal]
    if spelled.size is not None:
        ordered += filler(spelled.size - len(ordered) - len(last), min(piece.score for piece in normal if piece.score > -1e8))
    del made.pieces[:]
    made.pieces.extend([*ordered, *last])
    serialised: bytes = made.SerializeToString()
    return serialised


def _runs(count: int) -> list[Any]:
    return [form.ModelProto.SentencePiece(piece="▁" * 2 ** (place + 1), score=-1e9) for place in range(count)]


def _is_run(piece: Any, count: int) -> bool:
    return piece.piece in {run.piece for run in _runs(count)}


def filler(count: int, below: float | None) -> Iterable[Any]:
    """Pieces that nothing reaches, scored on below the lowest score, or 0 each where None is given."""
    assert count >= 0, f"the trained pieces are {-count} too many for the vendor's size"
    for place in range(count):
        yield form.ModelProto.SentencePiece(
            piece=filling(place), score=0.0 if below is None else below - place - 1, type=NORMAL
        )


def filling(place: int) -> str:
    """Three characters of private use."""
    return chr(0xE000 + place % 64) + chr(0xE400 + place // 64 % 64) + chr(0xE800 + place // 4096)


def joined_as_published(base: bytes, addition: bytes) -> bytes:
    """Chinese-LLaMA's way to merge, as its authors describe it: each piece that the base lacks, at the end, with score 0."""
    made, other = form.ModelProto.FromString(base), form.ModelProto.FromString(addition)
    there = {piece.piece for piece in made.pieces}
    made.pieces.extend(
        form.ModelProto.SentencePiece(piece=piece.piece, score=0.0) for piece in other.pieces if piece.piece not in there
    )
    serialised: bytes = made.SerializeToString()
    return serialised
