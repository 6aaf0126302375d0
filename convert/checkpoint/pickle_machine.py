"""A closed machine for the pickles that torch.save writes: it computes plain values and windows on storages.

Nothing is imported or called. A GLOBAL is looked up in a table of symbols, and REDUCE has its own rule for each of the
few that may be called. All that can be made is an int, float, str, bool, None, list, dict, tuple or one of the classes
below, so time and memory are bounded by the length of the pickle, which is bounded itself.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import BinaryIO, NoReturn

from surgery.dtypes import ITEMSIZE
from surgery.errors import ConversionError, UnsafeInput, show

LONGEST_PICKLE = 64 << 20
MOST_OPCODES = 5_000_000
LONGEST_STRING = 1 << 16
LONGEST_LINE = 256
LONGEST_INTEGER = 10  # bytes: the magic number of legacy files has 10
HIGHEST_RANK = 8
NEWEST_PROTOCOL = 5

#: the classes of storage in the module ``torch``, and their elements' type.
STORAGES = {
    "DoubleStorage": "F64",
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
    "ComplexFloatStorage": "C64",
    "UntypedStorage": "U8",
}
#: the element types that torch stores in an UntypedStorage and names beside it (torch/storage.py, _new_dtypes).
NAMED_DTYPES = {
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "float8_e8m0fnu": "F8_E8M0",
    "uint16": "U16",
    "uint32": "U32",
    "uint64": "U64",
}
#: harmless things that torch writes and we do not read.
UNSUPPORTED = {
    ("torch._utils", "_rebuild_sparse_tensor"): "a sparse tensor",
    ("torch._utils", "_rebuild_sparse_csr_tensor"): "a sparse tensor",
    ("torch._utils", "_rebuild_qtensor"): "a quantised tensor",
    ("torch._utils", "_rebuild_nested_tensor"): "a nested tensor",
    ("torch._utils", "_rebuild_meta_tensor_no_storage"): "a tensor without data (device meta)",
    ("torch._utils", "_rebuild_device_tensor_from_numpy"): "a tensor of another device",
    **{("torch", name): f"a storage of unsupported elements ({name})" for name in (
        "ComplexDoubleStorage", "QInt8Storage", "QInt32Storage", "QUInt8Storage", "QUInt4x2Storage", "QUInt2x4Storage",
    )},
    **{("torch", name): f"elements of the unsupported type {name}" for name in (
        "float8_e4m3fnuz", "float8_e5m2fnuz", "float4_e2m1fn_x2", "complex32", "complex128",
        "bits8", "bits16", "bits1x8", "bits2x4", "bits4x2",
    )},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Symbol:
    """A name that a pickle may mention: what it stands for here, and for storages and dtypes which elements."""

    kind: str
    dtype: str = ""


@dataclass(frozen=True, slots=True)
class Storage:
    """A run of elements somewhere in the file, found by its key."""

    key: str
    dtype: str
    numel: int

    @property
    def nbytes(self) -> int:
        return self.numel * ITEMSIZE[self.dtype]


@dataclass(frozen=True, slots=True)
class Window:
    """A tensor: a strided window on a storage, proven to lie inside it."""

    storage: Storage
    dtype: str
    offset: int  # in elements of dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]


#: every name that is not an error. It is never imported, only compared.
SYMBOLS = {
    ("collections", "OrderedDict"): Symbol("dict"),
    ("torch", "Size"): Symbol("size"),
    ("torch._utils", "_rebuild_tensor"): Symbol("tensor"),
    ("torch._utils", "_rebuild_tensor_v2"): Symbol("tensor"),
    ("torch._utils", "_rebuild_tensor_v3"): Symbol("tensor with dtype"),
    ("torch._utils", "_rebuild_parameter"): Symbol("parameter"),
    ("torch._utils", "_rebuild_parameter_with_state"): Symbol("parameter"),
    ("torch.storage", "UntypedStorage"): Symbol("storage", "U8"),
    **{("torch", name): Symbol("storage", dtype) for name, dtype in STORAGES.items()},
    **{("torch", name): Symbol("dtype", dtype) for name, dtype in NAMED_DTYPES.items()},
    **{("torch", name): Symbol("dtype") for name in (
        "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool", "complex64",
    )},
}  # fmt: skip


class _Mark:
    """The only value of this class marks a place on the stack."""


_MARK = _Mark()
_KEY = re.compile(r"[0-9]{1,20}")


class Refused(Exception):
    """The pickle is not read further; ``kind`` says whether it is damaged or unsafe. The caller names the file."""

    def __init__(self, what: str, kind: type[ConversionError] = ConversionError) -> None:
        super().__init__(what)
        self.kind = kind


def damaged(what: str) -> NoReturn:
    """Refuse a pickle that no writer of checkpoints writes."""
    raise Refused(f"the pickle is damaged or not torch's: {what}.")


def code(what: str) -> NoReturn:
    """Refuse a pickle that asks for more than data."""
    raise Refused(
        f"the pickle {what}, which is not allowed: it could run code. Only plain tensors are read and nothing was "
        f"executed. Use the safetensors version of this model, or have its author save only the state dict.",
        UnsafeInput,
    )


@dataclass
class Machine:
    """Runs one pickle from a stream, or raises Refused; afterwards ``storages`` holds every storage it mentioned."""

    stream: BinaryIO
    limit: int = LONGEST_PICKLE
    taken: int = 0  # bytes read so far
    stack: list[object] = field(default_factory=list)
    memo: dict[int, object] = field(default_factory=dict)
    storages: dict[str, Storage] = field(default_factory=dict)
    opcodes: int = 0

    def run(self) -> object:
        """The value of the pickle. The stream is left behind its STOP."""
        opcodes = OPCODES
        for self.opcodes in range(1, MOST_OPCODES + 1):
            letter = self.take(1)
            if letter == b".":
                return self.finish()
            step = opcodes.get(letter)
            if step is None:
                if letter in CODE_OPCODES:
                    code(f"constructs an object ({CODE_OPCODES[letter]})")
                damaged(f"opcode 0x{letter[0]:02x} does not occur in a state dict")
            step(self)
        return damaged(f"more than {MOST_OPCODES:,} opcodes")

    def finish(self) -> object:
        value = self.pop()
        if self.stack:
            damaged("values are left over at its end")
        return value

    # reading -----------------------------------------------------------------------------------------------------
    def take(self, count: int) -> bytes:
        self.taken += count
        if self.taken > self.limit:
            damaged("it is truncated or longer than allowed")
        data = self.stream.read(count)
        if len(data) != count:
            damaged("it is truncated")
        return data

    def number(self, form: struct.Struct) -> int:
        return int(form.unpack(self.take(form.size))[0])

    def text(self, length: int) -> str:
        if length > LONGEST_STRING:
            damaged(f"a string of {length:,} bytes")
        try:
            return self.take(length).decode("utf-8")
        except UnicodeDecodeError:
            damaged("a string is not UTF-8")

    def line(self) -> str:
        line = self.stream.readline(LONGEST_LINE)
        self.taken += len(line)
        if not line.endswith(b"\n") or self.taken > self.limit:
            damaged("a line is unterminated or too long")
        return line[:-1].decode("ascii", "backslashreplace")

    # the stack ---------------------------------------------------------------------------------------------------
    def push(self, value: object) -> None:
        self.stack.append(value)

    def pop(self) -> object:
        if not self.stack or self.stack[-1] is _MARK:
            damaged("it takes a value from an empty stack")
        return self.stack.pop()

    def pop_tuple(self, count: int) -> tuple[object, ...]:
        return tuple(reversed([self.pop() for _ in range(count)]))

    def pop_to_mark(self) -> list[object]:
        taken: list[object] = []
        while self.stack:
            value = self.stack.pop()
            if value is _MARK:
                taken.reverse()
                return taken
            taken.append(value)
        damaged("a mark is missing on the stack")

    def top(self) -> object:
        return self.stack[-1] if self.stack else damaged("the stack is empty")

    # what some opcodes do ----------------------------------------------------------------------------------------
    def protocol(self) -> None:
        if self.number(_BYTE) > NEWEST_PROTOCOL:
            damaged("an unknown protocol")

    def put(self, index: int) -> None:
        if index > self.opcodes:
            damaged("an absurd memo index")
        self.memo[index] = self.top()

    def get(self, index: int) -> None:
        if index not in self.memo:
            damaged("it asks for a memo entry that was never made")
        self.push(self.memo[index])

    def long(self) -> None:
        length = self.number(_BYTE)
        if length > LONGEST_INTEGER:
            damaged(f"an integer of {length} bytes")
        self.push(int.from_bytes(self.take(length), "little", signed=True))

    def symbol(self, module: object, name: object) -> None:
        if type(module) is not str or type(name) is not str:
            damaged("a global is not named by strings")
        if (module, name) in UNSUPPORTED:
            raise Refused(f"the pickle holds {UNSUPPORTED[module, name]}, which is not supported as a weight.")
        if (module, name) not in SYMBOLS:
            code(f"asks for {show(f'{module}.{name}')}")
        self.push(SYMBOLS[module, name])

    def set_items(self, values: list[object]) -> None:
        target = self.top()
        if type(target) is not dict or len(values) % 2:
            damaged("SETITEMS on something that is not a dict")
        for key, value in zip(values[::2], values[1::2], strict=True):
            if type(key) is not str and type(key) is not int:
                damaged("a key of a dict is neither a string nor an integer")
            if key in target:
                damaged(f"duplicate key {show(key)} in a dict")
            target[key] = value

    def append(self, values: list[object]) -> None:
        target = self.top()
        if type(target) is not list:
            damaged("APPEND on something that is not a list")
        target.extend(values)

    def build(self) -> None:
        """Only OrderedDict gets attributes here: nn.Module's ``_metadata``, which no weight depends on."""
        self.pop()
        if type(self.top()) is not dict:
            code("sets the state of an object (BUILD)")

    def reduce(self) -> None:
        arguments, function = self.pop(), self.pop()
        if type(function) is not Symbol or type(arguments) is not tuple:
            damaged("REDUCE of something that is not a known constructor")
        if function.kind not in _CONSTRUCTORS:
            damaged(f"a {function.kind} is called like a function")
        self.push(_CONSTRUCTORS[function.kind](arguments))

    def persistent(self) -> None:
        match self.pop():
            case ("storage", Symbol("storage", dtype), str(key), str(), int(numel), *view):
                pass
            case _:
                damaged("an unknown persistent id, not one of a storage")
        if not _KEY.fullmatch(key) or type(numel) is not int or not 0 <= numel < 2**60 or view not in ([], [None]):
            damaged(f"the storage with key {show(key)} has an impossible key, size or view")
        storage = Storage(key, dtype, numel)
        if self.storages.setdefault(key, storage) != storage:
            damaged(f"the storage {key} is described in two ways")
        self.push(storage)


