"""What a lossless delta's ``delta.json`` says, checked: it comes from elsewhere, like any checkpoint.

``base``: tensor -> dtype, shape, hash of each tensor that is counted on. ``files``: name, header (hex) and tensors, in file
order, each with the tensor of the base under it (or null), its hash and its frames. ``documents``: what lies beside.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from convert.checkpoint import is_document
from convert.checkpoint.names import check_shard_name, fault_in_tensor_name
from surgery.dtypes import ITEMSIZE
from surgery.errors import ConversionError, show

NAME, DATA = "delta.json", "delta.zst"
SCHEMA = 1
BLOCK = 4 << 20  # bytes of the target per frame

_HASH = re.compile(r"[0-9a-f]{32}")
INDEX = "model.safetensors.index.json"


def described(told: Any, size: int) -> dict[str, Any]:
    """The description, whole and consistent with ``size`` bytes of frames; ``ConversionError`` where it is not."""
    version = told.get("weightsmith_delta") if isinstance(told, Mapping) else None
    if version != SCHEMA:
        raise ConversionError(
            f"{NAME}: weightsmith_delta is {show(version)}, and {SCHEMA} is what this version of the program can read."
        )
    try:
        for name, base in told["base"].items():
            _tensor(name, base)
        for entry in told["files"]:
            check_shard_name(entry["name"], (".safetensors",), NAME)
            _file(entry, told["base"], size)
        for name in told["documents"]:
            _check(is_document(name) or name in ("config.json", INDEX), f"{show(name)} is no document of a checkpoint")
        names = [entry["name"] for entry in told["files"]] + list(told["documents"])
        _check(len(set(names)) == len(names), "a file is described twice")
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ConversionError(
            f"{NAME} is not the description of a lossless delta ({type(error).__name__}: {show(str(error))}). Get it again."
        ) from None
    return dict(told)


def _file(entry: Mapping[str, Any], base: Mapping[str, Any], size: int) -> None:
    """A file's tensors must lie in it as its header says, one after another."""
    header = bytes.fromhex(entry["header"])
    _check(len(header) >= 8 and int.from_bytes(header[:8], "little") == len(header) - 8, "a header of another length")
    stated = {name: value for name, value in json.loads(header[8:]).items() if name != "__metadata__"}
    begin = 0
    for tensor in entry["tensors"]:
        nbytes = _tensor(tensor["name"], tensor)
        _check(tensor["base"] is None or tensor["base"] in base, "a tensor whose base is not described")
        _check(tensor["base"] is None or base[tensor["base"]]["dtype"] == tensor["dtype"], "a base of another type")
        _check(len(tensor["frames"]) == -(-nbytes // BLOCK), "a tensor with too few or too many frames")
        for offset, length in tensor["frames"]:
            _check(type(offset) is int and type(length) is int and offset >= 0 <= length, "a frame that is nowhere")
            _check(offset + length <= size and length <= 2 * BLOCK, f"a frame beyond the end of {DATA}")
        wanted = {"dtype": tensor["dtype"], "shape": tensor["shape"], "data_offsets": [begin, begin + nbytes]}
        _check(stated.pop(tensor["name"], None) == wanted, f"{show(tensor['name'])} elsewhere than its header says")
        begin += nbytes
    _check(not stated, "a header with tensors that are not described")


def _tensor(name: str, told: Mapping[str, Any]) -> int:
    """The bytes of a described tensor."""
    _check(fault_in_tensor_name(name) is None, "a tensor with an unusual name")
    _check(_HASH.fullmatch(told["xxh3_128"]) is not None, "a hash that is none")
    _check(all(type(n) is int and 0 <= n < 2**40 for n in told["shape"]), "a shape that is none")
    nbytes = ITEMSIZE[told["dtype"]]
    for n in told["shape"]:
        nbytes *= n
    return nbytes


def _check(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(what)
