"""The staging directory: what is under the final name is complete; what is not complete is here.

One run owns it (flock, which dies with the process). The journal's first line names the plan and the source files; then one
line per shard that was written, synced, read back and renamed. A run that finds a journal of its own plan keeps the shards
whose bytes still hash to what the journal says: existence, size and time prove nothing.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from convert.checkpoint import is_document
from convert.system import rename_no_replace, umask
from surgery.errors import OutputBusy, StorageFailed, show

JOURNAL = "journal.jsonl"
OWNER = "owner.json"
#: what a run puts there: shards, whole and growing, and settings; whatever else is a document that was carried over
_OURS = re.compile(
    r"(model\.safetensors|[\w.\-]+-\d+-of-\d+\.safetensors|consolidated\.\d{2,}\.pth|ckpt\.pt|delta\.zst)"
    r"|[\w.\-]+\.tmp\.\d+\.[0-9a-f]{8}|[\w.\-]+\.(json|jsonl|jinja|bpe)",
    re.ASCII,
)
_CHUNK = 1 << 20


@dataclass
class Staging:
    """A locked staging directory and the shards in it that are proven, by name with their hash."""

    path: Path
    proven: dict[str, str]
    _journal: int

    def file(self, name: str) -> Path:
        return self.path / name

    def record(self, name: str, size: int, digest: str) -> None:
        """Note that a shard is complete; on disk before this returns."""
        sync_directory(self.path)
        _append(self._journal, {"shard": name, "size": size, "xxh3_128": digest})
        self.proven[name] = digest

    def publish(self, out: Path) -> None:
        """The one rename: everything synced, our own notes gone, never over something that exists."""
        for name in (JOURNAL, OWNER):
            (self.path / name).unlink(missing_ok=True)
        self.path.chmod(0o777 & ~umask())
        sync_directory(self.path)
        rename_no_replace(self.path, out)
        sync_directory(out.parent)

    def give_up(self) -> None:
        """Leave nothing of a run that was refused before its first shard; what earlier runs finished stays."""
        if not self.proven:
            shutil.rmtree(self.path)

    def set_aside(self, name: Path) -> Path:
        """Keep a refused output under another name; returns the name used."""
        for name_ in (name, *(name.with_name(f"{name.name}.{i}") for i in range(1, 1000))):
            if not os.path.lexists(name_):
                for own in (JOURNAL, OWNER):
                    (self.path / own).unlink(missing_ok=True)
                os.rename(self.path, name_)
                return name_
        raise StorageFailed(f"{show(str(name))} and 999 numbered names beside it are taken; remove some.")


@contextmanager
def staging(path: Path, identity: Mapping[str, Any], check: Callable[[], None]) -> Iterator[Staging]:
    """The staging directory at ``path`` for the run that ``identity`` (JSON values) describes, locked for its length.

    ``check`` raises when the run is to stop; what earlier runs left may take minutes to hash.
    """
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise StorageFailed(
            f"{show(str(path))}, where the output is to grow, cannot be made: {error.strerror}."
        ) from error
    journal = -1
    try:
        _lock(directory, path)
        kept = _proven(path, identity, check)
        _sweep(path, kept)
        journal = os.open(path / JOURNAL, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        if os.fstat(journal).st_size == 0:
            _append(journal, {"run": identity})
            sync_directory(path)
        yield Staging(path, kept, journal)
    finally:
        if journal >= 0:
            os.close(journal)
        os.close(directory)


def hash_file(path: Path, check: Callable[[], None]) -> str:
    """xxh3 of a file's bytes, read through the page cache."""
    told = xxhash.xxh3_128()
    buffer = memoryview(bytearray(_CHUNK))
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            check()
            told.update(buffer[:count])
    return told.hexdigest()


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
    try:
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OutputBusy(
            f"another run{_owner(path)} is writing {show(str(path))}. Wait for it, or choose another OUT."
        ) from None
    except OSError as error:
        # some network file systems have no locks; unique names and the read-back keep the damage out
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP):
            raise
    own = json.dumps({"pid": os.getpid(), "host": os.uname().nodename})
    (path / OWNER).write_text(own)


def _owner(path: Path) -> str:
    try:
        owner = json.loads((path / OWNER).read_text())
        return f" (process {int(owner['pid'])} on {show(owner['host'])})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _proven(path: Path, identity: Mapping[str, Any], check: Callable[[], None]) -> dict[str, str]:
    """Shards that a journal of this very run vouches for and whose bytes agree; otherwise a fresh start."""
    lines = _read_journal(path / JOURNAL)
    if not lines or lines[0] != {"run": _plain(identity)}:
        (path / JOURNAL).unlink(missing_ok=True)
        return {}
    kept = {}
    for line in lines[1:]:
        shard = path / line["shard"]
        if shard.is_file() and shard.stat().st_size == line["size"] and hash_file(shard, check) == line["xxh3_128"]:
            kept[line["shard"]] = line["xxh3_128"]
    return kept


def _read_journal(path: Path) -> list[dict[str, Any]]:
    """The whole lines, up to the first that is torn; the tail after it is cut off."""
    if not path.is_file():
        return []
    lines, good = [], 0
    content = path.read_bytes()
    for raw in content.splitlines(keepends=True):
        check, _, text = raw.rstrip(b"\n").partition(b" ")
        if not raw.endswith(b"\n") or check != b"%08x" % zlib.crc32(text):
            break
        lines.append(json.loads(text))
        good += len(raw)
    if good < len(content):
        os.truncate(path, good)
    return lines


def _append(journal: int, line: Mapping[str, Any]) -> None:
    text = json.dumps(line, sort_keys=True).encode()
    os.write(journal, b"%08x %s\n" % (zlib.crc32(text), text))
    os.fsync(journal)


def _plain(value: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(value))


def _sweep(path: Path, kept: Mapping[str, str]) -> None:
    """Remove what earlier runs left unproven; anything that is not ours stops the run instead."""
    for entry in os.listdir(path):
        if entry in kept or entry in (JOURNAL, OWNER):
            continue
        if _OURS.fullmatch(entry) or is_document(entry):
            (path / entry).unlink()
            continue
        raise OutputBusy(
            f"{show(str(path))} is left from an earlier run, but holds {show(entry)}, which no run of ours wrote. Look at it, "
            "and remove the directory if it is not needed."
        )
