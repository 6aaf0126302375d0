"""Executing a plan: every byte goes through here once, in file order, hashed on the way.

Mutable state lives in this module and in the staging directory, and nowhere else. Each shard is written under a name of its
own, synced, read back, renamed and journalled; documents follow; a check of the whole may refuse; then one rename.
"""

from __future__ import annotations

import errno
import importlib
import math
import os
import shutil
import sys
import threading
import zlib
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import xxhash

from convert.checkpoint import Sources
from convert.checkpoint.files import DOCUMENT, open_all
from convert.interrupt import Interrupts, Stopped
from convert.manifest import NAME as MANIFEST
from convert.manifest import manifest
from convert.paths import check_output, failed_of
from convert.planning import Output, OutputFile, Plan
from convert.proof import shard_keys
from convert.staging import Staging, hash_file, not_stored, staging
from convert.stream import Scratch, Source, ahead, stream
from convert.system import keep_freed_memory, start_writeback
from convert.tokenizing import TokenizerReport, write_tokenizer
from surgery.dtypes import ITEMSIZE
from surgery.errors import ConversionError, OutputBusy, StorageFailed, VerificationFailed, show

ReadBack = Literal["cache", "disk", "off"]

_KEPT = 32 << 20  # bytes: some blocks of float32
_WRITEBACK = 8 << 20  # bytes after which the disk is told to begin, so that fsync finds little left to do


class Progress(Protocol):
    """Told of every buffer written: how many bytes, of which tensor."""

    def __call__(self, nbytes: int, tensor: str) -> None: ...


class Verdict(Protocol):
    """What a check of the finished output concludes."""

    @property
    def passed(self) -> bool: ...
    def lines(self) -> list[str]: ...
    def record(self) -> dict[str, Any]: ...


@dataclass
class Written:
    """What a run did: where the output is, what was kept from an earlier run, what storing computed values cost."""

    out: Path
    resumed: tuple[str, ...] = ()
    rounding_largest: float = 0.0  # absolute
    rounding_relative: float = 0.0  # root mean squares
    beyond: int = 0  # values that exceeded the type and were stored as its largest
    vanished: int = 0  # values that the type stores as zero
    verdict: Verdict | None = None
    tokenizer: TokenizerReport | None = None
    hashes: dict[str, str] = field(default_factory=dict)
    left: tuple[str, ...] = ()  # what others put where the output grew; it is still there

    def to_json(self) -> dict[str, Any]:
        """The result as JSON values."""
        return {
            "out": str(self.out),
            "resumed": list(self.resumed),
            "rounding": {
                "largest": self.rounding_largest,
                "relative": self.rounding_relative,
                "overflow": self.beyond,
                "underflow": self.vanished,
            },
            "tokenizer": self.tokenizer.record() if self.tokenizer is not None else None,
            "verification": self.verdict.record() if self.verdict is not None else "not verified",
            "xxh3_128": self.hashes,
        }


def write(
    plan: Plan,
    out: Path | str,
    *,
    verify: Callable[[Path], Verdict] | None = None,
    progress: Progress | None = None,
    workers: int = 2,
    read_back: ReadBack = "cache",
) -> Written:
    """Carry out ``plan`` under the name ``out``, which is absent until it is complete and ``verify`` has passed it."""
    final = check_place(plan, out)
    with (
        open_all(plan.checkpoint, _decisive(plan)) as sources,
        Interrupts() as interrupts,
        staging(final, shard_keys(plan), interrupts.check) as stage,
    ):
        run = _Run(plan, sources, stage, interrupts, progress or (lambda nbytes, tensor: None), read_back)
        try:
            _check_space(plan, stage)
            resumed = tuple(stage.proven)
            tokenizer, made = _write_tokenizer(plan, stage)
            run.shards(workers)
            sources.unchanged()
            documents = {**plan.documents, **_copies(plan, sources)}
            for name, content in documents.items():
                stage.write(name, content)
            names = (*(file.name for file in plan.files), *made, *documents)
            verdict = verify(stage.path) if verify is not None else None
            interrupts.check()
            if verdict is not None and not verdict.passed:
                if (busy := stage.lost(final)) is not None:
                    raise busy
                kept = stage.set_aside(failed_of(final), names)
                raise VerificationFailed("\n".join([*verdict.lines(), f"The output was kept as {show(str(kept))}."]))
            told = manifest(
                plan,
                stage.proven,
                verdict.record() if verdict else None,
                tokenizer.record() if tokenizer else None,
                (*made, *plan.documents),
            )
            stage.write(MANIFEST, told)
            sources.unchanged()
            stage.publish(final, (*names, MANIFEST))
        except (OutputBusy, VerificationFailed):
            raise
        except Exception as error:
            if (busy := stage.lost(final)) is not None:
                raise busy from error
            if isinstance(error, OSError):
                raise _storage(error, plan, stage) from error
            raise
        return Written(
            final, resumed, *run.rounding(), verdict=verdict, tokenizer=tokenizer, hashes=dict(stage.proven), left=stage.left
        )


