"""torch's files byte by byte: a pickle of any instructions, and the zip archive around it."""

from __future__ import annotations

import io
import math
import pickle
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tests.corpus.files import TORCH, Stored

_STORAGES = {"F32": "FloatStorage", "F16": "HalfStorage", "BF16": "BFloat16Storage"}


def text(words: str) -> bytes:
    said = words.encode()
    return pickle.BINUNICODE + struct.pack("<I", len(said)) + said


def number(value: int) -> bytes:
    said = pickle.encode_long(value)
    return pickle.LONG1 + bytes([len(said)]) + said


def named(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def row(*items: bytes) -> bytes:
    return pickle.MARK + b"".join(items) + pickle.TUPLE


def called(module: str, name: str, *arguments: bytes) -> bytes:
    return named(module, name) + row(*arguments) + pickle.REDUCE


def whole(*instructions: bytes, protocol: int = 2) -> bytes:
    return pickle.PROTO + bytes([protocol]) + b"".join(instructions) + pickle.STOP


@dataclass(frozen=True)
class View:
    """What a pickle claims of a tensor and of the record that it looks into."""

    key: str
    dtype: str
    count: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int = 0
    kind: str = "storage"
    rebuilt: str = "_rebuild_tensor_v2"

    def instructions(self) -> bytes:
        storage = row(text(self.kind), named("torch", _STORAGES[self.dtype]), text(self.key), text("cpu"), number(self.count))
        hooks = named("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE
        sizes = (row(*map(number, self.size)), row(*map(number, self.stride)))
        gradient = pickle.NEWFALSE
        return called("torch._utils", self.rebuilt, storage + pickle.BINPERSID, number(self.offset), *sizes, gradient, hooks)


def strides(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(math.prod(shape[at + 1 :]) for at in range(len(shape)))


def view(key: str, stored: Stored) -> View:
    return View(key, stored.dtype, len(stored.data) // TORCH[stored.dtype].itemsize, stored.shape, strides(stored.shape))


@dataclass(frozen=True)
class Archive:
    """A state dict: the instructions of its items, its records, and whatever else lies in the zip."""

    items: bytes
    records: dict[str, bytes]
    root: str = "archive"
    byteorder: bytes | None = b"little"
    more: Sequence[tuple[str, bytes]] = ()
    compression: int = zipfile.ZIP_STORED

    @property
    def pickle(self) -> bytes:
        return whole(pickle.EMPTY_DICT + pickle.MARK + self.items + pickle.SETITEMS)

    def zipped(self, data_pkl: bytes | None = None) -> bytes:
        order = [] if self.byteorder is None else [("byteorder", self.byteorder)]
        records = [(f"data/{key}", data) for key, data in self.records.items()]
        inside = (("data.pkl", self.pickle if data_pkl is None else data_pkl), *order, *records, ("version", b"3\n"))
        return zipped((*((f"{self.root}/{name}", data) for name, data in inside), *self.more), self.compression)

    def with_more(self, *more: tuple[str, bytes]) -> Archive:
        return replace(self, more=more)


def archive(tensors: Mapping[str, Stored], told: Callable[[str, View], View] = lambda name, seen: seen) -> Archive:
    """The archive of good tensors, of which the pickle tells what `told` makes of the truth."""
    views = {name: view(str(at), stored) for at, (name, stored) in enumerate(tensors.items())}
    records = {seen.key: tensors[name].data for name, seen in views.items()}
    return Archive(b"".join(text(name) + told(name, seen).instructions() for name, seen in views.items()), records)


def zipped(entries: Iterable[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", compression) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, data in entries:
            info = zipfile.ZipInfo(name)
            info.compress_type = compression
            file.writestr(info, data)
    return written.getvalue()


def only(data_pkl: bytes) -> bytes:
    """A zip with this pickle and no records."""
    return Archive(b"", {}).zipped(data_pkl)
