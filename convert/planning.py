"""The plan: a value that says everything a run will do, made from headers alone.

Every output tensor with its boxes or its computation, its place in its file, the exact size and header of every file, the
documents beside them, how exact the whole is, and what it will need. ``--dry-run`` prints it; the run executes it.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

from convert.checkpoint import Checkpoint
from convert.stream import Source
from convert.wish import Wish
from mappings.rows import Target
from surgery.dtypes import ITEMSIZE, ROUNDING
from surgery.layout import Leaf
from surgery.movement import Box, joined, place
from surgery.values import Exactness, Expr, Moved, exactness, operations, sources

#: raised whenever the bytes of an output may change for the same input and options
FORMAT = 1

SHARD_SIZE = 5_000_000_000  # bytes; the Hub library's default
_BASE = 34 << 20  # bytes: the interpreter with what the copying path imports
_TORCH = 280 << 20  # bytes: torch loaded, and the blocks of two workers, each one ahead of what it writes
_BITS = 120 << 20  # bytes: numpy, zstandard and the blocks of a lossless delta
_PER_TENSOR = 1500  # bytes


class Bits(Protocol):
    """What yields a tensor's bytes where they are neither moved nor computed: a lossless delta."""

    @property
    def reads(self) -> frozenset[str]: ...
    @property
    def files(self) -> frozenset[str]: ...  # that it reads besides tensors
    def stream(self, source: Source, /) -> Iterator[memoryview]: ...


@dataclass(frozen=True, slots=True)
class Output:
    """One output tensor. ``boxes`` when it is only moved, ``parts`` when something is computed, else ``bits``."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    numel: int
    begin: int  # byte offset in the file's payload
    boxes: tuple[Box, ...]
    parts: tuple[tuple[Expr, Leaf], ...] = ()
    bits: Bits | None = None

    @property
    def nbytes(self) -> int:
        return self.numel * ITEMSIZE[self.dtype]

    @property
    def computed(self) -> bool:
        return bool(self.parts)

    @property
    def reads(self) -> frozenset[str]:
        """The names of the source tensors."""
        if self.bits is not None:
            return self.bits.reads
        if self.parts:
            return frozenset().union(*(sources(expr) for expr, _ in self.parts))
        return frozenset(b.source for b in self.boxes if b.source is not None)

    @property
    def rounds(self) -> bool:
        """Whether storing its values may change them: not where they are only stored in a wider type."""
        return any(exactness(expr) != Exactness.BYTE for expr, _ in self.parts)

    @property
    def operations(self) -> tuple[str, ...]:
        """What is computed, in words."""
        return tuple(dict.fromkeys(word for expr, _ in self.parts for word in operations(expr)))


class Frame(Protocol):
    """What a format has between and behind its payloads: torch's zip files."""

    @property
    def size(self) -> int: ...  # of the whole file, in bytes
    def after(self, crcs: Sequence[int], /) -> bytes: ...  # what follows the last of the payloads with these CRC-32s


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A file to be written: everything but the tensors' bytes is known before any tensor exists."""

    name: str
    header: bytes  # all that precedes the first payload
    outputs: tuple[Output, ...]  # in file order
    frame: Frame | None = None  # None: payloads follow each other to the end, as in safetensors

    @property
    def payload(self) -> int:
        return self.outputs[-1].begin + self.outputs[-1].nbytes if self.outputs else 0

    @property
    def size(self) -> int:
        return len(self.header) + self.payload if self.frame is None else self.frame.size


@dataclass(frozen=True)
class TokenizerPlan:
    """Which documents of the source are its tokenizer, to be rewritten so that they need no remote code."""

    names: tuple[str, ...]
    family: str
    rows: int  # of the embedding: no id may reach it
    how: str = "convert"  # or canonical: SentencePiece scores made to differ
    beyond: bool = False  # ids may reach it, which is said
    target: str = ""  # the family that is written, for messages


