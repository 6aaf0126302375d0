"""Small vocabularies trained here and now, for tests that need no vendor's: SentencePiece models and byte-level BPE."""

from __future__ import annotations

import io
import json
from functools import cache
from typing import Any

from surgery.tokenizer.probe import PROBE


@cache
def sentencepiece_model(only_ascii: bool = False, **settings: Any) -> bytes:
    """A SentencePiece model of 1200 pieces, trained on the probe or its ASCII strings; settings are the library's."""
    import sentencepiece

    sentencepiece.set_min_log_level(2)
    texts = [line for text in PROBE for line in text.splitlines() if line.strip()]
    texts = [text for text in texts if text.isascii() or not only_ascii]
    written = io.BytesIO()
    defaults = {"model_type": "bpe", "vocab_size": 1200, "character_coverage": 0.99, "byte_fallback": True}
    settings = {key: list(value) if isinstance(value, tuple) else value for key, value in settings.items()}
    defaults |= {"normalization_rule_name": "identity", "remove_extra_whitespaces": False, "minloglevel": 2}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=written, num_threads=1, hard_vocab_limit=False, **{**defaults, **settings},
    )  # fmt: skip
    return written.getvalue()


@cache
def byte_level_json(size: int = 700, ignore_merges: bool = False) -> str:
    """A byte-level BPE tokenizer.json trained on the probe, with one special token behind the vocabulary."""
    from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers, trainers
    from tokenizers.models import BPE

    tokenizer = Tokenizer(BPE(ignore_merges=ignore_merges))
    split = pre_tokenizers.Split(Regex(r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([text for text in PROBE if text.isascii()], trainer)
    tokenizer.add_special_tokens(["<|end|>"])
    return str(tokenizer.to_str())


def byte_level(size: int = 700, ignore_merges: bool = False) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(byte_level_json(size, ignore_merges))
    return value
