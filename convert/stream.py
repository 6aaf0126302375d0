"""Boxes to bytes: one output tensor as a stream of buffers in file order, without torch and (transposes aside) numpy.

The writer wants an output's bytes from first to last, because it hashes on the way. So the target is cut into windows; the
boxes are clipped to each window and gathered there: long runs are read straight into place, short ones are cut out of one
read of everything between them, and runs that are short on the target's side only (transposes) go through numpy.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from surgery.movement import Box, clip

WINDOW = 1 << 20  # bytes: stays in cache, which larger windows do not
TRANSPOSE_WINDOW = 8 << 20  # bytes: a transposed window reads a piece of every source row, which must not be tiny
LONG_RUN = 16 << 10  # bytes worth a read of their own
SHORT_RUN = 128  # bytes below which slices in Python cost more than numpy
DENSE = 4  # how much more than its payload a covering read may fetch


T = TypeVar("T")


class Located(Protocol):
    """Where a source tensor lies: enough to turn element addresses into bytes of a file."""

    @property
    def file(self) -> str: ...
    @property
    def offset(self) -> int: ...


ReadInto = Callable[[str, int, memoryview], None]


@dataclass(frozen=True)
class Source:
    """Reads elements of named tensors: ``tensors`` says where they lie, ``read_into(file, offset, buffer)`` fetches."""

    tensors: Mapping[str, Located]
    read_into: ReadInto

    def fetch(self, name: str, element: int, itemsize: int, buffer: memoryview) -> None:
        """Fill ``buffer`` with what lies from an element on."""
        tensor = self.tensors[name]
        self.read_into(tensor.file, tensor.offset + element * itemsize, buffer)


def stream(boxes: tuple[Box, ...], numel: int, itemsize: int, source: Source, scratch: Scratch) -> Iterator[memoryview]:
    """The bytes of a tensor of ``numel`` elements, in order; each buffer is one of the windows of ``scratch``."""
    short = any(b.run * itemsize < SHORT_RUN and not b.contiguous for b in boxes)
    step = max(1, (TRANSPOSE_WINDOW if short else WINDOW) // itemsize)
    first = 0
    for low in range(0, numel, step):
        high = min(numel, low + step)
        window = scratch.window((high - low) * itemsize)
        while first < len(boxes) and boxes[first].target + boxes[first].extent() <= low:
            first += 1
        for whole in itertools.islice(boxes, first, None):
            if whole.target >= high:
                break
            for part in clip(whole, low, high):
                gather(part, low, itemsize, source, window, scratch)
        yield window


class Scratch:
    """The buffers that one worker uses again and again: nothing else is allocated per window.

    ``windows`` take turns, so as many windows are valid at a time. ``folded`` keeps what a pass over a whole tensor
    found, by the identity of the value that asked for it.
    """

    def __init__(self, windows: int = 1) -> None:
        self.folded: dict[int, Any] = {}
        self._windows = deque([bytearray()] * windows)
        self._read = bytearray()

    def window(self, nbytes: int) -> memoryview:
        """The oldest window, of that size; what was in it is lost."""
        oldest = self._windows.popleft()
        self._windows.append(oldest if len(oldest) >= nbytes else bytearray(nbytes))
        return memoryview(self._windows[-1])[:nbytes]

    def read(self, nbytes: int) -> memoryview:
        if len(self._read) < nbytes:
            self._read = bytearray(nbytes)
        return memoryview(self._read)[:nbytes]


def ahead(items: Iterator[T]) -> Generator[T]:
    """The same items, each made in another thread while the one before it is in use: two of them are alive at a time."""
    end = object()
    with ThreadPoolExecutor(1, "ahead") as pool:
        coming = pool.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = pool.submit(next, items, end)
            yield item  # type: ignore[misc]  # not the end


def gather(part: Box, base: int, itemsize: int, source: Source, window: memoryview, scratch: Scratch) -> None:
    """Copy one box into the window whose first element has target address ``base``."""
    run = part.run * itemsize
    if part.source is None:
        _fill_zeros(part, base, itemsize, window)
    elif part.contiguous or run >= LONG_RUN:
        for from_, to in _runs(part):
            at = (to - base) * itemsize
            source.fetch(part.source, from_, itemsize, window[at : at + run])
    elif part.source_extent() <= DENSE * part.numel and run >= SHORT_RUN:
        _cut_out(part, base, itemsize, source, window, scratch)
    else:
        _transposed(part, base, itemsize, source, window)


def _runs(part: Box) -> Iterator[tuple[int, int]]:
    """(source, target) element addresses of each contiguous run."""
    outer = part.dims[:-1] if part.run > 1 else part.dims
    for index in itertools.product(*(range(n) for n, _, _ in outer)):
        from_ = part.start + sum(i * s for i, (_, s, _) in zip(index, outer, strict=True))
        yield from_, part.target + sum(i * t for i, (_, _, t) in zip(index, outer, strict=True))


def _fill_zeros(part: Box, base: int, itemsize: int, window: memoryview) -> None:
    # a run of zeros is as long as the target is dense: sources of zeros have stride 0
    dense = 1
    for n, _, t in reversed(part.dims):
        if t != dense:
            break
        dense *= n
    outer = tuple(d for d in part.dims if d[2] >= dense)
    for index in itertools.product(*(range(n) for n, _, _ in outer)):
        at = (part.target - base + sum(i * t for i, (_, _, t) in zip(index, outer, strict=True))) * itemsize
        window[at : at + dense * itemsize] = bytes(dense * itemsize)


def _cut_out(part: Box, base: int, itemsize: int, source: Source, window: memoryview, scratch: Scratch) -> None:
    assert part.source is not None
    covering = scratch.read(part.source_extent() * itemsize)
    source.fetch(part.source, part.start, itemsize, covering)
    run = part.run * itemsize
    for from_, to in _runs(part):
        at, have = (to - base) * itemsize, (from_ - part.start) * itemsize
        window[at : at + run] = covering[have : have + run]


def _transposed(part: Box, base: int, itemsize: int, source: Source, window: memoryview) -> None:
    """A box whose runs are short: read what is contiguous in the source, scatter it with numpy.

    The dimensions are split into those that lie densely in the source (one read each) and the rest (a loop of reads).
    """
    import numpy as np

    assert part.source is not None
    dense, reach = [], 1
    for dim in sorted(part.dims, key=lambda d: d[1]):
        if dim[1] <= 0 or (dim[0] - 1) * dim[1] + reach > DENSE * reach * dim[0]:
            break
        dense.append(dim)
        reach += (dim[0] - 1) * dim[1]
    loop = [d for d in part.dims if d not in dense]
    out = np.frombuffer(window, dtype=f"V{itemsize}")
    piece = np.empty(reach, dtype=f"V{itemsize}")
    for index in itertools.product(*(range(n) for n, _, _ in loop)):
        from_ = part.start + sum(i * s for i, (_, s, _) in zip(index, loop, strict=True))
        to = part.target - base + sum(i * t for i, (_, _, t) in zip(index, loop, strict=True))
        source.fetch(part.source, from_, itemsize, memoryview(piece.view(np.uint8).data))
        shape = [n for n, _, _ in dense]
        have = np.lib.stride_tricks.as_strided(piece, shape, [s * itemsize for _, s, _ in dense])
        place = np.lib.stride_tricks.as_strided(out[to:], shape, [t * itemsize for _, _, t in dense])
        place[...] = have
