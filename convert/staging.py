"""The staging directory: what is under the final name is complete; what is not complete is here.

One run owns it (flock, which dies with the process). The journal has a line per shard that was written, synced, read back and
renamed, with what its bytes depend on. A run keeps the shards that it would write the same, and whose bytes still hash to what
the journal says: existence, size and time prove nothing.

Some file systems grant a lock to everybody (Lustre, GPFS, some NFS). So nothing here relies on it: every file is written under
a name of its own, and what is published are the very files that this run wrote or proved, one by one, in a directory that
nobody else writes to. Of two runs one publishes; the other finds what it needs gone, or OUT there, and says so.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import xxhash

from convert import journal, owner
from convert.checkpoint import is_document
from convert.owner import Owner
from convert.paths import check_absent, staging_of
from convert.system import rename_no_replace, umask
from surgery.errors import OutputBusy, StorageFailed, show

_WHOLE = "whole"
_GROWING = re.compile(r"[\w.\-]+\.tmp\.\d+\.[0-9a-f]{8}", re.ASCII)
#: what a run puts there: shards, whole and growing, and settings; whatever else is a document that was carried over
_OURS = re.compile(
    r"(model\.safetensors|[\w.\-]+-\d+-of-\d+\.safetensors|consolidated\.\d{2,}\.pth|ckpt\.pt|delta\.zst)"
    r"|[\w.\-]+\.(json|jsonl|jinja|bpe)",
    re.ASCII,
)
_CHUNK = 1 << 20


@dataclass(frozen=True)
class _Made:
    """A file as this run wrote or proved it."""

    inode: int
    size: int
    mtime_ns: int
    digest: str  # xxh3 of its bytes

    @classmethod
    def of(cls, path: Path, digest: str) -> _Made:
        found = os.stat(path, follow_symlinks=False)
        return cls(found.st_ino, found.st_size, found.st_mtime_ns, digest)


@dataclass(frozen=True)
class Grown:
    """A file that grew in an earlier run: where it is, up to where it is proven, and what was told of each stretch."""

    path: Path
    end: int
    told: tuple[Any, ...]


@dataclass
class Staging:
    """A locked staging directory and the shards in it that are proven, by name with their hash."""

    path: Path
    keys: Mapping[str, str]  # of the files that the run writes: what the bytes of each depend on
    owner: Owner
    proven: dict[str, str] = field(default_factory=dict)
    grown: dict[str, Grown] = field(default_factory=dict)  # files that grow, as earlier runs left them
    left: tuple[str, ...] = ()  # what was found beside the result and was not published
    _directory: int = -1
    _journal: int = -1
    _made: dict[str, _Made] = field(default_factory=dict)
    _temporaries: list[Path] = field(default_factory=list)
    _ended: bool = False  # by this run itself

    def file(self, name: str) -> Path:
        return self.path / name

    def temporary(self, name: str) -> Path:
        """A path that no other run uses, for what will have this name."""
        path = self.path / f"{name}.tmp.{os.getpid()}.{secrets.token_hex(4)}"
        self._temporaries.append(path)
        return path

    def record(self, temporary: Path, name: str, size: int, digest: str) -> None:
        """Give a complete shard its name, and note it; on disk before this returns."""
        self._keep(temporary, name, digest)
        sync_directory(self.path)
        journal.append(self._journal, {"shard": name, "key": self.keys[name], "size": size, "xxh3_128": digest})
        self.proven[name] = digest

    def grow(self, name: str) -> Path:
        """A file of this run's own that begins with what is proven of an earlier run's; it is `record`ed when it is whole."""
        temporary, earlier = self.temporary(name), self.grown.get(name)
        with open(temporary, "xb") as file:
            if earlier is not None:
                with open(earlier.path, "rb") as proven:
                    left = earlier.end
                    while left and (block := proven.read(min(left, _CHUNK))):
                        file.write(block)
                        left -= len(block)
                file.flush()
                os.fsync(file.fileno())
        if earlier is not None:
            sync_directory(self.path)
            earlier.path.unlink()
        return temporary

    def mark(self, name: str, begin: int, end: int, digest: str, told: Any) -> None:
        """Note that a file which grows is complete on disk from ``begin`` to ``end``, and what is to be known of that."""
        line = {"shard": name, "key": self.keys[name], "begin": begin, "end": end, "xxh3_128": digest, "told": told}
        journal.append(self._journal, line)

    def write(self, name: str, content: bytes) -> None:
        """A small file, whole and on disk under its name, or not there."""
        temporary = self.temporary(name)
        try:
            write_whole(temporary, content, name)
            self._keep(temporary, name, xxhash.xxh3_128_hexdigest(content))
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def adopt(self, folder: Path) -> tuple[str, ...]:
        """Take the files of a folder in this directory; returns their names."""
        names = tuple(sorted(entry.name for entry in folder.iterdir()))
        for name in names:
            self.write(name, (folder / name).read_bytes())
        shutil.rmtree(folder)
        return names

    def publish(self, out: Path, names: Iterable[str]) -> None:
        """The one rename: exactly these files, everything synced, never over something that exists."""
        whole = self._collected(names)
        try:
            rename_no_replace(whole, out)
        except OutputBusy:
            self._put_back(whole)
            raise OutputBusy(
                f"{show(str(out))} appeared during the run; the finished output stays in {show(str(self.path))}. Move the other "
                "away and run again, which takes no second pass."
            ) from None
        self._ended = True  # OUT is this run's, whatever fails from here on
        try:
            sync_directory(out.parent)
        except OSError as error:
            raise StorageFailed(
                f"{show(str(out))} is whole and in its place, but the disk did not confirm it ({show(error.strerror)}): after a "
                "power cut it may not be there. Check the disk, and compare OUT by `weightsmith verify` before you rely on it."
            ) from error
        finally:
            self._clear()

    def set_aside(self, name: Path, names: Iterable[str]) -> Path:
        """Keep a refused output under another name; returns the name used."""
        whole = self._collected(names)
        for name_ in (name, *(name.with_name(f"{name.name}.{i}") for i in range(1, 1000))):
            if not os.path.lexists(name_):
                os.rename(whole, name_)
                self._clear()
                return name_
        raise StorageFailed(f"{show(str(name))} and 999 numbered names beside it are taken; remove some.")

    def give_up(self) -> None:
        """Leave nothing of a run that was refused before its first shard; what earlier runs finished stays."""
        if not self.proven and not self.grown:
            self._forget()

    def lost(self, out: Path) -> OutputBusy | None:
        """That another run was here, if one was: whatever failed meanwhile, failed for that."""
        if self._ended:
            return None
        taken = os.path.lexists(out)
        other = owner.found(self.path)
        if self._in_place() and other is not None and other.run == self.owner.run and not (taken and self._missing()):
            return None
        if taken:
            self._forget()
            return OutputBusy(
                f"{show(str(out))} appeared while this run was writing it: another run finished first, on a file system that "
                "grants its locks to everybody. Nothing of this run is in it. See whether it is what you want, or choose "
                "another OUT."
            )
        return OutputBusy(
            f"another run{f' ({other})' if other is not None else ''} took over {show(str(self.path))} while this one was "
            "writing there, on a file system that grants its locks to everybody. Nothing was published by this run. Wait for "
            "the other, or choose another OUT."
        )

    def _in_place(self) -> bool:
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self._directory))
        except OSError:
            return False

    def _missing(self) -> bool:
        """Whether a file is gone that this run wrote or proved."""
        return not all(os.path.lexists(self.file(name)) for name in self._made)

    def _keep(self, temporary: Path, name: str, digest: str) -> None:
        made = _Made.of(temporary, digest)
        os.rename(temporary, self.file(name))
        self._made[name] = made

    def _collected(self, names: Iterable[str]) -> Path:
        """A directory with these files alone, each the one that this run made, ready to get its name."""
        whole = self.temporary(_WHOLE)
        whole.mkdir(mode=0o700)
        try:
            for name in dict.fromkeys(names):
                os.rename(self.file(name), whole / name)
                made = self._made[name]
                if _Made.of(whole / name, made.digest) != made and hash_file(whole / name, lambda: None) != made.digest:
                    raise StorageFailed(
                        f"{show(str(self.file(name)))} is no longer what was written there. Something else writes to this "
                        "directory; nothing was published. Run again once it does not."
                    )
            whole.chmod(0o777 & ~umask())
            sync_directory(whole)
        except BaseException:
            self._put_back(whole)
            raise
        return whole

    def _put_back(self, whole: Path) -> None:
        with suppress(OSError):
            _emptied(whole, self.path)

    def _forget(self) -> None:
        """Remove what this run put there, where it still is what this run put there."""
        for name, made in self._made.items():
            with suppress(OSError):
                if _Made.of(self.file(name), made.digest) == made:
                    self.file(name).unlink()
        for path in self._temporaries:
            with suppress(OSError):
                path.unlink()
        self._clear()

    def _clear(self) -> None:
        """Remove our own notes and the directory; what others put there stays, and is named."""
        self._ended = True
        told = owner.found(self.path)
        if told is None or told.run == self.owner.run:
            for name in (journal.NAME, owner.NAME):
                self.file(name).unlink(missing_ok=True)
        with suppress(OSError):
            self.path.rmdir()
        with suppress(OSError):
            self.left = tuple(sorted(os.listdir(self.path)))


@contextmanager
def staging(out: Path, keys: Mapping[str, str], check: Callable[[], None]) -> Iterator[Staging]:
    """The staging directory of ``out``, locked, for a run whose files have these ``keys``.

    ``check`` raises when the run is to stop; what earlier runs left may take minutes to hash.
    """
    path = staging_of(out)
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise StorageFailed(
            f"{show(str(path))}, where the output is to grow, cannot be made: {error.strerror}."
        ) from error
    stage = Staging(path, keys, owner.this(), _directory=directory)
    try:
        _lock(directory, path)
        owner.written(path, stage.owner)
        _recover(path)
        _prove(stage, check)
        try:
            check_absent(out)  # under the lock: another run may have finished since this one began
        except OutputBusy:
            stage.give_up()
            raise
        _sweep(path, {*stage.proven, *(grown.path.name for grown in stage.grown.values())})
        stage._journal = journal.open_(path / journal.NAME)
        sync_directory(path)
        yield stage
    finally:
        told = owner.found(path)
        if told is not None and told.run == stage.owner.run:
            (path / owner.NAME).unlink(missing_ok=True)
        if stage._journal >= 0:
            os.close(stage._journal)
        os.close(directory)


def hash_file(path: Path, check: Callable[[], None], begin: int = 0, end: int | None = None) -> str:
    """xxh3 of a file's bytes, or of those from ``begin`` to ``end``, read through the page cache."""
    told = xxhash.xxh3_128()
    buffer = memoryview(bytearray(_CHUNK))
    with open(path, "rb", buffering=0) as file:
        file.seek(begin)
        left = None if end is None else end - begin
        while count := file.readinto(buffer if left is None else buffer[:left]):
            check()
            told.update(buffer[:count])
            left = None if left is None else left - count
    return told.hexdigest()


