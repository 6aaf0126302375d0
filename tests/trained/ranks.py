"""Byte-level vocabularies trained here: tokens as bytes in the order of their ranks, and merges, brought to a vendor's size."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, trainers
from tokenizers.models import BPE

from tests.trained.cache import trained
from tests.trained.corpus import lines

# The patterns as published: GPT-2's (openai/gpt-2, src/encoder.py) and those of tiktoken's cl100k kind, in which Qwen takes
# digits one by one, Llama 3 and GLM-4 up to three.
GPT_2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)", r"[^\r\n\p{L}\p{N}]?\p{L}+", "DIGITS", r" ?[^\s\p{L}\p{N}]+[\r\n]*", r"\s*[\r\n]+",
    r"\s+(?!\S)", r"\s+",
)  # fmt: skip
BY_ONE, BY_THREE = ("|".join(_CL100K).replace("DIGITS", digits) for digits in (r"\p{N}", r"\p{N}{1,3}"))
# DeepSeek cuts three times: digits, then runs of Chinese and Japanese, then the rest.
DEEPSEEK = (
    r"\p{N}{1,3}",
    "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
    r"[!-/:-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
)


@cache
def trained_json(patterns: tuple[str, ...], nfc: bool = False, size: int = 1500) -> str:
    """A byte-level BPE tokenizer.json as the library writes it, without special tokens."""

    def train() -> bytes:
        tokenizer = Tokenizer(BPE())
        if nfc:
            tokenizer.normalizer = normalizers.NFC()
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                *(pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
        # whole runs of lines, so that line ends and indents are learned as well
        tokenizer.train_from_iterator(["\n".join(lines()[place : place + 5]) for place in range(0, 1500, 5)], trainer)
        return str(tokenizer.to_str()).encode()

    name = hashlib.sha256(repr((patterns, nfc, size)).encode()).hexdigest()[:24]
    return trained(f"{name}.json", train).decode()


@cache
def ranks(pattern: str) -> dict[bytes, int]:
    """The trained tokens as bytes, by rank; transformers' own table says which byte a character stands for."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    byte = {character: place for place, character in bytes_to_unicode().items()}
    vocab: dict[str, int] = json.loads(trained_json((pattern,)))["model"]["vocab"]
    return {bytes(byte[one] for one in token): rank for token, rank in sorted(vocab.items(), key=lambda entry: entry[1])}


def tiktoken_file(pattern: str, size: int) -> bytes:
    """A tiktoken file of a vendor's size; what is behind the trained ranks are bytes that no UTF-8 text has."""
    known = list(ranks(pattern))
    known += [b"\xff\xfe" + place.to_bytes(3, "big") for place in range(size - len(known))]
    return b"".join(base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(known))


def vocab_and_merges(value: dict[str, Any], size: int | None, last: str | None = None) -> tuple[bytes, bytes]:
    """vocab.json and merges.txt of a trained tokenizer, with tokens that no merge makes up to a vendor's size."""
    vocab = dict(value["model"]["vocab"])
    for place in range(len(vocab), size or 0):
        vocab[f"ÿþ{place}"] = place
    if last is not None:
        vocab[last] = vocab.pop(f"ÿþ{len(vocab) - 1}")
    joined = "\n".join(" ".join(pair) for pair in value["model"]["merges"])
    return json.dumps(vocab, ensure_ascii=False).encode(), f"#version: 0.2\n{joined}\n".encode()
