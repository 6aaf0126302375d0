"""Making a lossless delta: one pass over base and target, block by block."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from convert.checkpoint import Checkpoint, SourceFile, Sources, Stored, fingerprint, open_sources
from convert.checkpoint.files import DOCUMENT, READ, open_all, opened
from convert.edits.lossless import base_bytes, contiguous, digest, folded
from convert.edits.lossless_format import BLOCK, DATA, INDEX, NAME, SCHEMA
from convert.interrupt import Interrupts
from convert.paths import check_output
from convert.planning import OutputFile, document, index
from convert.prepare import plan_repack
from convert.staging import Staging, hash_file, staging
from surgery.dtypes import ITEMSIZE
from surgery.errors import ConversionError, OutputBusy, StorageFailed, show

STRETCH = 1 << 30  # bytes of the target after which what was written is proven, for a run that goes on from there
_LEVEL = 3  # zstandard's own default: higher ones cost much and gain little on what is left of weights


@dataclass(frozen=True)
class Made:
    """A finished delta: where it is, and how large beside the target."""

    out: Path
    tensors: int
    changed: int  # tensors with a base under them whose bits differ
    nbytes: int
    target: int  # bytes of the target's tensors

    def text(self) -> str:
        share = f"{self.nbytes / self.target:.0%}" if self.target else "0%"
        return (
            f"{self.tensors} tensors, {self.changed} of them changed: {self.nbytes:,} bytes, {share} of the target\n"
            f"written: {self.out}"
        )

    def to_json(self) -> dict[str, Any]:
        return {**self.__dict__, "out": str(self.out)}


def make_lossless(base: Checkpoint, target: Checkpoint, out: str | Path) -> Made:
    """The directory from which ``base`` gives ``target`` bit for bit; an interrupted run goes on from what is proven."""
    import zstandard

    final = check_output(Path(out), target.path)
    check_output(final, base.path)
    told = [SCHEMA, _LEVEL, BLOCK, zstandard.__version__, fingerprint(base), fingerprint(target)]
    key = hashlib.sha256(json.dumps(told).encode()).hexdigest()
    with open_sources(base) as under, open_all(target, target.documents) as over:
        files, documents = _layout(target, over)  # which may refuse it, before there is anything to leave behind
        with Interrupts() as interrupts, staging(final, {DATA: key}, interrupts.check) as stage:
            try:
                writer = _Writer(base, target, under, over, interrupts)
                entries = writer.all(files, stage)
                for sources in (under, over):
                    sources.unchanged()
                described = {
                    "weightsmith_delta": SCHEMA,
                    "base": writer.counted_on(),
                    "files": entries,
                    "documents": sorted(documents),
                }
                for name, content in {**documents, NAME: document(described)}.items():
                    stage.write(name, content)
                for sources in (under, over):
                    sources.unchanged()
                stage.publish(final, (DATA, *documents, NAME))
            except OutputBusy:
                raise
            except Exception as error:
                if (busy := stage.lost(final)) is not None:
                    raise busy from error
                raise
    size = sum(entry.stat().st_size for entry in final.iterdir())
    return Made(final, len(target.tensors), writer.changed, size, sum(t.nbytes for t in target.tensors.values()))


class _Writer:
    """One run: appends frames and remembers what it counted on."""

    def __init__(self, base: Checkpoint, target: Checkpoint, under: Sources, over: Sources, interrupts: Interrupts) -> None:
        import zstandard

        self._base, self._target, self._under, self._over = base, target, under, over
        self._interrupts = interrupts
        self._compress = zstandard.ZstdCompressor(level=_LEVEL).compress
        self._used: dict[str, Stored] = {}
        self._written = xxhash.xxh3_128()  # of the stretch at hand
        self.changed = 0

    def all(self, files: Sequence[OutputFile], stage: Staging) -> list[dict[str, Any]]:
        """Append the frames of all tensors, in order, and describe the files; proven stretches are not written again."""
        earlier = stage.grown.get(DATA)
        known = {tensor["name"]: tensor for stretch in (earlier.told if earlier is not None else ()) for tensor in stretch}
        temporary = stage.grow(DATA)
        with open(temporary, "r+b") as data:
            begin = data.seek(0, os.SEEK_END)
            stretch: list[dict[str, Any]] = []
            left = sum(len(file.outputs) for file in files)
            tensors: dict[str, dict[str, Any]] = {}
            read = 0
            for output in (output for file in files for output in file.outputs):
                left -= 1
                if (told := known.get(output.name)) is None:
                    told = self._tensor(self._target.tensors[output.name], data)
                    stretch.append(told)
                    read += output.nbytes
                self._count(told)
                tensors[output.name] = {name: value for name, value in told.items() if name != "differs"}
                if stretch and (read >= STRETCH or not left):
                    begin, stretch, read = self._proved(stage, temporary, data, begin, stretch), [], 0
            size = data.tell()
        stage.record(temporary, DATA, size, hash_file(temporary, self._interrupts.check))
        return [
            {"name": file.name, "header": file.header.hex(), "tensors": [tensors[output.name] for output in file.outputs]}
            for file in files
        ]

    def counted_on(self) -> dict[str, Any]:
        """The base's tensors, with their hashes."""
        return {
            name: {"dtype": s.dtype, "shape": list(s.shape), "xxh3_128": digest(self._under, s)}
            for name, s in sorted(self._used.items())
        }

    def _proved(self, stage: Staging, path: Path, data: Any, begin: int, told: list[dict[str, Any]]) -> int:
        """A stretch on disk, read back and noted; returns where it ends."""
        data.flush()
        os.fsync(data.fileno())
        end = int(data.tell())
        if end > begin:
            if hash_file(path, self._interrupts.check, begin, end) != self._written.hexdigest():
                raise StorageFailed(
                    f"{DATA}: what was read back is not what was written. The disk, the memory or the network share is failing; "
                    "nothing was published."
                )
            stage.mark(DATA, begin, end, self._written.hexdigest(), told)
        self._written.reset()
        return end

    def _count(self, told: Mapping[str, Any]) -> None:
        if told["base"] is not None:
            self._used[told["name"]] = self._base.tensors[told["base"]]
            self.changed += told["differs"]

    def _tensor(self, stored: Stored, data: Any) -> dict[str, Any]:
        contiguous(stored)
        base = self._base.tensors.get(stored.name)
        if base is not None and (base.dtype, base.shape[1:]) == (stored.dtype, stored.shape[1:]):
            contiguous(base)
        else:
            base = None
        told, frames, differs = xxhash.xxh3_128(), [], False
        for first in range(0, stored.nbytes, BLOCK):
            self._interrupts.check()
            count = min(BLOCK, stored.nbytes - first)
            block = base_bytes(self._over, stored, first, count)
            below = base_bytes(self._under, base, first, count)
            differs |= block != below
            told.update(block)
            frame = self._compress(folded(block, below, ITEMSIZE[stored.dtype]))
            frames.append([data.tell(), len(frame)])
            data.write(frame)
            self._written.update(frame)
        return {
            "name": stored.name,
            "dtype": stored.dtype,
            "shape": list(stored.shape),
            "base": stored.name if base is not None else None,
            "xxh3_128": told.hexdigest(),
            "frames": frames,
            "differs": differs,
        }


