"""safetensors files byte by byte, so that a header can say what no library would write."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

Header = dict[str, Any]

#: the types that PyTorch has, by the format's names
TORCH = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I32": torch.int32,
    "I8": torch.int8, "BOOL": torch.bool, "C64": torch.complex64, "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip


@dataclass(frozen=True)
class Stored:
    """A tensor as a file has it."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes

    def tensor(self) -> torch.Tensor:
        return torch.frombuffer(bytearray(self.data), dtype=TORCH[self.dtype]).reshape(self.shape)


Tensors = dict[str, Stored]


def bytes_of(dtype: str, shape: Sequence[int]) -> int:
    return math.prod(shape) // 2 if dtype == "F4" else math.prod(shape) * TORCH[dtype].itemsize


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def laid_out(
    tensors: Mapping[str, Stored],
    *,
    metadata: Mapping[str, str] | None = None,
    order: Sequence[str] = (),
    before: str = "",
    align: int = 8,
    spelled: Callable[[Any], str] = compact,
) -> bytes:
    """The file of these tensors; `order` is that of the header, `before` stands in front of it."""
    entries, end = {}, 0
    for name, stored in tensors.items():
        begin, end = end, end + len(stored.data)
        entries[name] = {"dtype": stored.dtype, "shape": list(stored.shape), "data_offsets": [begin, end]}
    header: Header = {} if metadata is None else {"__metadata__": dict(metadata)}
    header |= {name: entries[name] for name in order or entries}
    text = (before + spelled(header)).encode()
    text += b" " * (-len(text) % align)
    return joined(text, b"".join(stored.data for stored in tensors.values()))


def length(data: bytes) -> int:
    """Of the header."""
    return int(struct.unpack("<Q", data[:8])[0])


def parted(data: bytes) -> tuple[Header, bytes]:
    end = 8 + length(data)
    return json.loads(data[8:end]), data[end:]


def joined(header: Header | str | bytes, body: bytes) -> bytes:
    if isinstance(header, dict):
        header = compact(header)
    text = header if isinstance(header, bytes) else header.encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(text)) + text + body