def check_place(plan: Plan, out: Path | str) -> Path:
    """``out`` as an absolute path at which a plan's output may appear: apart from everything that the plan reads."""
    final = check_output(Path(out), plan.checkpoint.path)
    for addition in plan.checkpoint.additions:
        check_output(final, addition.path)
    return final


@dataclass
class _Run:
    """One execution: what its workers share."""

    plan: Plan
    sources: Sources
    stage: Staging
    interrupts: Interrupts
    progress: Progress
    read_back: ReadBack
    _roundings: list[Any] = field(default_factory=list)

    def shards(self, workers: int) -> None:
        """Every file that is not proven already, in parallel over files."""
        todo = []
        for file in self.plan.files:
            if file.name in self.stage.proven:
                self.progress(file.payload, file.name)
            else:
                todo.append(file)
        if not todo:
            return
        todo.sort(key=lambda file: any(output.computed for output in file.outputs))
        count = max(1, min(workers, len(todo), os.cpu_count() or 1))
        with ThreadPoolExecutor(count) as pool, loading_torch(self.plan.computes):
            futures: list[Future[tuple[OutputFile, str]]] = [pool.submit(self._shard, file) for file in todo]
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            if any(future.exception() is not None for future in done):
                self.interrupts.stop()
                pool.shutdown(wait=True, cancel_futures=True)
        errors = [e for future in futures if not future.cancelled() and (e := future.exception()) is not None]
        for error in sorted(errors, key=lambda e: isinstance(e, Stopped)):
            raise error

    def rounding(self) -> tuple[float, float, int, int]:
        """What rounding cost, in the order of ``Written``: the largest error, all errors relative to all values, counts."""
        size = sum(r.size for r in self._roundings)
        largest = max((r.largest for r in self._roundings), default=0.0)
        relative = math.sqrt(sum(r.error for r in self._roundings) / size) if size else 0.0
        return largest, relative, sum(r.beyond for r in self._roundings), sum(r.vanished for r in self._roundings)

    def _shard(self, file: OutputFile) -> tuple[OutputFile, str]:
        temporary = self.stage.temporary(file.name)
        try:
            return file, self._shard_at(file, temporary)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise

    def _shard_at(self, file: OutputFile, temporary: Path) -> str:
        told = xxhash.xxh3_128()
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            _allocate(descriptor, file.size)
            at = begun = 0
            with closing(self._content(file)) as content:
                for buffer, tensor in content:
                    self.interrupts.check()
                    told.update(buffer)
                    at = _put(descriptor, buffer, at)
                    if at - begun >= _WRITEBACK:
                        start_writeback(descriptor, begun, at - begun)
                        begun = at
                    if tensor:
                        self.progress(len(buffer), tensor)
            assert at == file.size, (file.name, at, file.size)
            os.fsync(descriptor)
            if self.read_back == "disk":
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
        digest = told.hexdigest()
        if self.read_back != "off" and hash_file(temporary, self.interrupts.check) != digest:
            raise not_stored(file.name)
        self.stage.record(temporary, file.name, file.size, digest)
        return digest

    def _content(self, file: OutputFile) -> Generator[tuple[memoryview, str]]:
        """The bytes of a file in order, each buffer with the tensor it belongs to; valid until the next is asked for.

        Arithmetic and the file system both leave the interpreter alone, so what is computed is computed while the block
        before it is written: one output file keeps two cores busy. Copying alone gains nothing from that.
        """
        if any(output.computed for output in file.outputs):
            return ahead(self._buffers(file, Scratch(windows=2)))
        return self._buffers(file, Scratch())

    def _buffers(self, file: OutputFile, scratch: Scratch) -> Generator[tuple[memoryview, str]]:
        yield memoryview(file.header), ""
        crcs: list[int] = []
        for output in file.outputs:
            crc = 0
            for buffer in self._stream(output, scratch):
                if file.frame is not None:
                    crc = zlib.crc32(buffer, crc)
                yield buffer, output.name
            if file.frame is not None:
                crcs.append(crc)
                yield memoryview(file.frame.after(crcs)), ""

    def _stream(self, output: Output, scratch: Scratch) -> Any:
        source = Source(self.plan.checkpoint.tensors, self.sources.read_into)
        if output.bits is not None:
            return output.bits.stream(source)
        if not output.computed:
            return stream(output.boxes, output.numel, ITEMSIZE[output.dtype], source, scratch)
        import torch

        from convert.evaluate import Rounding, stream_values

        torch.set_num_threads(1)  # per thread: the workers are the parallelism, and one thread adds in one order
        rounding = Rounding(tensor=output.name)
        self._roundings.append(rounding)
        return stream_values(output.parts, output.shape, output.dtype, source, scratch, rounding)


