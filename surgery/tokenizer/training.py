"""Training the pieces to add, with the sentencepiece library and defaults for Chinese: every extension's first step."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

from surgery.errors import ConversionError, UsageError, show

_LONGEST = 4000  # bytes; sentencepiece leaves longer lines out without a word
LEAST_COVERAGE = 0.98  # sentencepiece trainer_interface.cc
#: what the library says of a corpus -> what that means
_COMPLAINTS = (
    (r"size too high .*<= (\d+)", "its text gives {0} at most. Give it more text, or ask for {0} or fewer (--size)"),
    (r"smaller than required_chars. \d+ vs (\d+)",
     "its characters alone are {0}, and each is a piece. Ask for more than {0} (--size), or leave out rare ones (--coverage)"),
    (r"sentences_\.empty", "it has no text. Give it files with lines of text"),
)  # fmt: skip
_BREAKS = "。！？；.!?; ，,"  # noqa: RUF001 - Chinese full stops and commas


def train_pieces(
    corpus: Iterable[str],
    size: int,
    *,
    algorithm: Literal["bpe", "unigram"] = "bpe",
    coverage: float = 0.9995,
    longest_piece: int = 8,
    sentences: int = 5_000_000,
    threads: int = 4,
    progress: Callable[[int], None] | None = None,
) -> bytes:
    """A SentencePiece model of `size` pieces.

    Chosen for adding to a Llama: BPE, so that every piece is reached through others of the addition; no normalisation
    and no spaces removed, as in the base; digits alone; no byte pieces, which the base has; pieces of up to eight
    characters, as longer Chinese ones are titles and boilerplate. `coverage` leaves out the rarest characters, for
    which the base has bytes. `progress` hears the number of lines read, every 10,000.
    """
    import sentencepiece

    if not LEAST_COVERAGE <= coverage <= 1:
        raise UsageError(
            f"the coverage {coverage} is none that sentencepiece trains with: it takes {LEAST_COVERAGE} to 1. 0.9995 suits "
            "Chinese and Japanese, 1.0 a small alphabet; fewer characters come of a larger corpus, or of --size"
        )
    sentencepiece.set_min_log_level(2)
    written = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_counted(_lines(corpus), progress), model_writer=written, vocab_size=size,
            model_type=algorithm, character_coverage=coverage, max_sentencepiece_length=longest_piece,
            normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=True,
            split_digits=True,
            byte_fallback=False, allow_whitespace_only_pieces=False, input_sentence_size=sentences,
            shuffle_input_sentence=False, num_threads=threads, minloglevel=2, max_sentence_length=_LONGEST + 200,
        )  # fmt: skip
    except (RuntimeError, OSError, ValueError) as error:
        raise ConversionError(f"sentencepiece cannot train {size} pieces on this corpus: {_because(str(error))}") from error
    return written.getvalue()


def _because(complaint: str) -> str:
    """What sentencepiece says, and what to do about it."""
    for pattern, told in _COMPLAINTS:
        if found := re.search(pattern, complaint):
            return told.format(*found.groups())
    return f"{show(complaint, 300)}; give it more text, or change the number of pieces or the coverage"


def _lines(corpus: Iterable[str]) -> Iterator[str]:
    """Lines that sentencepiece takes: without NUL, none empty, long ones cut behind a sentence."""
    for text in corpus:
        for line in text.replace("\x00", "").splitlines():
            rest = line.strip()
            while len(rest.encode()) > _LONGEST:
                cut = max((rest.rfind(sign, 1, _LONGEST // 4) for sign in _BREAKS), default=-1)
                cut = _LONGEST // 4 if cut < 1 else cut + 1
                yield rest[:cut]
                rest = rest[cut:]
            if rest:
                yield rest


def _counted(lines: Iterable[str], progress: Callable[[int], None] | None) -> Iterator[str]:
    count = 0
    for count, line in enumerate(lines, 1):
        if progress is not None and count % 10_000 == 0:
            progress(count)
        yield line
    if progress is not None:
        progress(count)