@dataclass(frozen=True)
class Plan:
    """What a run does. Two plans with equal ``digest`` write equal bytes."""

    checkpoint: Checkpoint
    source: str  # label of the family read
    target: str  # label of the family written
    exactness: Exactness
    steps: tuple[str, ...]  # what is done to the model, in words
    files: tuple[OutputFile, ...]
    documents: Mapping[str, bytes]  # written as they are
    copies: tuple[str, ...]  # documents of the source carried over byte for byte
    notes: tuple[str, ...]  # what the user should know
    options: Mapping[str, Any]
    tokenizer: TokenizerPlan | None = None
    shared: tuple[Sequence[int], Sequence[int]] | None = None  # ids in source and output of the tokens to compare; None: all
    left: Mapping[str, str] = field(default_factory=dict)  # source tensors not taken, and why
    passes: tuple[str, ...] = ()  # names of those that made the model what the target expresses
    limited: bool = False  # whether one of them keeps the function only up to the context that the output states
    wish: Wish | None = None  # None: the bytes were moved without reading them as a model
    parameters: int | None = None  # of the model that is written; None: the bytes were moved without reading them as one
    card: Mapping[str, Any] = field(default_factory=dict)  # what the source's card says of its licence and its base models

    @cached_property
    def nbytes(self) -> int:
        """Everything that will be on disk, in bytes."""
        carried = sum(self.checkpoint.documents[name].size for name in self.copies)
        return sum(f.size for f in self.files) + sum(map(len, self.documents.values())) + carried

    @cached_property
    def tensors(self) -> int:
        return sum(len(f.outputs) for f in self.files)

    @cached_property
    def elements(self) -> int:
        """All that is written, with buffers, scales and second copies."""
        return sum(o.numel for f in self.files for o in f.outputs)

    @property
    def computes(self) -> bool:
        return any(o.computed for f in self.files for o in f.outputs)

    @cached_property
    def rounding(self) -> float:
        """The most by which storing a computed value changes it, relative to it (unless it is too small or large)."""
        return max((ROUNDING.get(o.dtype, 0.0) for f in self.files for o in f.outputs if o.rounds), default=0.0)

    @property
    def writer_peak(self) -> int:
        """An upper estimate of the writer's memory, in bytes."""
        patched = any(o.bits is not None for f in self.files for o in f.outputs)
        more = (_TORCH if self.computes else 0) + (_BITS if patched else 0)
        return _BASE + more + _PER_TENSOR * (self.tensors + len(self.checkpoint.tensors))

    @cached_property
    def digest(self) -> str:
        """Identifies what will be written: the options, every output's recipe and the format, but no time and no path."""
        told = hashlib.sha256(f"weightsmith {FORMAT}\n".encode())
        for file in self.files:
            told.update(file.name.encode() + b"\0" + file.header)
            for output in file.outputs:
                told.update(repr((output.name, output.boxes, output.parts, output.bits)).encode())
        for name, content in sorted(self.documents.items()):
            told.update(name.encode() + b"\0" + content)
        told.update(repr((self.copies, self.tokenizer, sorted(self.options.items()))).encode())
        return told.hexdigest()

    def summary(self) -> dict[str, Any]:
        """The plan as JSON values, in a stable form."""
        return {
            "from": self.source,
            "to": self.target,
            "exactness": str(self.exactness),
            "steps": list(self.steps),
            "notes": list(self.notes),
            "tensors": self.tensors,
            "computed": sum(o.computed for f in self.files for o in f.outputs),
            "rounding_at_most": self.rounding,
            "parameters": self.parameters,
            "elements": self.elements,
            "bytes": self.nbytes,
            "writer_peak_bytes": self.writer_peak,
            "files": [{"name": f.name, "bytes": f.size, "tensors": len(f.outputs)} for f in self.files],
            "documents": sorted([*self.documents, *self.copies]),
            "tokenizer": list(self.tokenizer.names) if self.tokenizer is not None else None,
            "left": dict(self.left),
            "digest": self.digest,
        }


def lay_out(targets: Iterable[Target], max_shard_size: int = SHARD_SIZE) -> tuple[OutputFile, ...]:
    """Files for the targets, in order, none above ``max_shard_size`` bytes of tensors unless one tensor alone is."""
    shards: list[list[Output]] = [[]]
    filled = 0
    for output in (output_of(target, 0) for target in targets):  # one by one: of a target nothing else is kept
        if shards[-1] and filled + output.nbytes > max_shard_size:
            shards.append([])
            filled = 0
        shards[-1].append(output)
        filled += output.nbytes
    count = len(shards)
    names = (
        ["model.safetensors"] if count == 1 else [f"model-{i:05d}-of-{count:05d}.safetensors" for i in range(1, count + 1)]
    )
    return tuple(_file(name, shard) for name, shard in zip(names, shards, strict=True))


def index(files: Sequence[OutputFile]) -> bytes | None:
    """The index that transformers reads beside several shards; None for a single file."""
    if len(files) == 1:
        return None
    outputs = [(o, f.name) for f in files for o in f.outputs]
    table = {
        "metadata": {
            "total_parameters": sum(o.numel for o, _ in outputs),
            "total_size": sum(o.nbytes for o, _ in outputs),
        },
        "weight_map": {o.name: name for o, name in sorted(outputs, key=lambda pair: pair[0].name)},
    }
    return document(table)


def document(value: Any) -> bytes:
    """JSON as we write it: sorted, indented, ending in a newline."""
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def weakest(files: Sequence[OutputFile], *, kept: bool = False) -> Exactness:
    """The class of the weakest tensor; with ``kept`` of what it has from before, rows of new tokens left out."""
    return max((exactness(e, kept=kept) for f in files for o in f.outputs for e, _ in o.parts), default=Exactness.BYTE)


def _file(name: str, outputs: list[Output]) -> OutputFile:
    """The file of these outputs, which are put where they lie in it."""
    # wide types first: every tensor then starts at a multiple of its element size
    outputs.sort(key=lambda output: -ITEMSIZE[output.dtype])
    begin = 0
    text = io.BytesIO()  # entry by entry: a table of all of them would take many times what its text does
    text.write(bytes(8) + b'{"__metadata__":{"format":"pt"}')  # the length is written when it is known
    for at, output in enumerate(outputs):
        end = begin + output.nbytes
        outputs[at] = replace(output, begin=begin)
        entry = {"dtype": output.dtype, "shape": output.shape, "data_offsets": (begin, end)}
        text.write(f",{json.dumps(output.name)}:{json.dumps(entry, separators=(',', ':'))}".encode())
        begin = end
    text.write(b"}")
    text.write(b" " * (-text.tell() % 8))
    length = text.tell() - 8
    text.seek(0)
    text.write(length.to_bytes(8, "little"))
    return OutputFile(name, text.getvalue(), tuple(outputs))


def output_of(target: Target, begin: int) -> Output:
    """The output that a target becomes, at this offset of its file's payload."""
    numel = 1
    for n in target.shape:
        numel *= n
    if all(isinstance(expr, Moved) and expr.dtype == target.dtype for expr, _ in target.parts):
        boxes = [b for expr, leaf in target.parts if isinstance(expr, Moved) for b in place(expr.pieces, expr.axes, leaf)]
        return Output(target.name, target.dtype, target.shape, numel, begin, joined(boxes))
    return Output(target.name, target.dtype, target.shape, numel, begin, (), target.parts)
