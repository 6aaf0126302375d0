"""Writing torch's zip format: the file that torch.save would make of a state dict, laid out before any tensor exists.

A zip of stored records: ``data.pkl`` (a pickle that names the tensors and their storages), ``byteorder``, ``version``,
and one record per storage, whose bytes begin at a multiple of 64. A storage's CRC-32 is known only when it has been
written, so it follows in a data descriptor, as in torch's own files, and again in the directory at the end.

The pickle is put together here, opcode by opcode: protocol 2, in the words that torch.load accepts with weights_only.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from convert.planning import Output, OutputFile, output_of
from mappings.rows import Target
from surgery.errors import ConversionError, show
from surgery.layout import row_major

ALIGNMENT = 64  # torch/serialization.py: storages begin at multiples of it
_ROOT = "archive"
_STREAMED = 0x0808  # flags: CRC and sizes follow the data; names are UTF-8
_KNOWN = 0x0800
_DATE = 0x21  # 1 January 1980, the first a zip can say: outputs hold no time
_FULL = 0xFFFFFFFF
_WIDE = struct.Struct("<HH")  # the head of an extra field

# APPNOTE.TXT 6.3: 4.3.7 local header, 4.3.9 descriptor, 4.3.12 directory, 4.3.14 - 4.3.16 the ends
_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_ENTRY = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END = struct.Struct("<4sHHHHIIH")
_END64 = struct.Struct("<4sQHHIIQQQQ")
_LOCATOR = struct.Struct("<4sIQI")

STORAGES = {"F64": "DoubleStorage", "F32": "FloatStorage", "F16": "HalfStorage", "BF16": "BFloat16Storage"}


@dataclass(frozen=True)
class Storage:
    """A tensor in the value that is saved: a storage of its own, by the name of its record."""

    key: str
    dtype: str
    shape: tuple[int, ...]
    numel: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A record of the zip: its name, where its local header begins, its size, and its CRC-32 where that is known."""

    name: str
    start: int
    size: int
    crc: int | None = None

    @property
    def wide(self) -> bool:
        return self.size >= _FULL

    @property
    def flags(self) -> int:
        return _STREAMED if self.crc is None else _KNOWN

    def local(self) -> bytes:
        """The local header, padded so that the data begins at a multiple of 64."""
        name = self.name.encode()
        size = _FULL if self.wide else self.size
        extra = _WIDE.pack(1, 16) + struct.pack("<QQ", self.size, self.size) if self.wide else b""
        padding = -(self.start + _LOCAL.size + len(name) + len(extra) + _WIDE.size) % ALIGNMENT
        extra += b"FB" + struct.pack("<H", padding) + b"Z" * padding  # torch's own padding field
        fixed = (b"PK\x03\x04", 45, self.flags, 0, 0, _DATE, self.crc or 0, size, size)
        return _LOCAL.pack(*fixed, len(name), len(extra)) + name + extra

    def descriptor(self, crc: int) -> bytes:
        """What follows the data of a record whose CRC was not known before."""
        return struct.pack("<4sI" + ("QQ" if self.wide else "II"), b"PK\x07\x08", crc, self.size, self.size)

    def directory(self, crc: int) -> bytes:
        """The record's entry in the directory."""
        name, far = self.name.encode(), self.start >= _FULL
        wide = struct.pack("<QQ", self.size, self.size) * self.wide + struct.pack("<Q", self.start) * far
        extra = _WIDE.pack(1, len(wide)) + wide if wide else b""
        size, start = _FULL if self.wide else self.size, _FULL if far else self.start
        fixed = (b"PK\x01\x02", 45, 45, self.flags, 0, 0, _DATE, crc, size, size, len(name), len(extra))
        return _ENTRY.pack(*fixed, 0, 0, 0, 0, start) + name + extra


@dataclass(frozen=True)
class Zip:
    """What stands between and behind the storages of a torch file."""

    small: tuple[Entry, ...]  # before the first storage
    storages: tuple[Entry, ...]
    size: int  # of the whole file, in bytes

    def after(self, crcs: Sequence[int]) -> bytes:
        """The bytes behind the last of the storages whose CRC-32s these are."""
        done = len(crcs)
        descriptor = self.storages[done - 1].descriptor(crcs[-1]) if crcs else b""
        if done < len(self.storages):
            return descriptor + self.storages[done].local()
        known = (entry.crc or 0 for entry in self.small)
        entries = zip((*self.small, *self.storages), (*known, *crcs), strict=True)
        directory = b"".join(entry.directory(crc) for entry, crc in entries)
        return descriptor + directory + _ending(self.size, directory, len(self.small) + done)


