"""What a lossless delta's ``delta.json`` says, checked: it comes from elsewhere, like any checkpoint.

``base``: tensor -> dtype, shape, hash of each tensor that is counted on. ``files``: name, header (hex) and tensors, in file
order, each with the tensor of the base under it (or null), its hash and its frames. ``documents``: what lies beside.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from convert.checkpoint import is_document
from convert.checkpoint.documents import NotStrict, parse_json
from convert.checkpoint.kinds import TABLE, TABLES, TEXT, TEXTS, WHOLES, Kind, items, optional, read
from convert.checkpoint.names import check_shard_name, fault_in_tensor_name
from surgery.dtypes import ITEMSIZE
from surgery.errors import ConversionError, show

NAME, DATA = "delta.json", "delta.zst"
SCHEMA = 1
BLOCK = 4 << 20  # bytes of the target per frame

_HASH = re.compile(r"[0-9a-f]{32}")
_PAIRS = Kind("a list of pairs of whole numbers", items(lambda pair: WHOLES.holds(pair) and len(pair) == 2))
INDEX = "model.safetensors.index.json"


def described(told: Mapping[str, Any], size: int) -> dict[str, Any]:
    """The description, whole and consistent with ``size`` bytes of frames; ``ConversionError`` where it is not."""
    version = told.get("weightsmith_delta")
    if version is True or version != SCHEMA:
        raise ConversionError(
            f"{NAME}: weightsmith_delta is {show(version)}, and {SCHEMA} is what this version of the program can read."
        )
    base, files = read(told, "base", TABLE, NAME), read(told, "files", TABLES, NAME)
    documents = read(told, "documents", TEXTS, NAME)
    for name in base:
        _tensor(name, read(base, name, TABLE, f"{NAME}, base"))
    for entry in files:
        check_shard_name(read(entry, "name", TEXT, f"{NAME}, files"), (".safetensors",), NAME)
        _file(entry, base, size)
    for name in documents:
        _check(is_document(name) or name in ("config.json", INDEX), f"{show(name)}, which is no document of a checkpoint")
    names = [entry["name"] for entry in files] + documents
    _check(len(set(names)) == len(names), "one file twice")
    return dict(told)


def _file(entry: Mapping[str, Any], base: Mapping[str, Any], size: int) -> None:
    """A file's tensors must lie in it as its header says, one after another."""
    where = f"{NAME}, {show(entry['name'])}"
    stated = _header(read(entry, "header", TEXT, where))
    begin = 0
    for tensor in read(entry, "tensors", TABLES, where):
        name = read(tensor, "name", TEXT, where)
        nbytes = _tensor(name, tensor)
        under = read(tensor, "base", optional(TEXT), where)
        _check(under is None or under in base, "a tensor whose base is not described")
        _check(under is None or base[under]["dtype"] == tensor["dtype"], "a base of another type")
        frames = read(tensor, "frames", _PAIRS, where)
        _check(len(frames) == -(-nbytes // BLOCK), "a tensor with too few or too many frames")
        for offset, length in frames:
            _check(offset + length <= size and length <= 2 * BLOCK, f"a frame beyond the end of {DATA}")
        wanted = {"dtype": tensor["dtype"], "shape": tensor["shape"], "data_offsets": [begin, begin + nbytes]}
        _check(stated.pop(name, None) == wanted, f"{show(name)} elsewhere than its header says")
        begin += nbytes
    _check(not stated, "a header with tensors that are not described")


def _header(text: str) -> dict[str, Any]:
    """What a file's header, in hexadecimal digits, says of its tensors."""
    try:
        header = bytes.fromhex(text)
        stated = parse_json(header[8:]) if len(header) > 8 else None
    except (ValueError, NotStrict):
        stated = None
    if stated is None or int.from_bytes(header[:8], "little") != len(header) - 8 or not TABLE.holds(stated):
        raise ConversionError(f"{NAME} has a header that is none. Get it again.")
    return {name: value for name, value in stated.items() if name != "__metadata__"}


def _tensor(name: str, told: Mapping[str, Any]) -> int:
    """The bytes of a described tensor."""
    _check(fault_in_tensor_name(name) is None, "a tensor with an unusual name")
    where = f"{NAME}, {show(name)}"
    _check(_HASH.fullmatch(read(told, "xxh3_128", TEXT, where)) is not None, "a hash that is none")
    nbytes = ITEMSIZE.get(read(told, "dtype", TEXT, where), 0)
    _check(nbytes > 0, f"the type {show(told['dtype'])}, which is none")
    for n in read(told, "shape", WHOLES, where):
        nbytes *= n
    return nbytes


def _check(holds: bool, what: str) -> None:
    if not holds:
        raise ConversionError(f"{NAME} is not the description of a lossless delta: it has {what}. Get it again.")
