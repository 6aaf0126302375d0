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

NAME = "journal.jsonl"
#: raised whenever older lines would be misread
FORMAT = 2
_BEGIN = {"weightsmith_journal": FORMAT}


def read(path: Path) -> list[dict[str, Any]]:
    """The lines that are whole, up to the first that is torn; the tail after it is cut off. Nothing of another format."""
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
    if lines and lines[0] == _BEGIN:
        return lines[1:]
    path.unlink(missing_ok=True)
    return []


def open_(path: Path) -> int:
    """The journal, to be appended to: a descriptor."""
    journal = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    if os.fstat(journal).st_size == 0:
        append(journal, _BEGIN)
    return journal


def append(journal: int, line: Mapping[str, Any]) -> None:
    """One more line, on disk before this returns."""
    text = json.dumps(line, sort_keys=True).encode()
    os.write(journal, b"%08x %s\n" % (zlib.crc32(text), text))
    os.fsync(journal)