def write_whole(path: Path, content: bytes, name: str) -> None:
    """A new file, to be called ``name``, on disk and read back: a write that reports success may have stored nothing."""
    with open(path, "xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    if path.read_bytes() != content:
        raise not_stored(name)


def not_stored(name: str, outcome: str = "nothing was published") -> StorageFailed:
    """What to raise where a file, read back, is not what was written."""
    return StorageFailed(
        f"{show(name)}: what was read back is not what was written. The disk, the memory or the network share is failing; "
        f"{outcome}."
    )


def sync_directory(path: Path) -> None:
    _sync(path, os.O_DIRECTORY)


def sync_file(path: Path) -> None:
    _sync(path, 0)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, os.O_RDONLY | flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lock(directory: int, path: Path) -> None:
    """Refuse to begin beside another run: one that holds the lock, or one whose note tells that it is still at work."""
    held = False
    try:
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        held = True
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP):  # some network file systems have no locks
            raise
    other = owner.found(path)
    if held or (other is not None and other.alive):
        told = f" ({other})" if other is not None else ""
        raise OutputBusy(f"another run{told} is writing {show(str(path))}. Wait for it, or choose another OUT.")


def _recover(path: Path) -> None:
    """Put back what a run had collected when it ended: by a name of our own first, so that nobody publishes it meanwhile."""
    for entry in os.listdir(path):
        if entry.startswith(f"{_WHOLE}.tmp.") and _GROWING.fullmatch(entry) and (path / entry).is_dir():
            mine = path / f"{_WHOLE}.tmp.{os.getpid()}.{secrets.token_hex(4)}"
            os.rename(path / entry, mine)
            _emptied(mine, path)


