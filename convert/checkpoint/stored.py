"""What a checkpoint is, once its headers have been read: a value that says where every byte lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surgery.dtypes import ITEMSIZE


@dataclass(frozen=True, slots=True)
class Stored:
    """One tensor as it lies in one file: a strided window on its bytes. Nothing has been read."""

    name: str
    file: str  # key into Checkpoint.files
    dtype: str  # as in surgery.dtypes
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # in elements, one per axis; not always row-major in torch files
    offset: int  # byte offset in the file of element 0

    @property
    def numel(self) -> int:
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def nbytes(self) -> int:
        return self.numel * ITEMSIZE[self.dtype]


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that was opened and found regular; its identity shows later whether it is still the same."""

    name: str  # relative to the checkpoint, one path component
    path: Path  # with links resolved
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    sha256: str | None = None  # known for free when the file is a hub-cache blob named by its hash


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint directory, read from headers only. Lazy: no tensor bytes are in memory."""

    path: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, Stored]
    files: Mapping[str, SourceFile]  # the weight files that hold the tensors
    documents: Mapping[str, SourceFile]  # tokenizer, generation config, licence, README: everything else worth carrying
    warnings: tuple[str, ...] = ()
