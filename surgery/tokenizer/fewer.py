"""A SentencePiece model with some of its pieces, for whoever reads it beside a trimmed tokenizer.json (llama.cpp)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from surgery.errors import ConversionError
from surgery.tokenizer.leftmost import MARK, leftmost, unmarked
from surgery.tokenizer.merges import merges_by_score
from surgery.tokenizer.pieces import never_made
from surgery.tokenizer.pipeline import Json
from surgery.tokenizer.processor import parsed, processor
from surgery.tokenizer.sources import SentencePieceModel, read_sentencepiece

_NAMED = ("unk_id", "bos_id", "eos_id", "pad_id")  # of the trainer's settings, which say them again


def fewer_pieces(model: bytes, kept: Sequence[int]) -> bytes:
    """The model with the pieces of these ids, which ascend; they come out numbered from 0, with the scores that they had."""
    made = parsed(model)
    there = [place for place in kept if place < len(made.pieces)]
    pieces = [made.pieces[place] for place in there]
    new = {old: place for place, old in enumerate(there)}
    del made.pieces[:]
    made.pieces.extend(pieces)
    made.trainer_spec.vocab_size = len(pieces)
    for name in _NAMED:
        if made.trainer_spec.HasField(name):
            setattr(made.trainer_spec, name, new.get(getattr(made.trainer_spec, name), -1))
    data: bytes = made.SerializeToString()
    return data


def recut(tokenizer_json: Mapping[str, Any], before: bytes, after: bytes) -> Json | None:
    """The tokenizer.json of fewer pieces with tied ones cut out as SentencePiece joins those of ``after``.

    None where the tied pieces of ``before`` are not what it cuts out. A pattern of theirs would go on to cut out some that are
    gone, whose text then comes apart into more tokens than it needs (`leftmost`).
    """
    named = {token["content"] for token in tokenizer_json.get("added_tokens") or ()}
    cut = tokenizer_json.get("pre_tokenizer")
    if cut is None or cut != _tied(before, named)[2]:
        return None
    source, unmade, split = _tied(after, named)
    if split is None:
        return None
    vocab = {}
    for token, place in tokenizer_json["model"]["vocab"].items():
        text = token.removesuffix(MARK)
        vocab[text + MARK if text in unmade else text] = place
    apart = {place: text for text, place in vocab.items() if place >= len(source.pieces) or text != source.pieces[place].text}
    merges = [list(pair) for pair in merges_by_score(source.pieces, apart)]
    decoder = tokenizer_json["decoder"]
    return {
        **tokenizer_json,
        "pre_tokenizer": split,
        "decoder": unmarked(decoder) if unmade and MARK not in str(decoder) else decoder,
        "model": {**tokenizer_json["model"], "vocab": vocab, "merges": merges},
    }


def _tied(model: bytes, named: AbstractSet[str]) -> tuple[SentencePieceModel, AbstractSet[str], Json | None]:
    """The pieces of a model, those that it makes of no text, and what cuts its tied ones out, if any."""
    source = read_sentencepiece("tokenizer.model", model)
    unmade = never_made(source) - named
    return source, unmade, leftmost(source, unmade)


def agrees(model: bytes, encode: Callable[[str], Sequence[int]], texts: Iterable[str], named: Iterable[str]) -> bool:
    """Whether sentencepiece gives texts the ids that ``encode`` does; it does not look for the ``named`` tokens.

    It loads no model that lacks bytes, which a tokenizer.json that is no twin of the model may not have needed.
    """
    try:
        own = processor(model)
    except ConversionError:
        return False
    names = tuple(named)
    plain = (text for text in texts if not any(name in text for name in names))
    return all(list(own.encode(text)) == list(encode(text)) for text in plain)