@contextmanager
def loading_torch(wanted: bool) -> Generator[None]:
    """Import torch (a second or more) beside the copying, which comes first; whoever computes then finds it loaded.

    The import holds the interpreter for as long as it may; a short switch interval lets the copying threads in between.
    """
    if not wanted:
        yield
        return
    keep_freed_memory(_KEPT)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    threading.Thread(target=importlib.import_module, args=("convert.evaluate",), daemon=True).start()
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


def _decisive(plan: Plan) -> tuple[str, ...]:
    """The documents on which the output may depend: a card is none unless it is copied."""
    return tuple(name for name in plan.checkpoint.documents if name in plan.copies or name != "README.md")


def _copies(plan: Plan, sources: Sources) -> Mapping[str, bytes]:
    """The documents carried over, whole: they are small, and their sizes were limited when they were found."""
    return {name: sources.content(f"{DOCUMENT}{name}") for name in plan.copies}


def _write_tokenizer(plan: Plan, stage: Staging) -> tuple[TokenizerReport | None, tuple[str, ...]]:
    """Before the first shard: a tokenizer that cannot be converted is refused while there is nothing to throw away.

    The report, and the names of its files.
    """
    if plan.tokenizer is None:
        return None, ()
    folder = stage.temporary("tokenizer")
    folder.mkdir()
    try:
        report = write_tokenizer(plan.checkpoint, plan.tokenizer, folder, config=plan.documents.get("config.json"))
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, ConversionError):
            stage.give_up()
        raise
    return report, stage.adopt(folder)


def _put(descriptor: int, buffer: memoryview, at: int) -> int:
    """Write a whole buffer at an offset; returns the offset after it."""
    while len(buffer):
        count = os.pwrite(descriptor, buffer, at)
        at, buffer = at + count, buffer[count:]
    return at


def _allocate(descriptor: int, size: int) -> None:
    """Reserve the space at once: no fragmentation, and a full disk is noticed before the work."""
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise


def _check_space(plan: Plan, stage: Staging) -> None:
    done = sum(f.size for f in plan.files if f.name in stage.proven)
    needed = int((plan.nbytes - done) * 1.01)
    disk = os.statvfs(stage.path)
    free = disk.f_bavail * disk.f_frsize
    if free < needed:
        raise StorageFailed(
            f"no space: {needed:,} bytes are needed beside {show(str(stage.path))} and {free:,} are free. Free some, or choose "
            "an OUT on another disk; shards that are finished are kept."
        )


def _storage(error: OSError, plan: Plan, stage: Staging) -> StorageFailed:
    place = show(str(error.filename)) if error.filename else show(str(stage.path))
    finished = f"{len(stage.proven)} of {len(plan.files)} shards are finished and kept"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return StorageFailed(f"no space: writing {place} failed ({error.strerror}). {finished}; free space and run again.")
    return StorageFailed(f"{place}: {error.strerror}. {finished}; mend the cause and run the same command again.")
