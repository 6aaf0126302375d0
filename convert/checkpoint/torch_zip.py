"""Where the records of a torch zip lie: a strict reader of zip directories that expands nothing.

torch stores its records uncompressed, so each is a range of bytes. Archives on which zip readers could disagree (two
entries of one name, local headers that differ from the directory, bytes before or behind) are refused.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from convert.checkpoint.files import OpenFile
from convert.checkpoint.names import printed
from surgery.errors import ConversionError, UnsafeInput

MOST_ENTRIES = 1_000_000
_LARGEST_DIRECTORY = 256 << 20
_LONGEST_COMMENT = 4096

# The sections of APPNOTE.TXT 6.3: 4.3.16 end record, 4.3.15 and 4.3.14 zip64, 4.3.12 directory, 4.3.7 local header.
_END = struct.Struct("<4sHHHHIIH")
_LOCATOR = struct.Struct("<4sIQI")
_END64 = struct.Struct("<4sQHHIIQQQQ")
_ENTRY = struct.Struct("<4sHHHHHHIIIHHHHHII")
_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_HARMLESS_FLAGS = 0x0808  # sizes follow the data; names are UTF-8
_ZIP64_EXTRA = 1
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF

_PICKLE = "data.pkl"
_KNOWN_RECORD = re.compile(
    r"data\.pkl|version|byteorder|\.format_version|\.storage_alignment|\.data/serialization_id|data/[0-9]{1,20}"
)


@dataclass(frozen=True, slots=True)
class Record:
    """A stored entry: a range of bytes in the file."""

    start: int
    size: int
    crc: int


@dataclass(frozen=True, slots=True)
class _Entry:
    name: bytes
    local: int
    size: int
    crc: int


def read_records(file: OpenFile) -> dict[str, Record]:
    """The records of a torch zip, named without their root folder (``data.pkl``, ``data/0``)."""
    start, size, count = _directory(file)
    spans, records = [], {}
    for entry in _entries(file, file.read(start, size), count):
        record = _located(file, entry, start)
        name = entry.name.decode("ascii", "backslashreplace")
        if name in records:
            kind = UnsafeInput if name.endswith(_PICKLE) else ConversionError
            raise file.wrong(f"duplicate zip entry {printed(name)}: not allowed, readers disagree which counts.", kind)
        records[name] = record
        spans.append((entry.local, record.start + record.size))
    spans.sort()
    if not spans or spans[0][0] != 0:
        raise file.wrong("bytes precede the zip archive: corrupt, or two formats in one file.")
    if any(before[1] > after[0] for before, after in pairwise(spans)):
        raise file.wrong("entries of the zip archive overlap: corrupt or hostile.")
    return _without_root(file, records)


def read_record(file: OpenFile, name: str, record: Record, largest: int) -> bytes:
    """The bytes of a small record, checked against its CRC."""
    if record.size > largest:
        raise file.wrong(f"its record {name} has {record.size:,} bytes; the limit is {largest:,}.")
    data = file.read(record.start, record.size)
    if zlib.crc32(data) != record.crc:
        raise file.wrong(f"the CRC of its record {name} is wrong: the file is corrupt or was tampered with.")
    return data


def _directory(file: OpenFile) -> tuple[int, int, int]:
    """Start, size and number of entries of the central directory."""
    length = min(file.size, _END.size + _LONGEST_COMMENT)
    tail = file.read(file.size - length, length)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + _END.size > length:
        raise file.wrong("the zip archive has no directory at its end: truncated download?")
    end = file.size - length + at
    _, disk, start_disk, _, count, size, start, comment = _END.unpack_from(tail, at)
    if end + _END.size + comment != file.size or disk or start_disk:
        raise file.wrong("bytes follow the zip archive, or it spans several disks: corrupt.")
    directory_end = end
    if (located := _zip64_end(file, end)) is not None:
        directory_end = located
        record = file.read(located, _END64.size)
        if not record.startswith(b"PK\x06\x06"):
            raise file.wrong("the zip64 end record is not where it should be: corrupt.")
        if count == _FULL16 or _FULL32 in (size, start):
            count, size, start = _END64.unpack(record)[-3:]
    elif count == _FULL16 or _FULL32 in (size, start):
        raise file.wrong("the zip64 end record is missing: corrupt.")
    if start + size != directory_end or count > MOST_ENTRIES or size > _LARGEST_DIRECTORY:
        raise file.wrong("the zip directory does not end where it should or is absurdly large: corrupt or hostile.")
    return start, size, count


def _zip64_end(file: OpenFile, end: int) -> int | None:
    """Where the zip64 end record lies, if its locator precedes the end record; torch always writes one."""
    if end < _LOCATOR.size:
        return None
    magic, _, located, _ = _LOCATOR.unpack(file.read(end - _LOCATOR.size, _LOCATOR.size))
    return located if magic == b"PK\x06\x07" else None


def _entries(file: OpenFile, directory: bytes, count: int) -> Iterator[_Entry]:
    at = 0
    for _ in range(count):
        if at + _ENTRY.size > len(directory) or directory[at : at + 4] != b"PK\x01\x02":
            raise file.wrong("an entry of the zip directory is damaged: corrupt.")
        fields = _ENTRY.unpack_from(directory, at)
        flags, method, crc, packed, size, name_length, extra_length, comment_length = *fields[3:5], *fields[7:13]
        name_at = at + _ENTRY.size
        extra_at = name_at + name_length
        name, extra = directory[name_at:extra_at], directory[extra_at : extra_at + extra_length]
        at = extra_at + extra_length + comment_length
        size, packed, local = _widened(file, (size, packed, fields[-1]), extra)
        _check_method(file, flags, method)
        if packed != size:
            raise file.wrong("a compressed zip entry; torch stores records uncompressed, and nothing is expanded.")
        yield _Entry(name, local, size, crc)
    if at != len(directory):
        raise file.wrong("the zip directory is longer or shorter than its entries: corrupt.")


def _widened(file: OpenFile, values: tuple[int, int, int], extra: bytes) -> tuple[int, int, int]:
    """Size, packed size and local offset, with the 64-bit values of the zip64 extra field in place of 0xFFFFFFFF."""
    wide = b""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        if kind == _ZIP64_EXTRA:
            wide = extra[4 : 4 + length]
        extra = extra[4 + length :]
    result = []
    for value in values:
        if value == _FULL32:
            if len(wide) < 8:
                raise file.wrong("the zip64 field of an entry is missing: corrupt.")
            value, wide = int.from_bytes(wide[:8], "little"), wide[8:]
        result.append(value)
    return result[0], result[1], result[2]


def _check_method(file: OpenFile, flags: int, method: int) -> None:
    if method != 0:
        raise file.wrong("a compressed (deflated?) zip entry; torch stores records uncompressed, nothing is expanded.")
    if flags & ~_HARMLESS_FLAGS:
        raise file.wrong("a zip entry is flagged as encrypted or patched: corrupt, or made to mislead scanners.")


def _located(file: OpenFile, entry: _Entry, directory: int) -> Record:
    """The entry's bytes, after its local header was found to agree with the directory."""
    if entry.local + _LOCAL.size > directory:
        raise file.wrong("a zip entry lies outside the archive: corrupt.")
    header = file.read(entry.local, _LOCAL.size)
    magic, _, flags, method, _, _, _, _, _, name_length, extra_length = _LOCAL.unpack(header)
    start = entry.local + _LOCAL.size + name_length + extra_length
    if magic != b"PK\x03\x04" or start + entry.size > directory:
        raise file.wrong("a zip entry has no header where the directory says, or reaches outside the archive: corrupt.")
    _check_method(file, flags, method)
    if file.read(entry.local + _LOCAL.size, name_length) != entry.name:
        raise file.wrong("zip mismatch: a local header and the directory differ about a name. Corrupt or hostile.")
    return Record(start, entry.size, entry.crc)


def _without_root(file: OpenFile, records: dict[str, Record]) -> dict[str, Record]:
    pickles = [name for name in records if name.rpartition("/")[2] == _PICKLE]
    roots = {name.partition("/")[0] for name in records}
    if len(pickles) > 1:
        raise file.wrong(
            "the zip archive holds two data.pkl, which is not allowed: a scanner would read one pickle and a loader "
            "the other. Nothing was executed. Use the safetensors version of this model.",
            UnsafeInput,
        )
    if len(pickles) != 1 or len(roots) != 1 or pickles != [f"{(root := roots.pop())}/{_PICKLE}"]:
        raise file.wrong("the zip archive does not hold data.pkl under its only folder: not written by torch.save.")
    inner = {name[len(root) + 1 :]: record for name, record in records.items()}
    if any(name.startswith("code/") or name == "constants.pkl" for name in inner):
        raise file.wrong("a TorchScript archive, which holds code. Use the checkpoint that it was made from.")
    for name in inner:
        if not _KNOWN_RECORD.fullmatch(name):
            raise file.wrong(f"the zip archive holds the unexpected entry {printed(name)}: not written by torch.save.")
    return inner
