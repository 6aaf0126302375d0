"""What a checkpoint is, once its headers have been read: a value that says where every byte lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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

    @property
    def contiguous(self) -> bool:
        """Whether the elements lie row-major without gaps, so that the tensor is one range of bytes."""
        if 0 in self.shape:
            return True
        wanted = row_major(self.shape)
        return all(size == 1 or stride == want for size, stride, want in zip(self.shape, self.strides, wanted, strict=True))


def row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides, in elements, of a tensor stored in C order without gaps.

    >>> row_major((2, 3, 4))
    (12, 4, 1)
    """
    strides: list[int] = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that was found regular; its identity shows later whether it is still the same."""

    name: str  # relative to the checkpoint, one path component
    path: Path  # with links resolved
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    sha256: str | None = None  # known for free when the file is a hub-cache blob named by its hash


@dataclass(frozen=True)
class Contents:
    """What the header of one weight file says."""

    tensors: Mapping[str, Stored]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Addition:
    """A further checkpoint whose tensors change those of a checkpoint: how, and where it lies."""

    kind: str  # what it is: an adapter, a delta
    prefix: str  # what its tensors' and files' names begin with
    path: Path
    options: Mapping[str, Any] = field(default_factory=dict)  # JSON values


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint directory, read from headers only. Lazy: no tensor bytes are in memory.

    In a directory of Meta's ``consolidated.NN.pth`` every file holds a slice of the same tensors. There, and only
    there, names in ``tensors`` are ``"<file number>/<name in the file>"``, such as ``0/layers.0.attention.wq.weight``.
    """

    path: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, Stored]
    files: Mapping[str, SourceFile]  # the weight files that hold the tensors
    documents: Mapping[str, SourceFile]  # tokenizer, generation config, licence, README: everything else worth carrying
    warnings: tuple[str, ...] = ()
    config_name: str = "config.json"  # where config was read: config.json, params.json or the .pt file itself
    metadata: Mapping[str, Any] = field(default_factory=dict)  # safetensors __metadata__, first file first
    repository: str | None = None  # "org/name@commit" when the directory is a snapshot of the Hub cache
    additions: tuple[Addition, ...] = ()  # checkpoints whose tensors and files are among these ones'
    read: tuple[SourceFile, ...] = ()  # what was read besides headers to know all this: config, index, those of additions

    @property
    def config_file(self) -> SourceFile | None:
        """The config.json that ``config`` was read from; None where another file holds it."""
        return next((file for file in self.read if file.name == self.config_name == "config.json"), None)

    def beside(self, prefix: str) -> Checkpoint:
        """The checkpoint with tensors and files named ``<prefix>/<name>``, so that they can lie among another's."""
        tensors = {
            f"{prefix}/{name}": replace(stored, name=f"{prefix}/{stored.name}", file=f"{prefix}/{stored.file}")
            for name, stored in self.tensors.items()
        }
        files = {f"{prefix}/{name}": replace(file, name=f"{prefix}/{file.name}") for name, file in self.files.items()}
        read = tuple(replace(file, name=f"{prefix}/{file.name}") for file in self.read)
        return replace(self, tensors=tensors, files=files, read=read)

    def joined(self, kind: str, other: Checkpoint, options: Mapping[str, Any]) -> tuple[Checkpoint, Checkpoint]:
        """This checkpoint with the tensors and files of another among its own, and that other as it is named there."""
        prefix = f"{kind}{len(self.additions) + 1}"
        named = other.beside(prefix)
        together = replace(
            self,
            tensors={**self.tensors, **named.tensors},
            files={**self.files, **named.files},
            read=(*self.read, *named.read),
            additions=(*self.additions, Addition(kind, prefix, other.path, options)),
        )
        return together, named