def _make_dict(arguments: tuple[object, ...]) -> object:
    return {} if arguments in ((), ([],)) else damaged("an OrderedDict with arguments")


def _make_size(arguments: tuple[object, ...]) -> object:
    match arguments:
        case (tuple() as sizes,):
            return sizes
    damaged("a malformed torch.Size")


def _make_parameter(arguments: tuple[object, ...]) -> object:
    match arguments:
        case (Window() as window, *_):
            return window
    damaged("a malformed Parameter")


def _make_tensor(arguments: tuple[object, ...]) -> object:
    match arguments:
        case (Storage() as storage, offset, tuple() as shape, tuple() as strides):
            metadata = None
        case (Storage() as storage, offset, tuple() as shape, tuple() as strides, _, _, *rest) if len(rest) < 2:
            metadata = rest[0] if rest else None
        case _:
            damaged("malformed arguments of a tensor")
    return _window(storage, storage.dtype, offset, shape, strides, metadata)


def _make_tensor_with_dtype(arguments: tuple[object, ...]) -> object:
    match arguments:
        case (Storage() as storage, offset, tuple() as shape, tuple() as strides, _, _, Symbol("dtype", dtype), *rest):
            if dtype and len(rest) < 2:
                return _window(storage, dtype, offset, shape, strides, rest[0] if rest else None)
    damaged("malformed arguments of a tensor")


