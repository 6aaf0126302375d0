"""Why a cell is unequal, where that is known and not ours to mend."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from typing import Final

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


REASONS: Final[tuple[Reason, ...]] = (
    Reason("the output has none", reader="sentencepiece", said="no tokenizer.model is written"),
    Reason(
        "llama.cpp's converter knows a byte-level vocabulary by a hash of the ids that a published one gives", reader="llama.cpp",
        said="NotImplementedError: BPE pre-tokenizer was not recognized",
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
