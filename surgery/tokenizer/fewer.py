"""A SentencePiece model with some of its pieces, for whoever reads it beside a trimmed tokenizer.json (llama.cpp)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from surgery.errors import ConversionError
from surgery.tokenizer.processor import parsed, processor

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
