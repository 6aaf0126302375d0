"""The tensors of a file written by torch.save (.bin, .pt, .pth), without unpickling: names, types, places.

Both formats are read: the zip (since torch 1.6) and the legacy stream. Nothing is imported or executed, and no storage
is read: each tensor becomes a strided window on a range of bytes.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, BinaryIO, cast

from convert.checkpoint.disguises import disguise_of_torch
from convert.checkpoint.files import OpenFile
from convert.checkpoint.names import fault_in_tensor_name
from convert.checkpoint.pickle_machine import LONGEST_PICKLE, Machine
from convert.checkpoint.pickle_symbols import Refused, Storage, Window
from convert.checkpoint.stored import Contents, Stored
from convert.checkpoint.torch_zip import read_record, read_records
from surgery.dtypes import ITEMSIZE
from surgery.errors import listed, show

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

#: keys under which trainers nest the state dict.
WRAPPERS = ("state_dict", "model", "module", "model_state_dict")

# torch/serialization.py: MAGIC_NUMBER, PROTOCOL_VERSION
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_MOST_VALUES = 100_000
_DEEPEST = 16

_Place = tuple[int, int]  # first byte and number of bytes of a storage


def read_torch_file(file: OpenFile) -> Contents:
    """The tensors of the state dict in this file; metadata holds the plain values saved beside it."""
    head = file.read(0, min(file.size, 512))
    if file.size == 0:
        raise file.wrong("the file is empty (0 bytes): an interrupted download? Download it again.")
    if instead := disguise_of_torch(head):
        raise file.wrong(f"this is not a torch checkpoint but {instead}.")
    try:
        value, storages, places = _read_zip(file) if head.startswith(b"PK") else _read_legacy(file)
        state, path = _unwrapped(value)
        for storage in storages.values():
            _check_place(storage, places)
        tensors = {name: _stored(name, window, file, places) for name, window in _windows(state)}
    except Refused as refused:
        raise file.wrong(str(refused), refused.kind) from None
    if not path:
        return Contents(tensors)
    beside = {key: item for key, item in cast(dict[str, object], value).items() if key != path[0]}
    plain = {str(key): item for key, item in beside.items() if _is_plain(item)}
    return Contents(tensors, plain, (str(file.wrong(_nesting(path, beside, plain))),))


def _nesting(path: list[str], beside: Iterable[str], plain: Iterable[str]) -> str:
    left = sorted(show(key) for key in set(beside) - set(plain))
    ignored = f", and {listed(left)} beside it is ignored" if left else ""
    return f"the state dict is nested under {'.'.join(path)}{ignored}."


def _read_zip(file: OpenFile) -> tuple[object, dict[str, Storage], dict[str, _Place]]:
    records = read_records(file)
    if "byteorder" in records and (order := read_record(file, "byteorder", records["byteorder"], 16)) != b"little":
        raise file.wrong(f"its byteorder is {show(order)}: only little-endian files are supported. Re-save it.")
    data = read_record(file, "data.pkl", records["data.pkl"], LONGEST_PICKLE)
    machine = Machine(io.BytesIO(data))
    value = machine.run()
    if machine.taken != len(data):
        raise Refused("bytes follow the end of the pickle.")
    places = {
        name.removeprefix("data/"): (record.start, record.size)
        for name, record in records.items()
        if name.startswith("data/")
    }
    return value, machine.storages, places


def _read_legacy(file: OpenFile) -> tuple[object, dict[str, Storage], dict[str, _Place]]:
    """Five pickles (magic, protocol, system, value, storage keys), then each storage behind its length."""
    stream = cast(BinaryIO, io.BufferedReader(_Stream(file)))
    machines = [Machine(stream) for _ in range(5)]
    if machines[0].run() != _LEGACY_MAGIC:
        raise Refused("a bare pickle, not a file of torch.save.")
    if machines[1].run() != _LEGACY_PROTOCOL:
        raise Refused("an unknown version of torch's legacy format.")
    system = machines[2].run()
    if type(system) is not dict or system.get("little_endian") is not True:
        raise Refused("its byteorder is not little-endian, which is not supported. Re-save it.")
    value, keys = machines[3].run(), machines[4].run()
    storages, places = machines[3].storages, {}
    if type(keys) is not list or any(type(key) is not str for key in keys) or sorted(keys) != sorted(storages):
        raise Refused("the list of storages does not fit the tensors: the file is damaged.")
    at = sum(machine.taken for machine in machines)
    for key in keys:
        numel = int.from_bytes(file.read(at, 8), "little", signed=True)
        if numel != storages[key].numel:
            raise Refused(f"storage {key} has a size of {numel:,} elements, but {storages[key].numel:,} were promised.")
        places[key] = (at + 8, storages[key].nbytes)
        at += 8 + storages[key].nbytes
    if at != file.size:
        what = "truncated download?" if at > file.size else "extra bytes follow."
        raise Refused(f"the storages end at byte {at:,} but the file has {file.size:,}: {what}")
    return value, storages, places


class _Stream(io.RawIOBase):
    """An open file as a stream for `io.BufferedReader`."""

    def __init__(self, file: OpenFile) -> None:
        self._file, self._at = file, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)[: self._file.size - self._at]
        self._file.read_into(self._at, view)
        self._at += len(view)
        return len(view)


def _unwrapped(value: object) -> tuple[dict[object, object], list[str]]:
    """The innermost dict of tensors, and the keys that lead to it."""
    path: list[str] = []
    while True:
        if type(value) is not dict or not value:
            raise Refused("the pickle holds no state dict (a dict of names and tensors), so no weights.")
        wrapped = [key for key in WRAPPERS if _is_nest(value.get(key))]
        if not wrapped or len(path) == len(WRAPPERS):
            return value, path
        if any(value[key] is not value[wrapped[0]] for key in wrapped):
            raise Refused(f"several state dicts are nested in it ({listed(wrapped)}): which one is the model?")
        path.append(wrapped[0])
        value = value[wrapped[0]]


def _is_nest(value: object) -> bool:
    return type(value) is dict and any(type(item) in (Window, dict) for item in value.values())


def _windows(state: dict[object, object]) -> Iterator[tuple[str, Window]]:
    for name, window in state.items():
        if type(name) is not str or type(window) is not Window:
            raise Refused(f"not a plain state dict: the entry {show(name)} is not a tensor.")
        if fault := fault_in_tensor_name(name):
            raise Refused(f"{fault} {show(name)}.")
        yield name, window


def _check_place(storage: Storage, places: dict[str, _Place]) -> None:
    if storage.key not in places:
        raise Refused(f"the storage {storage.key} is missing in the file.")
    if places[storage.key][1] != storage.nbytes:
        raise Refused(
            f"the storage {storage.key} has a size of {places[storage.key][1]:,} bytes, "
            f"but the pickle claims {storage.nbytes:,}."
        )


def _stored(name: str, window: Window, file: OpenFile, places: dict[str, _Place]) -> Stored:
    start = places[window.storage.key][0] + window.offset * ITEMSIZE[window.dtype]
    return Stored(name, file.source.name, window.dtype, window.shape, window.strides, start)


def _is_plain(value: object) -> bool:
    """Whether this is made of numbers, strings, lists and dicts only. Lists may share parts, so the walk is counted."""
    pending, seen = [(value, 0)], 0
    while pending:
        item, depth = pending.pop()
        if type(item) in (dict, list, tuple):
            inner = item.values() if type(item) is dict else cast(Collection[object], item)
            seen += len(inner)
            if depth > _DEEPEST or seen > _MOST_VALUES:
                return False
            pending.extend((part, depth + 1) for part in inner)
        elif type(item) not in (int, float, str, bool, type(None)):
            return False
    return True