def _window(
    storage: Storage, dtype: str, offset: object, shape: tuple[object, ...], strides: tuple[object, ...], flags: object
) -> Window:
    """The tensor, if every element lies inside the storage and no storage is blown up by a stride of 0."""
    if flags:
        raise Refused("the pickle holds a conjugated or negated view, whose bytes are not its values. Re-save it.")
    if len(shape) != len(strides) or len(shape) > HIGHEST_RANK:
        damaged("shape and stride of a tensor do not match, or its rank is absurd")
    sizes, steps = _whole(shape), _whole(strides)
    (start,) = _whole((offset,))
    available = storage.nbytes // ITEMSIZE[dtype]
    count = prod(sizes)
    if prod(max(size, 1) for size in sizes) >= 2**60:
        damaged(f"a tensor of the impossible shape {show(sizes)}")
    last = start + sum((size - 1) * step for size, step in zip(sizes, steps, strict=True)) if count else start - 1
    if last >= available or count > available:
        damaged(
            f"a tensor of shape {show(sizes)} with stride {show(steps)} at offset {start} reaches outside its storage "
            f"of size {available}, or is larger than it"
        )
    return Window(storage, dtype, start, sizes, steps)


def _whole(values: tuple[object, ...]) -> tuple[int, ...]:
    whole = tuple(value for value in values if type(value) is int and 0 <= value < 2**63)
    if len(whole) != len(values):
        damaged("a size, stride or offset of a tensor is negative, too large or not an integer")
    return whole