def _ending(size: int, directory: bytes, count: int) -> bytes:
    """The end records of a file of this size: zip64's, which say everything, and the old one."""
    tail = _END64.size + _LOCATOR.size + _END.size
    start = size - tail - len(directory)
    end64 = _END64.pack(b"PK\x06\x06", _END64.size - 12, 45, 45, 0, 0, count, count, len(directory), start)
    locator = _LOCATOR.pack(b"PK\x06\x07", 0, start + len(directory), 1)
    short = min(count, 0xFFFF)
    return end64 + locator + _END.pack(
        b"PK\x05\x06", 0, 0, short, short, min(len(directory), _FULL), min(start, _FULL), 0
    )  # fmt: skip


def torch_file(name: str, targets: Sequence[tuple[str, Target]], wrapped: str = "", **beside: Any) -> OutputFile:
    """The file of a state dict of (key, target) pairs; ``wrapped``, if given, is its key, and ``beside`` lies by it.

    Targets that hold the same share a storage, as tied parameters do in torch.
    """
    outputs: list[Output] = []
    state: dict[str, Any] = {}
    storages: dict[Any, Storage] = {}
    begin = 0
    for key, target in targets:
        if target.dtype not in STORAGES:
            raise ConversionError(f"{show(key)} is {target.dtype}, a type that no torch file gets here. Use --dtype.")
        same = (target.dtype, target.shape, target.parts)
        if same not in storages:
            output = output_of(target, begin)
            storages[same] = Storage(str(len(storages)), target.dtype, target.shape, output.numel)
            outputs.append(output)
            begin += output.nbytes
        state[key] = storages[same]
    pickled = pickle_of({wrapped: Ordered(state), **beside} if wrapped else Ordered(state))
    small: list[Entry] = []
    header = b""
    for record, content in (("data.pkl", pickled), ("byteorder", b"little"), ("version", b"3\n")):
        entry = Entry(f"{_ROOT}/{record}", len(header), len(content), zlib.crc32(content))
        small.append(entry)
        header += entry.local() + content
    entries, at = [], len(header)
    for storage, output in zip(storages.values(), outputs, strict=True):
        entry = Entry(f"{_ROOT}/data/{storage.key}", at, output.nbytes)
        entries.append(entry)
        at += len(entry.local()) + output.nbytes + len(entry.descriptor(0))
    end = sum(len(entry.directory(0)) for entry in (*small, *entries)) + _END64.size + _LOCATOR.size + _END.size
    frame = Zip(tuple(small), tuple(entries), at + end)
    return OutputFile(name, header + (entries[0].local() if entries else b""), tuple(outputs), frame)


class Ordered(dict[str, Any]):
    """A dict to be saved as an OrderedDict, as state dicts are."""


def pickle_of(value: Any) -> bytes:
    """Plain values, dicts and ``Storage`` as a pickle of protocol 2."""
    return b"\x80\x02" + b"".join(_opcodes(value)) + b"."


def _opcodes(value: Any) -> Iterable[bytes]:
    """The opcodes that put a value on the stack (pickletools names them)."""
    if isinstance(value, Storage):
        yield from _tensor(value)
    elif isinstance(value, Mapping):
        yield b"ccollections\nOrderedDict\n)R" if isinstance(value, Ordered) else b"}"
        yield b"("
        for key, item in value.items():
            yield from _opcodes(key)
            yield from _opcodes(item)
        yield b"u"
    elif isinstance(value, tuple):
        yield b"("
        for item in value:
            yield from _opcodes(item)
        yield b"t"
    elif value is None or isinstance(value, bool):
        yield {None: b"N", True: b"\x88", False: b"\x89"}[value]
    elif isinstance(value, int):
        size = value.bit_length() // 8 + 1
        if -(2**31) <= value < 2**31:
            yield b"J" + struct.pack("<i", value)
        else:
            yield b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)
    elif isinstance(value, float):
        yield b"G" + struct.pack(">d", value)
    else:
        text = str(value).encode("utf-8")
        yield b"X" + struct.pack("<I", len(text)) + text


def _tensor(storage: Storage) -> Iterable[bytes]:
    """torch._utils._rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict())."""
    yield b"ctorch._utils\n_rebuild_tensor_v2\n(("
    yield from _opcodes("storage")
    yield b"ctorch\n" + STORAGES[storage.dtype].encode() + b"\n"
    yield from _opcodes(storage.key)
    yield from _opcodes("cpu")
    yield from _opcodes(storage.numel)
    yield b"tQ"
    yield from _opcodes(0)
    yield from _opcodes(storage.shape)
    yield from _opcodes(row_major(storage.shape))
    yield b"\x89ccollections\nOrderedDict\n)RtR"
