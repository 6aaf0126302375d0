"""Opening and reading files that an untrusted checkpoint names: regular files only, inside the checkpoint only.

Never mmap: a source truncated during the run would kill the process with SIGBUS instead of an error.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from convert.checkpoint.names import printed
from convert.checkpoint.stored import Checkpoint, SourceFile
from surgery.errors import ConversionError, LimitExceeded, StorageFailed, UnsafeInput, listed, show

_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
_MOST_ENTRIES = 100_000
_BLOB = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_UNFINISHED = (".incomplete", ".part", ".tmp", ".aria2", ".crdownload")
_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO (named pipe)"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
    (stat.S_ISSOCK, "a socket"),
)


class Missing(ConversionError):
    """A file of the checkpoint is not there: an unfinished download, or not a checkpoint at all."""


@dataclass(frozen=True)
class Folder:
    """A checkpoint's directory with links resolved, and the names in it."""

    path: Path
    names: frozenset[str]
    blobs: Path | None  # the only other place that links may lead to: the blobs of a hub-cache repository
    repository: str | None  # "org/name@commit", if the path is a hub-cache snapshot

    def find(self, name: str) -> SourceFile:
        """The regular file of this name, not yet opened. Links may lead to this directory or to the hub's blobs."""
        if name not in self.names:
            raise Missing(f"{printed(name)} is missing: not found in {show(str(self.path))}.{self.unfinished(name)}")
        try:
            real = Path(os.path.realpath(self.path / name, strict=True))
            info = os.stat(real)
        except FileNotFoundError:
            target = os.readlink(self.path / name)
            raise Missing(
                f"{printed(name)} is a dangling link: its target {show(target)} does not exist (a pruned hub cache or "
                f"an interrupted download). Download the checkpoint again.{self.unfinished(name)}"
            ) from None
        except PermissionError as error:
            raise StorageFailed(f"{printed(name)} cannot be read: {error.strerror}. Check its permissions.") from error
        except OSError as error:
            raise ConversionError(f"{printed(name)} cannot be opened: {error.strerror}.") from error
        if not stat.S_ISREG(info.st_mode):
            raise _irregular(name, info.st_mode)
        in_blobs = real.parent == self.blobs and _BLOB.fullmatch(real.name) is not None
        if real.parent != self.path and not in_blobs:
            raise UnsafeInput(
                f"{printed(name)} is a link to a place outside the checkpoint ({show(str(real))}). Its contents could "
                f"end up in the output, so it is not opened. Replace the link by a copy of the file if you trust it."
            )
        digest = real.name if in_blobs and len(real.name) == 64 else None
        return SourceFile(name, real, info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino, digest)

    def unfinished(self, name: str) -> str:
        """A sentence naming the unfinished downloads that explain why ``name`` is not there, or nothing."""
        beside = sorted(entry for entry in self.names if entry.startswith(name) and entry.endswith(_UNFINISHED))
        if not beside and self.blobs is not None and self.blobs.is_dir():
            with os.scandir(self.blobs) as entries:
                beside = sorted(entry.name for entry in entries if entry.name.endswith(".incomplete"))
        if not beside:
            return ""
        return f" An unfinished download lies there ({listed(printed(entry) for entry in beside)}): finish it."


def list_folder(path: Path) -> Folder:
    """The directory at ``path``, which may itself be a link."""
    try:
        real = Path(os.path.realpath(path, strict=True))
        names = []
        with os.scandir(real) as entries:
            for entry in entries:
                names.append(entry.name)
                if len(names) > _MOST_ENTRIES:
                    raise ConversionError(f"{show(str(path))} has over {_MOST_ENTRIES} entries: no checkpoint has.")
    except NotADirectoryError:
        raise ConversionError(f"{show(str(path))} is a file, not a directory that holds a checkpoint.") from None
    except OSError as error:
        raise StorageFailed(f"{show(str(path))} cannot be listed: {error.strerror}.") from error
    blobs = real.parent.parent / "blobs" if real.parent.name == "snapshots" else None
    return Folder(real, frozenset(names), blobs, _repository(real) if blobs else None)


def _repository(snapshot: Path) -> str | None:
    kind, _, name = snapshot.parent.parent.name.partition("--")
    return f"{name.replace('--', '/')}@{snapshot.name}" if kind == "models" and name else None


def _irregular(name: str, mode: int) -> ConversionError:
    kind = next((words for test, words in _KINDS if test(mode)), "something else")
    return ConversionError(f"{printed(name)} is not a regular file but {kind}. It is not read; replace it by the file.")


def _identity(info: os.stat_result) -> tuple[int, int, int, int]:
    return info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino


def _changed(name: str, how: str) -> ConversionError:
    return ConversionError(
        f"{printed(name)}: the source changed since it was examined ({how}). What was read from it cannot be trusted; "
        f"run again once nothing writes to it. A chmod or a new hard link changes the times too and is harmless."
    )


