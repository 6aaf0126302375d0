"""A closed machine for the pickles that torch.save writes: it computes plain values and windows on storages.

Nothing is imported or called. A GLOBAL is looked up in a table of symbols, and REDUCE has its own rule for each of the
few that may be called. All that can be made is an int, float, str, bool, None, list, dict, tuple or one of the classes
of pickle_symbols, so time and memory are bounded by the length of the pickle, which is bounded itself.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO

from convert.checkpoint.pickle_symbols import (
    CONSTRUCTORS,
    SYMBOLS,
    UNSUPPORTED,
    Refused,
    Storage,
    Symbol,
    code,
    damaged,
)
from surgery.errors import show

LONGEST_PICKLE = 64 << 20
MOST_OPCODES = 5_000_000
LONGEST_STRING = 1 << 16
LONGEST_LINE = 256
LONGEST_INTEGER = 10  # bytes: the magic number of legacy files has 10
NEWEST_PROTOCOL = 5


class _Mark:
    """The only value of this class marks a place on the stack."""


_MARK = _Mark()
_KEY = re.compile(r"[0-9]{1,20}")


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
                    raise code(f"constructs an object ({CODE_OPCODES[letter]})")
                raise damaged(f"opcode 0x{letter[0]:02x} does not occur in a state dict")
            step(self)
        raise damaged(f"more than {MOST_OPCODES:,} opcodes")

    def finish(self) -> object:
        value = self.pop()
        if self.stack:
            raise damaged("values are left over at its end")
        return value

    # reading -----------------------------------------------------------------------------------------------------
    def take(self, count: int) -> bytes:
        self.taken += count
        if self.taken > self.limit:
            raise damaged("it is truncated or longer than allowed")
        data = self.stream.read(count)
        if len(data) != count:
            raise damaged("it is truncated")
        return data

    def number(self, form: struct.Struct) -> int:
        return int(form.unpack(self.take(form.size))[0])

    def text(self, length: int) -> str:
        if length > LONGEST_STRING:
            raise damaged(f"a string of {length:,} bytes")
        try:
            return self.take(length).decode("utf-8")
        except UnicodeDecodeError:
            raise damaged("a string is not UTF-8") from None

    def line(self) -> str:
        line = self.stream.readline(LONGEST_LINE)
        self.taken += len(line)
        if not line.endswith(b"\n") or self.taken > self.limit:
            raise damaged("a line is unterminated or too long")
        return line[:-1].decode("ascii", "backslashreplace")

    # the stack ---------------------------------------------------------------------------------------------------
    def push(self, value: object) -> None:
        self.stack.append(value)

    def pop(self) -> object:
        if not self.stack or self.stack[-1] is _MARK:
            raise damaged("it takes a value from an empty stack")
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
        raise damaged("a mark is missing on the stack")

    def top(self) -> object:
        if not self.stack:
            raise damaged("the stack is empty")
        return self.stack[-1]

    # what some opcodes do ----------------------------------------------------------------------------------------
    def protocol(self) -> None:
        if self.number(_BYTE) > NEWEST_PROTOCOL:
            raise damaged("an unknown protocol")

    def put(self, index: int) -> None:
        if index > self.opcodes:
            raise damaged("an absurd memo index")
        self.memo[index] = self.top()

    def get(self, index: int) -> None:
        if index not in self.memo:
            raise damaged("it asks for a memo entry that was never made")
        self.push(self.memo[index])

    def long(self) -> None:
        length = self.number(_BYTE)
        if length > LONGEST_INTEGER:
            raise damaged(f"an integer of {length} bytes")
        self.push(int.from_bytes(self.take(length), "little", signed=True))

    def symbol(self, module: object, name: object) -> None:
        if type(module) is not str or type(name) is not str:
            raise damaged("a global is not named by strings")
        if (module, name) in UNSUPPORTED:
            raise Refused(f"the pickle holds {UNSUPPORTED[module, name]}, which is not supported as a weight.")
        if (module, name) not in SYMBOLS:
            raise code(f"asks for {show(f'{module}.{name}')}")
        self.push(SYMBOLS[module, name])

    def set_items(self, values: list[object]) -> None:
        target = self.top()
        if type(target) is not dict or len(values) % 2:
            raise damaged("SETITEMS on something that is not a dict")
        for key, value in zip(values[::2], values[1::2], strict=True):
            if type(key) is not str and type(key) is not int:
                raise damaged("a key of a dict is neither a string nor an integer")
            if key in target:
                raise damaged(f"duplicate key {show(key)} in a dict")
            target[key] = value

    def append(self, values: list[object]) -> None:
        target = self.top()
        if type(target) is not list:
            raise damaged("APPEND on something that is not a list")
        target.extend(values)

    def build(self) -> None:
        """Only OrderedDict gets attributes here: nn.Module's ``_metadata``, which no weight depends on."""
        self.pop()
        if type(self.top()) is not dict:
            raise code("sets the state of an object (BUILD)")

    def reduce(self) -> None:
        arguments, function = self.pop(), self.pop()
        if type(function) is not Symbol or type(arguments) is not tuple:
            raise damaged("REDUCE of something that is not a known constructor")
        if function.kind not in CONSTRUCTORS:
            raise damaged(f"a {function.kind} is called like a function")
        self.push(CONSTRUCTORS[function.kind](arguments))

    def persistent(self) -> None:
        match self.pop():
            case ("storage", Symbol("storage", dtype), str(key), str(), int(numel), *view):
                pass
            case _:
                raise damaged("an unknown persistent id, not one of a storage")
        if not _KEY.fullmatch(key) or type(numel) is not int or not 0 <= numel < 2**60 or view not in ([], [None]):
            raise damaged(f"the storage with key {show(key)} has an impossible key, size or view")
        storage = Storage(key, dtype, numel)
        if self.storages.setdefault(key, storage) != storage:
            raise damaged(f"the storage {key} is described in two ways")
        self.push(storage)


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
