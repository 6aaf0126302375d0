"""tokenizer.json files as the tokenizers library writes them: trained there, with special tokens and what stands in front."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors, trainers
from tokenizers.models import BPE

from tests.trained.cache import trained
from tests.trained.corpus import lines
from tests.trained.pieces import CONTROL, NORMAL, form
from tests.trained.ranks import trained_json


@cache
def pieces_json(size: int = 1500) -> str:
    """Pieces with byte fallback, as Llama's own tokenizer.json has them: no pre-tokenizer, a space put in front."""

    def train() -> bytes:
        tokenizer = _llama(BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("▁+[^▁]*"), "isolated")  # for the training alone
        named = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
        tokenizer.train_from_iterator(
            lines(), trainers.BpeTrainer(vocab_size=size, special_tokens=named, limit_alphabet=400, show_progress=False)
        )
        value = json.loads(tokenizer.to_str())
        value["pre_tokenizer"] = None
        value["added_tokens"] = value["added_tokens"][:3]
        return json.dumps(value, ensure_ascii=False).encode()

    return trained(f"pieces-{size}.json", train).decode()


def finished(text: str, special: Sequence[str], plain: Sequence[str] = (), front: str | None = None, **model: Any) -> bytes:
    """A trained tokenizer.json with its special tokens, others that are only never split, and the one in front."""
    value = json.loads(text)
    value["model"] |= model
    tokenizer = Tokenizer.from_str(json.dumps(value))
    tokenizer.add_special_tokens(list(special))
    tokenizer.add_tokens([AddedToken(one, special=False, normalized=False) for one in plain])
    if front is not None:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{front} $A", pair=f"{front} $A {front} $B", special_tokens=[(front, tokenizer.token_to_id(front))]
        )
    return str(tokenizer.to_str()).encode()


def model_json(model: bytes, front: str | None = None) -> bytes:
    """A BPE model's tokenizer.json as transformers' converter makes it: every pair of pieces that is a piece, by its score."""
    made = form.ModelProto.FromString(model)
    scores = {piece.piece: piece.score for piece in made.pieces if piece.type == NORMAL}
    halves = ((text[:cut], text[cut:]) for text in scores for cut in range(1, len(text)))
    pairs = [pair for pair in halves if scores.keys() >= set(pair)]
    place = {piece.piece: number for number, piece in enumerate(made.pieces)}
    merges = sorted(pairs, key=lambda pair: (-scores["".join(pair)], place["".join(pair)], place[pair[0]], place[pair[1]]))
    tokenizer = _llama(BPE(place, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    return finished(str(tokenizer.to_str()), [piece.piece for piece in made.pieces if piece.type in (2, CONTROL)], front=front)


def _llama(model: BPE) -> Tokenizer:
    """What Llama's tokenizer.json does before and behind its model."""
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def byte_level(patterns: tuple[str, ...], *special: str, nfc: bool = False, **options: Any) -> bytes:
    return finished(trained_json(patterns, nfc), special, **options)