def _layout(target: Checkpoint, sources: Sources) -> tuple[tuple[OutputFile, ...], Mapping[str, bytes]]:
    """The files of the target as they will be again, and its documents.

    Safetensors files get their own headers back, so they come out byte for byte; torch files become safetensors.
    """
    if target.config_name != "config.json":
        raise ConversionError(
            f"{show(str(target.path))} is described by {show(target.config_name)}, and a lossless delta is made of layouts "
            "with a config.json. Convert both checkpoints first, or make an additive delta (leave out --lossless)."
        )
    documents = {name: sources.content(f"{DOCUMENT}{name}") for name in target.documents}
    documents[target.config_name] = sources.content(f"{READ}{target.config_name}")
    if all(name.endswith(".safetensors") for name in target.files):
        planned = tuple(_as_it_is(target, file) for file in target.files.values())
        if len(planned) > 1 and any(file.name == INDEX for file in target.read):
            documents[INDEX] = sources.content(f"{READ}{INDEX}")
        return planned, documents
    planned = plan_repack(target).files
    table = index(planned)
    return planned, {**documents, **({INDEX: table} if table is not None else {})}


def _as_it_is(target: Checkpoint, file: SourceFile) -> OutputFile:
    from convert.planning import Output

    held = sorted((s for s in target.tensors.values() if s.file == file.name), key=lambda s: (s.offset, s.nbytes))
    with opened(file) as source:
        header = source.read(0, 8 + int.from_bytes(source.read(0, 8), "little"))
    begin = len(header)
    outputs = tuple(Output(s.name, s.dtype, s.shape, s.numel, s.offset - begin, ()) for s in held)
    return OutputFile(file.name, header, outputs)