_CONSTRUCTORS: dict[str, Callable[[tuple[object, ...]], object]] = {
    "dict": _make_dict,
    "size": _make_size,
    "tensor": _make_tensor,
    "tensor with dtype": _make_tensor_with_dtype,
    "parameter": _make_parameter,
}

_BYTE, _SHORT, _UINT, _INT = (struct.Struct(form) for form in ("<B", "<H", "<I", "<i"))
_DOUBLE = struct.Struct(">d")


def _stack_global(machine: Machine) -> None:
    machine.symbol(*machine.pop_tuple(2))


#: every opcode that is understood, by its letter (CPython's Lib/pickletools.py names and explains them).
OPCODES: dict[bytes, Callable[[Machine], object]] = {
    b"\x80": Machine.protocol,
    b"\x95": lambda m: m.take(8),  # FRAME: its length is a hint for buffering; reads are bounded anyway
    b"(": lambda m: m.push(_MARK),
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"K": lambda m: m.push(m.number(_BYTE)),
    b"M": lambda m: m.push(m.number(_SHORT)),
    b"J": lambda m: m.push(m.number(_INT)),
    b"\x8a": Machine.long,
    b"G": lambda m: m.push(_DOUBLE.unpack(m.take(8))[0]),
    b"\x8c": lambda m: m.push(m.text(m.number(_BYTE))),
    b"X": lambda m: m.push(m.text(m.number(_UINT))),
    b"}": lambda m: m.push({}),
    b"]": lambda m: m.push([]),
    b")": lambda m: m.push(()),
    b"\x85": lambda m: m.push(m.pop_tuple(1)),
    b"\x86": lambda m: m.push(m.pop_tuple(2)),
    b"\x87": lambda m: m.push(m.pop_tuple(3)),
    b"t": lambda m: m.push(tuple(m.pop_to_mark())),
    b"s": lambda m: m.set_items(list(m.pop_tuple(2))),
    b"u": lambda m: m.set_items(m.pop_to_mark()),
    b"a": lambda m: m.append([m.pop()]),
    b"e": lambda m: m.append(m.pop_to_mark()),
    b"q": lambda m: m.put(m.number(_BYTE)),
    b"r": lambda m: m.put(m.number(_UINT)),
    b"\x94": lambda m: m.put(len(m.memo)),
    b"h": lambda m: m.get(m.number(_BYTE)),
    b"j": lambda m: m.get(m.number(_UINT)),
    b"c": lambda m: m.symbol(m.line(), m.line()),
    b"\x93": _stack_global,
    b"R": Machine.reduce,
    b"b": Machine.build,
    b"Q": Machine.persistent,
}

#: opcodes whose only purpose is to make an object of some class.
CODE_OPCODES = {
    b"i": "INST",
    b"o": "OBJ",
    b"\x81": "NEWOBJ",
    b"\x92": "NEWOBJ_EX",
    b"\x82": "EXT1",
    b"\x83": "EXT2",
    b"\x84": "EXT4",
}
