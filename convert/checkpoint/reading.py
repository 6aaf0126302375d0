"""The bytes of one tensor or of some of its rows, in row-major order."""

from __future__ import annotations

from convert.checkpoint.files import Sources
from convert.checkpoint.stored import Stored
from surgery.dtypes import ITEMSIZE

_BLOCK = 16 << 20


def read_tensor(sources: Sources, stored: Stored) -> bytes:
    """All bytes of a tensor, row-major, whatever its strides."""
    return bytes(_read(sources, stored, stored.shape, stored.offset))


def read_rows(sources: Sources, stored: Stored, start: int, stop: int) -> bytearray:
    """The bytes of the rows ``start`` to ``stop`` of the first axis, row-major.

    For a tensor whose rows are not contiguous (a transposed view in a torch file), the span of the file between the
    first and the last element is read, which can be as large as the tensor's storage.
    """
    if not stored.shape or not 0 <= start <= stop <= stored.shape[0]:
        raise IndexError(f"rows {start}:{stop} of {stored.name} of shape {stored.shape}")
    step = stored.strides[0] * ITEMSIZE[stored.dtype]
    return _read(sources, stored, (stop - start, *stored.shape[1:]), stored.offset + start * step)


def _read(sources: Sources, stored: Stored, shape: tuple[int, ...], offset: int) -> bytearray:
    item = ITEMSIZE[stored.dtype]
    window = Stored(stored.name, stored.file, stored.dtype, shape, stored.strides, offset)
    span = sum((size - 1) * stride for size, stride in zip(shape, stored.strides, strict=True)) * item + item
    buffer = bytearray(window.nbytes if window.contiguous else span)
    sources.read_into(stored.file, offset, memoryview(buffer))
    if window.contiguous:
        return buffer
    import numpy as np

    elements = np.frombuffer(buffer, f"V{item}")
    steps = [stride * item for stride in stored.strides]
    return bytearray(np.lib.stride_tricks.as_strided(elements, shape, steps).tobytes())


def same_values(sources: Sources, one: Stored, other: Stored) -> bool:
    """Whether two stored tensors are the same bit for bit, compared block by block."""
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    if not one.shape or not one.nbytes:
        return read_tensor(sources, one) == read_tensor(sources, other)
    rows = max(1, _BLOCK // (one.nbytes // one.shape[0]))
    return all(
        read_rows(sources, one, start, min(start + rows, one.shape[0]))
        == read_rows(sources, other, start, min(start + rows, one.shape[0]))
        for start in range(0, one.shape[0], rows)
    )
