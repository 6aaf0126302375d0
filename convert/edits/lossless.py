"""Lossless deltas: differences of bit patterns, compressed, from which a base gives a target bit for bit.

A delta is a directory: ``delta.json`` says which tensors of which base (by their hashes) and what the target's files
begin with; ``delta.zst`` holds one zstandard frame per block of a tensor; the target's documents lie beside. A block's
elements are integers of the tensor's width: target minus base, modulo 2^bits, signs folded in (0, -1, 1, -2 become 0,
1, 2, 3), bytes of equal significance together. Trained weights differ in few low bits, so most of these bytes are zero;
NaN and -0 are bits like others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import xxhash

from convert.checkpoint import Checkpoint, Stored, open_sources, read_json
from convert.checkpoint.documents import INDEX_LIMIT, TOKENIZER_LIMIT
from convert.checkpoint.files import list_folder
from convert.edits.lossless_format import BLOCK, DATA, NAME, SCHEMA, described
from convert.planning import Output, OutputFile, Plan
from convert.stream import Source
from surgery.dtypes import ITEMSIZE
from surgery.errors import ConversionError, LimitExceeded, listed, show
from surgery.values import Exactness


class Reader(Protocol):
    """What fetches bytes of files: the open sources, or the writer's."""

    def read_into(self, file: str, offset: int, buffer: memoryview, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Patch:
    """One tensor of the target: the base's tensor under it, and where its frames lie."""

    base: Stored | None
    file: str
    itemsize: int
    nbytes: int
    frames: tuple[tuple[int, int], ...]  # offset and length of each, in bytes
    digest: str

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({self.base.name} if self.base is not None else ())

    @property
    def files(self) -> frozenset[str]:
        return frozenset({self.file})

    def stream(self, source: Source) -> Iterator[memoryview]:
        """The target's bytes, block by block; refused at the end when they are not those that were hashed."""
        told = xxhash.xxh3_128()
        for number, (offset, length) in enumerate(self.frames):
            first = number * BLOCK
            count = min(BLOCK, self.nbytes - first)
            frame = bytearray(length)
            source.read_into(self.file, offset, memoryview(frame))
            block = _restored(bytes(frame), base_bytes(source, self.base, first, count), self.itemsize, count)
            told.update(block)
            yield block
        if told.hexdigest() != self.digest:
            raise ConversionError(f"{self.file}: what the delta gives is not what it was made from. The file is damaged.")


def is_lossless(path: str | Path) -> bool:
    """Whether a directory holds a lossless delta."""
    return (Path(path) / NAME).is_file()


def plan_lossless(base: Checkpoint, path: str | Path) -> Plan:
    """The plan that gives the target of a delta; ``ConversionError`` unless ``base`` is the one that it was made from.

    All of the base that the delta counts on is read once, before anything is written.
    """
    folder = list_folder(Path(path))
    data = folder.find(DATA)
    description = folder.find(NAME)
    told = described(read_json(description, INDEX_LIMIT), data.size)
    documents = {name: folder.find(name) for name in told["documents"]}
    for found in documents.values():
        if found.size > TOKENIZER_LIMIT:
            raise LimitExceeded(f"{show(found.name)} has {found.size:,} bytes; documents are refused above {TOKENIZER_LIMIT:,}.")
    delta = Checkpoint(folder.path, {}, {}, {DATA: data}, documents, read=(description,))
    joined, named = base.joined("lossless", delta, {})
    _check_base(base, told["base"])
    (file,) = named.files
    return Plan(
        checkpoint=replace(joined, documents=documents),
        source="base",
        target="as the delta's target",
        exactness=Exactness.BYTE,
        steps=(f"{len(told['base'])} tensors get the differences of {folder.path.name}; all else is the target's own",),
        files=tuple(_file(entry, base, file) for entry in told["files"]),
        documents={},
        copies=tuple(sorted(documents)),
        notes=base.warnings,
        options={"lossless": SCHEMA},
    )


def base_bytes(reader: Reader, stored: Stored | None, first: int, count: int) -> bytes:
    """The base's bytes under ``count`` bytes of a target from ``first`` on; zeros where it has none."""
    held = max(0, min(count, stored.nbytes - first)) if stored is not None else 0
    buffer = bytearray(count)
    if stored is not None and held:
        reader.read_into(stored.file, stored.offset + first, memoryview(buffer)[:held])
    return bytes(buffer)


def folded(target: bytes, base: bytes, itemsize: int) -> bytes:
    """The differences of two blocks as they are compressed.

    >>> folded(bytes([5, 0, 255, 0]), bytes([4, 0, 0, 1]), 2).hex()
    '02010000'
    """
    import numpy as np

    width = np.dtype(f"<u{itemsize}")
    difference = np.frombuffer(target, width) - np.frombuffer(base, width)
    negative = np.right_shift(difference, 8 * itemsize - 1)
    signed = np.left_shift(difference, 1) ^ (np.zeros_like(difference) - negative)
    planes: bytes = signed.view(np.uint8).reshape(-1, itemsize).T.tobytes()
    return planes


def unfolded(block: bytes, base: bytes, itemsize: int) -> bytes:
    """The target's block, from what ``folded`` made of it."""
    import numpy as np

    width = np.dtype(f"<u{itemsize}")
    planes = np.frombuffer(block, np.uint8).reshape(itemsize, -1).T
    signed = np.ascontiguousarray(planes).view(width).reshape(-1)
    difference = np.right_shift(signed, 1) ^ (np.zeros_like(signed) - (signed & np.ones((), width)))
    target: bytes = (np.frombuffer(base, width) + difference).tobytes()
    return target


def digest(reader: Reader, stored: Stored) -> str:
    """The hash of a tensor's bytes."""
    told = xxhash.xxh3_128()
    for first in range(0, stored.nbytes, BLOCK):
        told.update(base_bytes(reader, stored, first, min(BLOCK, stored.nbytes - first)))
    return told.hexdigest()


def _restored(frame: bytes, base: bytes, itemsize: int, count: int) -> memoryview:
    import zstandard

    try:
        if zstandard.frame_content_size(frame) not in (count, -1):  # the library would allocate whatever is stated
            raise ConversionError(f"{DATA}: a block states another size than {count} bytes. The file is damaged; get it again.")
        block = zstandard.ZstdDecompressor().decompress(frame, max_output_size=count)
    except zstandard.ZstdError as error:
        raise ConversionError(f"{DATA}: a block cannot be decompressed ({error}). The file is damaged; get it again.") from None
    if len(block) != count:
        raise ConversionError(f"{DATA}: a block has {len(block)} bytes instead of {count}. The file is damaged; get it again.")
    return memoryview(unfolded(block, base, itemsize))


def _check_base(base: Checkpoint, wanted: Mapping[str, Mapping[str, Any]]) -> None:
    other = [
        name
        for name, told in wanted.items()
        if name not in base.tensors
        or (base.tensors[name].dtype, list(base.tensors[name].shape)) != (told["dtype"], told["shape"])
    ]
    if not other:
        with open_sources(base) as sources:
            for name, told in wanted.items():
                contiguous(base.tensors[name])
                if digest(sources, base.tensors[name]) != told["xxh3_128"]:
                    other.append(name)
                    break
    if other:
        raise ConversionError(
            f"{show(str(base.path))} is not the base that this delta was made from: {listed(map(show, other), 3)} "
            f"{'is' if len(other) == 1 else 'are'} missing or different. Get the very checkpoint that the delta's "
            "author used."
        )


def _file(entry: Mapping[str, Any], base: Checkpoint, data: str) -> OutputFile:
    """A file of the target, with the header that it had."""
    outputs, begin = [], 0
    for tensor in entry["tensors"]:
        itemsize, shape = ITEMSIZE[tensor["dtype"]], tuple(tensor["shape"])
        numel = 1
        for n in shape:
            numel *= n
        under = base.tensors[tensor["base"]] if tensor["base"] is not None else None
        frames = tuple((offset, length) for offset, length in tensor["frames"])
        patch = Patch(under, data, itemsize, numel * itemsize, frames, tensor["xxh3_128"])
        outputs.append(Output(tensor["name"], tensor["dtype"], shape, numel, begin, (), bits=patch))
        begin += numel * itemsize
    return OutputFile(entry["name"], bytes.fromhex(entry["header"]), tuple(outputs))


def contiguous(stored: Stored) -> None:
    if not stored.contiguous:
        raise ConversionError(
            f"{show(stored.name)} is stored with its axes transposed, so its bytes are not in order. `surgery "
            "to-safetensors` writes the checkpoint in order; use that."
        )
