"""Checkpoints written out byte by byte for the tests, sharing no code with the readers under test."""

import json
import struct
import zipfile
from io import BytesIO
from pathlib import Path

from convert.checkpoint.files import list_folder
from convert.checkpoint.shards import read_file
from convert.checkpoint.stored import Contents


def safetensors(header: object, data: bytes = b"") -> bytes:
    """A file with this header (text or anything that json can write) and these bytes behind it."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def floats(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def model(**tensors: bytes) -> bytes:
    """A safetensors file of float32 vectors, given as their bytes."""
    header, at = {}, 0
    for name, data in tensors.items():
        header[name] = {"dtype": "F32", "shape": [len(data) // 4], "data_offsets": [at, at + len(data)]}
        at += len(data)
    return safetensors(header, b"".join(tensors.values()))


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def numbers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def storage(kind: str = "torch\nFloatStorage", key: str = "0", numel: int = 4, word: str = "storage") -> bytes:
    """A persistent id, as torch/serialization.py writes it."""
    return b"(" + text(word) + b"c" + kind.encode() + b"\n" + text(key) + text("cpu") + number(numel) + b"tQ"


def tensor(
    shape: tuple[int, ...] = (4,),
    strides: tuple[int, ...] = (1,),
    offset: int = 0,
    store: bytes | None = None,
    function: str = "_rebuild_tensor_v2",
    rest: bytes = b"\x89ccollections\nOrderedDict\n)R",
) -> bytes:
    """A call of one of torch/_utils.py's functions that rebuild tensors."""
    arguments = (storage() if store is None else store) + number(offset) + numbers(shape) + numbers(strides) + rest
    return b"ctorch._utils\n" + function.encode() + b"\n(" + arguments + b"tR"


def pickle_of(**items: bytes) -> bytes:
    """A dict whose values are given as opcodes."""
    return b"\x80\x02}(" + b"".join(text(name) + value for name, value in items.items()) + b"u."


def torch_zip(pickled: bytes, storages: dict[str, bytes] | None = None, **extra: bytes) -> bytes:
    """An archive like torch.save's, with one storage "0" of four float32 unless others are given."""
    stream = BytesIO()
    storages = {"0": floats(1, 2, 3, 4)} if storages is None else storages
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/byteorder", b"little")
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key}", data)
        archive.writestr("archive/version", b"3\n")
        for name, data in extra.items():
            archive.writestr(f"archive/{name}", data)
    return stream.getvalue()


def read(directory: Path, name: str, content: bytes) -> Contents:
    """What the product's reader finds in a file of this content."""
    (directory / name).write_bytes(content)
    return read_file(list_folder(directory).find(name))


def checkpoint(directory: Path, **files: bytes | dict[str, object]) -> Path:
    """A directory with these files (``__`` stands for a dot, dicts become JSON) and a config unless one is given."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in {"config__json": {"model_type": "llama"}, **files}.items():
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        (directory / name.replace("__", ".")).write_bytes(data)
    return directory