def _emptied(whole: Path, path: Path) -> None:
    for name in os.listdir(whole):
        os.replace(whole / name, path / name)
    whole.rmdir()


def _prove(stage: Staging, check: Callable[[], None]) -> None:
    """Find the shards that the journal vouches for, that this run would write the same, and whose bytes agree."""
    lines: dict[str, list[dict[str, Any]]] = {}
    for line in journal.read(stage.path / journal.NAME):
        if stage.keys.get(line["shard"]) == line["key"]:
            lines.setdefault(line["shard"], []).append(line)
    for name, told in lines.items():
        if stretches := [line for line in told if "told" in line]:
            stage.grown |= _grown(stage.path, name, stretches, check)
        told = [line for line in told if "told" not in line]
        shard = stage.path / name
        if not shard.is_file() or shard.is_symlink():
            continue
        size = shard.stat().st_size
        if any(line["size"] == size for line in told):
            made = _Made.of(shard, hash_file(shard, check))
            if any((line["size"], line["xxh3_128"]) == (size, made.digest) for line in told):
                stage.proven[name], stage._made[name] = made.digest, made


def _grown(path: Path, name: str, lines: Iterable[Mapping[str, Any]], check: Callable[[], None]) -> dict[str, Grown]:
    """Of the files that an earlier run let grow under this name, the one of which most is proven."""
    begins = {line["begin"]: line for line in lines}  # the last of each: what came before it was written again
    found: list[Grown] = []
    for entry in os.listdir(path):
        growing = entry.startswith(f"{name}.tmp.") and _GROWING.fullmatch(entry)
        if not (growing or entry == name) or not (path / entry).is_file():
            continue
        size, at, told = (path / entry).stat().st_size, 0, []
        while (line := begins.get(at)) is not None and at < line["end"] <= size:
            if hash_file(path / entry, check, at, line["end"]) != line["xxh3_128"]:
                break
            told.append(line["told"])
            at = line["end"]
        if told:
            found.append(Grown(path / entry, at, tuple(told)))
    return {name: max(found, key=lambda grown: grown.end)} if found else {}


def _sweep(path: Path, kept: Iterable[str]) -> None:
    """Remove what earlier runs left unproven; anything that is not ours stops the run instead."""
    kept = {*kept, journal.NAME, owner.NAME}
    for entry in os.listdir(path):
        if entry in kept:
            continue
        folder = (path / entry).is_dir() and not (path / entry).is_symlink()
        if _GROWING.fullmatch(entry) and folder:
            shutil.rmtree(path / entry)
        elif not folder and (_GROWING.fullmatch(entry) or _OURS.fullmatch(entry) or is_document(entry)):
            (path / entry).unlink()
        else:
            raise OutputBusy(
                f"{show(str(path))} is left from an earlier run, but holds {show(entry)}, which no run of ours wrote. Look at "
                "it, and remove the directory if it is not needed."
            )
