"""A strict reader of safetensors headers.

Ours and not the library's, because the library (0.8.0) accepts duplicate names, entries written as lists, any rank,
and any characters in names. Whatever it refuses, this refuses too.
"""

from __future__ import annotations

import struct
import sys
from functools import lru_cache
from math import prod
from typing import Any

from convert.checkpoint.disguises import disguise_of_safetensors
from convert.checkpoint.documents import NotStrict, parse_json
from convert.checkpoint.files import OpenFile
from convert.checkpoint.names import fault_in_tensor_name
from convert.checkpoint.stored import Contents, Stored, row_major
from surgery.dtypes import ELSEWHERE, ITEMSIZE
from surgery.errors import listed, show

LARGEST_HEADER = 100_000_000  # the limit of the format's own reader
MOST_TENSORS = 1_000_000
HIGHEST_RANK = 8
_LARGEST = 2**63 - 1
_FIELDS = ("dtype", "shape", "data_offsets")
_AGAIN = "The file is damaged or hostile; download it again."


def read_header(file: OpenFile) -> Contents:
    """The tensors and the ``__metadata__`` of a safetensors file. Every byte of the file is accounted for."""
    text, data_start = _header_bytes(file)
    try:
        header = parse_json(text)
        if type(header) is not dict:
            raise NotStrict("it is not a JSON object")
        metadata = _metadata(header.pop("__metadata__", None))
        if len(header) > MOST_TENSORS:
            raise NotStrict(f"it lists {len(header):,} tensors; the limit is {MOST_TENSORS:,}")
        tensors = {name: _tensor(name, entry, file, data_start) for name, entry in header.items()}
        _cover(tensors, data_start, file)
    except NotStrict as error:
        raise file.wrong(f"the header is not valid: {error}. {_AGAIN}") from None
    return Contents(tensors, metadata, _warnings(file, header))


def _header_bytes(file: OpenFile) -> tuple[bytes, int]:
    head = file.read(0, min(file.size, 512))
    if instead := disguise_of_safetensors(head):
        raise file.wrong(f"this is not safetensors but {instead}.")
    if file.size == 0:
        raise file.wrong("the file is empty (0 bytes): an interrupted download? Download it again.")
    if file.size < 8:
        raise file.wrong(f"the file is too small ({file.size} bytes) for a header: truncated? Download it again.")
    (length,) = struct.unpack("<Q", head[:8])
    if length > LARGEST_HEADER:
        raise file.wrong(f"it promises a header of {length:,} bytes; the limit is {LARGEST_HEADER:,}. {_AGAIN}")
    if length > file.size - 8:
        raise file.wrong(f"it promises a header of {length:,} bytes but has {file.size:,} bytes: truncated download?")
    if length < 2:
        raise file.wrong(f"its header has {length} bytes, too few for a JSON object. {_AGAIN}")
    # Before up to 100 MB are read: a header begins with '{', or with white space that the reference tolerates.
    if head[8 : 8 + length].lstrip(b" \t\r\n")[:1] not in (b"{", b""):
        raise file.wrong(f"the header does not begin with '{{'. {_AGAIN}")
    return file.read(8, length), 8 + length


def _metadata(value: object) -> dict[str, str]:
    if value is None:
        return {}
    if type(value) is not dict or not all(type(text) is str for text in value.values()):
        raise NotStrict("__metadata__ does not map strings to strings")
    return value


def _tensor(name: str, entry: Any, file: OpenFile, data_start: int) -> Stored:
    if fault := fault_in_tensor_name(name):
        raise NotStrict(f"{fault} {show(name)}")
    if type(entry) is not dict or any(field not in entry for field in _FIELDS):
        raise NotStrict(f"tensor {show(name)} is not described by an object with dtype, shape and data_offsets")
    dtype, shape, offsets = (entry[field] for field in _FIELDS)
    if type(dtype) is str and dtype in ELSEWHERE:
        raise file.wrong(
            f"tensor {show(name)} is of type {dtype}, {ELSEWHERE[dtype]}: safetensors has such tensors, and nothing here reads "
            "them. Take the model in a type that its authors trained or published it in, such as bfloat16."
        )
    if type(dtype) is not str or dtype not in ITEMSIZE:
        raise NotStrict(f"tensor {show(name)} has the unknown or unsupported dtype {show(dtype)}")
    if not _sizes(shape) or len(shape) > HIGHEST_RANK:
        raise NotStrict(f"tensor {show(name)} has no valid shape: at most {HIGHEST_RANK} dimensions, each 0 to 2^63-1")
    if not _sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise NotStrict(f"tensor {show(name)} has no valid data_offsets [begin, end]")
    if prod(max(size, 1) for size in shape) * ITEMSIZE[dtype] > _LARGEST:
        raise NotStrict(f"tensor {show(name)} has the impossible shape {show(shape)}")
    wanted = prod(shape) * ITEMSIZE[dtype]
    if offsets[1] - offsets[0] != wanted:
        raise NotStrict(
            f"tensor {show(name)} of shape {show(shape)} in {dtype} needs {wanted:,} bytes, "
            f"but its data_offsets span a size of {offsets[1] - offsets[0]:,}"
        )
    # of 200,000 tensors few differ in shape, and their names are asked for again by tables: one object for all that are equal
    return Stored(sys.intern(name), file.source.name, sys.intern(dtype), *_shaped(tuple(shape)), data_start + offsets[0])


@lru_cache(maxsize=4096)
def _shaped(shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return shape, row_major(shape)


def _sizes(value: object) -> bool:
    """Whether this is a list of whole numbers; JSON ``true`` and ``1.0`` are not."""
    return type(value) is list and all(type(item) is int and 0 <= item <= _LARGEST for item in value)


def _cover(tensors: dict[str, Stored], data_start: int, file: OpenFile) -> None:
    """Each tensor begins where the last one ended, and the last ends with the file: no holes, overlaps or tails."""
    end = data_start
    for tensor in sorted(tensors.values(), key=lambda tensor: (tensor.offset, tensor.nbytes)):
        if tensor.offset != end:
            relation = "overlaps the tensor before it" if tensor.offset < end else "leaves a hole before it"
            raise NotStrict(f"tensor {show(tensor.name)} {relation} (offset {tensor.offset:,}, expected {end:,})")
        end += tensor.nbytes
    if end > file.size:
        raise NotStrict(f"it promises {end:,} bytes but the file size is {file.size:,}: a truncated download")
    if end < file.size:
        raise NotStrict(f"{file.size - end:,} extra bytes follow the last tensor")


def _warnings(file: OpenFile, header: dict[str, dict[str, object]]) -> tuple[str, ...]:
    strange = sorted({key for entry in header.values() if len(entry) > len(_FIELDS) for key in entry} - set(_FIELDS))
    if not strange:
        return ()
    names = listed(show(key) for key in strange)
    return (str(file.wrong(f"the header has fields that safetensors does not define ({names}); they are ignored.")),)
