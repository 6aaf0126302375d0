"""A corpus on disk, as documents with the line ends that they have, however large the files are."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from io import TextIOWrapper
from pathlib import Path

from convert.given import given
from surgery.errors import ConversionError, show

_BLOCK = 1 << 20  # characters: a tokenizer takes some hundred bytes for each
_OVERLAP = 1 << 12  # characters: a token at the edge of one block lies within the other


@dataclass(frozen=True)
class Corpus(Iterable[str]):
    """Text files, one document each, read anew each time; a larger one in blocks that overlap and begin at lines.

    What is read a second time must be what was read first, since tokens that the first time counted are all that is kept.
    """

    paths: tuple[Path, ...]
    block: int = _BLOCK
    overlap: int = _OVERLAP
    _found: dict[Path, tuple[int, ...]] = field(default_factory=dict, compare=False, repr=False)

    def __iter__(self) -> Iterator[str]:
        for path in self.paths:
            yield from self._blocks(path)

    def _blocks(self, path: Path) -> Iterator[str]:
        """A byte that is no UTF-8 is refused with its place."""
        try:
            with given(path) as file, TextIOWrapper(file, encoding="utf-8", newline="") as told:  # line ends are tokens too
                self._check(path, os.fstat(file.fileno()))
                text = told.read(self.block)
                while text:
                    more = told.read(self.block)
                    yield text
                    text = self._behind(text) + more if more else ""
                self._check(path, os.fstat(file.fileno()))
        except UnicodeDecodeError as error:
            raise ConversionError(
                f"{show(path.name)} is not UTF-8 text (byte {error.start} of a block: {show(error.reason)}); save it as UTF-8."
            ) from None

    def _check(self, path: Path, info: os.stat_result) -> None:
        identity = (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)
        if self._found.setdefault(path, identity) != identity:
            raise ConversionError(
                f"{show(path.name)}: the corpus changed while it was read (its size, times or inode differ). Run again once "
                "nothing writes to it."
            )

    def _behind(self, text: str) -> str:
        """The end of a block, from the begin of a line where it has one."""
        end = text[-self.overlap :]
        line = end.find("\n", 0, len(end) // 2)
        return end[line + 1 :]


def documents(texts: Iterable[str]) -> Iterable[str]:
    """Texts that can be read twice: those that come once are kept."""
    return tuple(texts) if iter(texts) is texts else texts
