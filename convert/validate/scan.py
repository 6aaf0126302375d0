"""Every byte of the weights once: what is not a number, what is all the same, what is there twice, and hashes.

A number is NaN or infinite when all bits of its exponent are set. Read as whole numbers, such values are the largest
ones of their sign: so one signed and one unsigned maximum over a block tell whether there is any, at memory's speed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from convert.checkpoint.files import OpenFile, opened
from convert.checkpoint.reading import read_tensor
from convert.checkpoint.stored import SourceFile, Stored
from convert.validate.weights import Weights
from surgery.dtypes import ITEMSIZE

if TYPE_CHECKING:
    import numpy as np

BLOCK = 4 << 20  # bytes: large enough for the disk, small enough for the cache
FEWEST_COLUMNS = 8  # below this, equal numbers in a row are chance

#: dtype -> the bits of infinity; an exponent full of ones with another mantissa is NaN
_INFINITY = {"F64": 0x7FF0 << 48, "F32": 0x7F80 << 16, "F16": 0x7C00, "BF16": 0x7F80, "F8_E5M2": 0x7C}
_NAN_ONLY = {"F8_E4M3": 0x7F}  # this type has no infinity, and one NaN of each sign


@dataclass
class Seen:
    """What the bytes of one tensor are."""

    nan: int = 0
    inf: int = 0
    rows: int = 0  # rows looked at, of matrices
    constant: int = 0  # rows whose elements are all the same
    zero: bool = True  # every element is zero
    digest: str = ""


@dataclass(frozen=True)
class Scan:
    """What a pass over all weight files found; ``hashes`` are xxh3_128 of whole files."""

    tensors: Mapping[tuple[str, str], Seen]  # by file and name
    hashes: Mapping[str, str]
    sha256: Mapping[str, str] = field(default_factory=dict)


Progress = Callable[[int, str], None]


def scan(weights: Weights, *, sha256: bool = False, progress: Progress | None = None) -> Scan:
    """Read every readable weight file from first byte to last, in blocks; memory does not depend on their size."""
    tensors: dict[tuple[str, str], Seen] = {}
    hashes: dict[str, str] = {}
    strong: dict[str, str] = {}
    for name, contents in weights.contents.items():
        whole = _Hashes(sha256)
        inside = contents.tensors if name.endswith(".safetensors") else {}
        for tensor, seen in _pass(weights.files[name], inside, whole, progress):
            tensors[name, tensor] = seen
        if not name.endswith(".safetensors"):
            with opened(weights.files[name]) as file:
                for stored in contents.tensors.values():
                    tensors[name, stored.name] = _one(_Reader(name, file), stored)
        hashes[name] = whole.fast.hexdigest()
        if whole.strong is not None:
            strong[name] = whole.strong.hexdigest()
    return Scan(tensors, hashes, strong)


class _Hashes:
    def __init__(self, sha256: bool) -> None:
        import xxhash

        self.fast = xxhash.xxh3_128()
        self.strong = hashlib.sha256() if sha256 else None

    def update(self, data: memoryview) -> None:
        self.fast.update(data)
        if self.strong is not None:
            self.strong.update(data)


def _pass(
    source: SourceFile, tensors: Mapping[str, Stored], whole: _Hashes, progress: Progress | None
) -> Iterator[tuple[str, Seen]]:
    """The file in order: what lies between tensors is hashed only."""
    with opened(source) as file:
        buffer = memoryview(bytearray(BLOCK))
        done = 0
        for stored in sorted(tensors.values(), key=lambda tensor: tensor.offset):
            for _ in _blocks(file, done, stored.offset, BLOCK, buffer, whole, progress, source.name):
                pass
            row = stored.nbytes // stored.shape[0] if len(stored.shape) >= 2 and stored.shape[0] else 0
            whole_rows = 0 < row <= BLOCK
            step = BLOCK // row * row if whole_rows else BLOCK
            seen, look = Seen(), _Look(stored, whole_rows)
            for block in _blocks(
                file, stored.offset, stored.offset + stored.nbytes, step, buffer, whole, progress, stored.name
            ):
                look(block, seen)
            look.finish(seen)
            yield stored.name, seen
            done = stored.offset + stored.nbytes
        for _ in _blocks(file, done, file.size, BLOCK, buffer, whole, progress, source.name):
            pass


def _blocks(
    file: OpenFile,
    begin: int,
    end: int,
    step: int,
    buffer: memoryview,
    whole: _Hashes,
    progress: Progress | None,
    name: str,
) -> Iterator[memoryview]:
    for offset in range(begin, end, step):
        block = buffer[: min(step, end - offset)]
        file.read_into(offset, block)
        whole.update(block)
        if progress is not None:
            progress(len(block), name)
        yield block


class _Look:
    """The tests of one tensor, block after block."""

    def __init__(self, stored: Stored, whole_rows: bool) -> None:
        import numpy as np
        import xxhash

        self.dtype, self.size = stored.dtype, ITEMSIZE[stored.dtype]
        self.columns = stored.nbytes // stored.shape[0] // self.size if whole_rows else 0
        self.unsigned, self.signed = np.dtype(f"<u{self.size}"), np.dtype(f"<i{self.size}")
        self.hash = xxhash.xxh3_128(f"{stored.dtype}{stored.shape}".encode())

    def __call__(self, block: memoryview, seen: Seen) -> None:
        import numpy as np

        self.hash.update(block)
        if self.dtype not in _INFINITY and self.dtype not in _NAN_ONLY:
            seen.zero = False
            return
        bits = np.frombuffer(block, self.unsigned)
        limit = _INFINITY.get(self.dtype) or _NAN_ONLY[self.dtype]
        sign = 1 << (8 * self.size - 1)
        highest = int(bits.max())
        if int(bits.view(self.signed).max()) >= limit or highest >= (limit | sign):
            self._count(bits & self.unsigned.type(sign - 1), limit, seen)
        seen.zero = seen.zero and highest in (0, sign) and not bool((bits & self.unsigned.type(sign - 1)).any())
        if self.columns >= FEWEST_COLUMNS:
            self._rows(bits.reshape(-1, self.columns), seen)

    def _count(self, magnitude: np.ndarray[Any, Any], limit: int, seen: Seen) -> None:
        infinite = int((magnitude == limit).sum()) if self.dtype in _INFINITY else 0
        seen.inf += infinite
        seen.nan += int((magnitude >= limit).sum()) - infinite

    def _rows(self, rows: np.ndarray[Any, Any], seen: Seen) -> None:
        """Constant rows: three columns rule out nearly all others, so that few rows are read twice."""
        seen.rows += len(rows)
        alike = (rows[:, 0] == rows[:, 1]) & (rows[:, 0] == rows[:, -1])
        if alike.any():
            candidates = rows[alike]
            seen.constant += int((candidates == candidates[:, :1]).all(axis=1).sum())

    def finish(self, seen: Seen) -> None:
        seen.digest = self.hash.hexdigest()


class _Reader:
    """One open file where readers of tensors expect several."""

    def __init__(self, name: str, file: OpenFile) -> None:
        self.name, self.file = name, file

    def read_into(self, file: str, offset: int, buffer: memoryview) -> None:
        assert file == self.name
        self.file.read_into(offset, buffer)


def _one(reader: Any, stored: Stored) -> Seen:
    """A tensor of a torch file, which may lie in any order of strides and so is read as a whole."""
    seen, row = Seen(), stored.nbytes // stored.shape[0] if len(stored.shape) >= 2 and stored.shape[0] else 0
    look = _Look(stored, bool(row))
    if data := read_tensor(reader, stored):
        look(memoryview(data), seen)
    look.finish(seen)
    return seen
