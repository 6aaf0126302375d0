"""The journal of a staging directory: what is finished, a line each, whole or cut off.

The first line names the format. Each line after it vouches for a shard, or for a stretch of a file that grows: what its
bytes depend on (``key``), how many there are and their hash. A line counts only as far as the bytes on disk agree.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convert.checkpoint.kinds import TABLES, TEXT, Kind, is_whole
from convert.note import opened, read_note

NAME = "journal.jsonl"
#: raised whenever older lines would be misread
FORMAT = 2
_BEGIN = {"weightsmith_journal": FORMAT}
_LARGEST = 1 << 28  # bytes; a line for each of 100,000 shards has a tenth of that
_SIZE = Kind("a number of bytes", lambda value: is_whole(value, most=1 << 62))
_SHARD: Mapping[str, Kind] = {"shard": TEXT, "key": TEXT, "xxh3_128": TEXT, "size": _SIZE}
_STRETCH: Mapping[str, Kind] = {"shard": TEXT, "key": TEXT, "xxh3_128": TEXT, "begin": _SIZE, "end": _SIZE, "told": TABLES}


def read(path: Path) -> list[dict[str, Any]]:
    """The lines that are whole, up to the first that is torn or none of ours; what comes after is cut off.

    Nothing of another format. ``OutputBusy`` where the file is none that a run wrote.
    """
    content = read_note(path, _LARGEST)
    if content is None:
        return []
    lines: list[dict[str, Any]] = []
    good = 0
    for raw in content.splitlines(keepends=True):
        line = _line(raw, first=not lines)
        if line is None:
            break
        lines.append(line)
        good += len(raw)
    if good < len(content):
        journal = opened(path, os.O_WRONLY)
        os.ftruncate(journal, good)
        os.close(journal)
    if lines and lines[0] == _BEGIN:
        return lines[1:]
    path.unlink(missing_ok=True)
    return []


def _line(raw: bytes, first: bool) -> dict[str, Any] | None:
    """What a line says, if it is whole and says what our lines say."""
    check, _, text = raw.rstrip(b"\n").partition(b" ")
    if not raw.endswith(b"\n") or check != b"%08x" % zlib.crc32(text):
        return None
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(line, dict):
        return None
    kinds: Mapping[str, Kind] = {} if first else _STRETCH if "told" in line else _SHARD
    return line if all(key in line and kind.holds(line[key]) for key, kind in kinds.items()) else None


def open_(path: Path) -> int:
    """The journal, to be appended to: a descriptor."""
    journal = opened(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    if os.fstat(journal).st_size == 0:
        append(journal, _BEGIN)
    return journal


def append(journal: int, line: Mapping[str, Any]) -> None:
    """One more line, on disk before this returns."""
    text = json.dumps(line, sort_keys=True).encode()
    os.write(journal, b"%08x %s\n" % (zlib.crc32(text), text))
    os.fsync(journal)