class OpenFile:
    """An open regular file, read at given places only; it has no position, so threads may share it."""

    def __init__(self, source: SourceFile) -> None:
        """Open, or refuse when the file is no longer the one that was found."""
        self.source = source
        try:
            self.descriptor = os.open(source.path, _OPEN)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):  # it was found there, and was no link
                raise _changed(source.name, "it is gone, or has become a link") from error
            if error.errno == errno.EMFILE:
                raise LimitExceeded(
                    f"{printed(source.name)} cannot be opened: too many open files. Every shard stays open during a "
                    f"run, so raise the limit (`ulimit -n 16384`) and run again."
                ) from error
            raise StorageFailed(f"{printed(source.name)} cannot be opened: {error.strerror}.") from error
        try:
            self.unchanged()
        except BaseException:
            self.close()
            raise

    @property
    def size(self) -> int:
        return self.source.size

    def close(self) -> None:
        os.close(self.descriptor)

    def unchanged(self) -> None:
        """Refuse when size, modification or change time, or inode differ from when the file was found."""
        found = self.source
        if _identity(os.fstat(self.descriptor)) != (found.size, found.mtime_ns, found.ctime_ns, found.inode):
            raise _changed(found.name, "its size, times or inode differ")

    def wrong(self, what: str, kind: type[ConversionError] = ConversionError) -> ConversionError:
        """An error about this file, to be raised."""
        return kind(f"{printed(self.source.name)}: {what}")

    def read(self, offset: int, count: int) -> bytes:
        """Exactly ``count`` bytes from ``offset``; asks for no memory that the file does not fill."""
        if not (offset >= 0 and count >= 0 and offset + count <= self.size):
            raise self.wrong(f"truncated: it has {self.size:,} bytes but {offset + count:,} are needed.")
        buffer = bytearray(count)
        self.read_into(offset, memoryview(buffer))
        return bytes(buffer)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill ``buffer`` with the bytes from ``offset``."""
        buffer = buffer.cast("B")
        while len(buffer):
            try:
                count = os.preadv(self.descriptor, [buffer], offset)
            except OSError as error:
                raise StorageFailed(
                    f"{printed(self.source.name)}: reading {len(buffer):,} bytes at offset {offset:,} failed: "
                    f"{error.strerror}. The disk or the network share under it is failing; copy the file elsewhere."
                ) from error
            if count == 0:
                raise self.wrong(f"truncated: the file ends before offset {offset:,}, so it shrank while being read.")
            offset, buffer = offset + count, buffer[count:]


@contextmanager
def opened(source: SourceFile) -> Iterator[OpenFile]:
    """The file, open for the length of a ``with`` block."""
    file = OpenFile(source)
    try:
        yield file
    finally:
        file.close()


class Sources:
    """Files of a checkpoint, open from the plan to the end, so that no replacement can mix in."""

    def __init__(self, files: Mapping[str, SourceFile]) -> None:
        with ExitStack() as stack:
            self._files = {name: stack.enter_context(opened(source)) for name, source in files.items()}
            self._stack = stack.pop_all()

    def __enter__(self) -> Sources:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._stack.close()

    def read_into(self, file: str, offset: int, buffer: memoryview) -> None:
        """Fill ``buffer`` from the file of this name (a key of ``Checkpoint.files``). Threads may call it at once."""
        self._files[file].read_into(offset, buffer)

    def content(self, file: str) -> bytes:
        """The whole of a small file."""
        return self._files[file].read(0, self._files[file].size)

    def unchanged(self) -> None:
        """Refuse when any file is no longer the one that was planned with."""
        for file in self._files.values():
            file.unchanged()


def open_sources(checkpoint: Checkpoint) -> Sources:
    """The checkpoint's weight files, opened; use it in a ``with`` block."""
    return Sources(checkpoint.files)


#: what documents are called among the files that a run holds open, and what was read to plan it
DOCUMENT, READ = "document: ", "read: "


def open_all(checkpoint: Checkpoint, documents: Iterable[str]) -> Sources:
    """The weight files, these documents, and what the plan was made from: all that decides what a run writes."""
    return Sources(
        {
            **checkpoint.files,
            **{f"{DOCUMENT}{name}": checkpoint.documents[name] for name in documents},
            **{f"{READ}{file.name}": file for file in checkpoint.read},
        }
    )


def identity(file: SourceFile) -> dict[str, str | int | None]:
    """What tells a file from any that takes its place, as plain JSON values."""
    return {
        "name": file.name,
        "size": file.size,
        "mtime_ns": file.mtime_ns,
        "ctime_ns": file.ctime_ns,
        "inode": file.inode,
        "sha256": file.sha256,
    }


def fingerprint(checkpoint: Checkpoint) -> list[dict[str, str | int | None]]:
    """The identity of every weight file in a stable order, as plain JSON values."""
    return [identity(file) for _, file in sorted(checkpoint.files.items())]


def whole_fingerprint(checkpoint: Checkpoint) -> list[dict[str, str | int | None]]:
    """The same of every file that decides what a run writes."""
    others = sorted((file for file in (*checkpoint.documents.values(), *checkpoint.read) if file.name != "README.md"), key=_name)
    return [*fingerprint(checkpoint), *map(identity, others)]


def _name(file: SourceFile) -> str:
    return file.name
