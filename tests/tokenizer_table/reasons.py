"""Why a cell is unequal, where that is known and not ours to mend."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from typing import Any, Final

from tests.tokenizer_table.cells import Cell


@dataclass(frozen=True)
class Reason:
    """Patterns of what it is about; ``parts`` may differ, and ``said`` is how the reader's own words begin, if it has any."""

    why: str
    vocabulary: str = "*"
    way: str = "*"
    reader: str = "*"
    parts: tuple[str, ...] = ()
    said: str = ""


_OWN_LAYOUT = ("pieces", "words", "specials", "trimmed")  # ways after which a model is laid out as its vendor did
_NUMBERS = ("ids", "framed")


def _each(ways: tuple[str, ...], *vocabularies: str, **reason: Any) -> tuple[Reason, ...]:
    return tuple(Reason(vocabulary=one, way=way, **reason) for one in vocabularies for way in ways)


REASONS: Final[tuple[Reason, ...]] = (
    Reason("the output has none", reader="sentencepiece", said="no tokenizer.model is written"),
    *_each(
        ("*",), "chinese-llama*", "vendor chinese_llama*", reader="transformers*", parts=_NUMBERS,
        why="tied pieces of characters that lower pieces have too, where an order of merges has to do",
    ),
    *_each(
        ("trimmed",), "chinese-llama*", "vendor chinese_llama*", reader="sentencepiece", parts=_NUMBERS,
        why="tied pieces, where the corpus keeps the cut that the library made of it",
    ),
    *(
        Reason(
            "behind a new special token text begins with a space, as behind the source's, which transformers 5 does not put",
            vocabulary=one, way="specials", reader=reader, parts=_NUMBERS,
        )
        for one in ("llama-published", "vendor llama2 whole") for reader in ("transformers 4", "llama.cpp")
    ),
    *_each(
        ("*",), "unigram-bytes", reader="transformers*", parts=_NUMBERS,
        why="two ways of cutting with nearly equal scores: SentencePiece adds in float32, tokenizers in float64",
    ),
    *_each(
        ("*",), "*baichuan1", reader="transformers*", parts=(*_NUMBERS, "text", "inside"),
        why="combining marks, whose order Unicode's NFKC changes and SentencePiece's does not",
    ),
    *_each(
        ("*",), "*minicpm3*", parts=_NUMBERS,
        why="the library's Llama class reads this file otherwise than it says, in 5 otherwise than in 4, and OUT follows",
    ),
    *_each(
        ("*",), "vendor chatglm?", "vendor gpt2", parts=(*_NUMBERS, "text"),
        why="the vendor's code does not look for special tokens in a text, as the library does with every tokenizer.json",
    ),
    *_each(
        ("*",), "*internlm", "*internlm2", reader="sentencepiece", parts=_NUMBERS,
        why="a piece that is the null character, which sentencepiece no longer uses and the vendor's code did",
    ),
    *_each(
        ("*",), "vendor internlm2", reader="transformers*", parts=("text",),
        why="ids whose pieces the vendor's settings give other names, as [UNUSED_TOKEN_145], which is <|im_end|> there",
    ),
    *_each(
        ("*",), "vendor qwen*", reader="llama.cpp", parts=(*_NUMBERS, "text", "inside"),
        why="llama.cpp does not normalise text (NFC), and takes pieces such as </s> for special tokens",
    ),
    *_each(
        _OWN_LAYOUT, "vendor qwen1", reader="llama.cpp", said="AttributeError",
        why="llama.cpp's converter of the vendor's layout runs the repository's code",
    ),
    Reason(
        "llama.cpp's converter knows a byte-level vocabulary by a hash of the ids of a published one", reader="llama.cpp",
        said="NotImplementedError: BPE pre-tokenizer was not recognized",
    ),
    *_each(
        ("*",), "*baichuan1", reader="llama.cpp", parts=(*_NUMBERS, "text", "inside"),
        why="the model normalises text (nmt_nfkc) before it looks for pieces, which llama.cpp does not",
    ),
    Reason(
        "llama.cpp's converter takes only a tokenizer.model for this layout, and a trimmed one has none where text is normalised",
        vocabulary="*baichuan1", way="trimmed", reader="llama.cpp", said="FileNotFoundError",
    ),
    *_each(
        ("*",), "chinese-llama", "vendor chinese_llama", reader="llama.cpp", parts=_NUMBERS,
        why="tied pieces beside special tokens, where what is right is the library's order of merges",
    ),
    *_each(
        ("*",), "chinese-llama-2", "vendor chinese_llama2", reader="llama.cpp", parts=_NUMBERS,
        why="special tokens that take the spaces beside them, which llama.cpp leaves, and tied pieces beside them",
    ),
    *_each(
        ("*",), "*internlm", "*internlm2", reader="llama.cpp", parts=_NUMBERS,
        why="special tokens that take the spaces beside them, which llama.cpp leaves, and a null character",
    ),
    *_each(
        ("*",), "*yi", "gemma", reader="llama.cpp", parts=_NUMBERS,
        why="a sign for a space (U+2581) that stands in the text and is a user-defined piece too",
    ),
    *_each(
        ("*",), "unigram-bytes", reader="llama.cpp", parts=_NUMBERS,
        why="a Unigram model, which llama.cpp's converter takes for one of merges in a Llama",
    ),
    Reason(
        "a Unigram model without bytes, which llama.cpp does not load in a Llama", "unigram", reader="llama.cpp",
        said="it crashes",
    ),
    *_each(
        ("converted", "transplanted"), "*chatglm?", "*glm4", reader="llama.cpp", parts=("framed",),
        why="two tokens stand in front of a text, and llama.cpp puts one there",
    ),
    *_each(
        ("converted", "transplanted"), "vendor glm4", reader="llama.cpp", parts=_NUMBERS,
        why="two tokens in front of a text; and words that no merges lead to, which tiktoken looks up, and llama.cpp not here",
    ),
    *_each(
        _OWN_LAYOUT, "*baichuan2", "minicpm", reader="llama.cpp", parts=(*_NUMBERS, "text"),
        why="llama.cpp's converter of the vendor's layout assumes a space in front, and asks no file",
    ),
    *_each(
        _OWN_LAYOUT, "*chatglm?", "*glm4", reader="llama.cpp", said="KeyError: 'vocab_size'",
        why="llama.cpp's converter of the vendor's layout reads a key that its published config does not have",
    ),
    *_each(
        _OWN_LAYOUT, "*yi", "*internlm", "*internlm2", reader="llama.cpp", said="SystemExit",
        why="llama.cpp's converter knows no such layout",
    ),
    *_each(
        ("specials", "trimmed"), "*internlm2", reader="llama.cpp", said="IndexError",
        why="llama.cpp's converter of the vendor's layout looks added tokens up in tokenizer.model",
    ),
)  # fmt: skip


def reason(cell: Cell) -> str | None:
    """The reason that covers everything in which the cell is unequal, or None."""
    differing = {name for name, part in cell.parts.items() if part.wrong}
    for one in REASONS:
        named = zip((cell.vocabulary, cell.way, cell.reader), (one.vocabulary, one.way, one.reader), strict=True)
        if not all(fnmatch.fnmatch(value, pattern) for value, pattern in named):
            continue
        if cell.because.startswith(one.said) if cell.because and one.said else not cell.because and differing <= set(one.parts):
            return one.why
    return None
