"""Tensors that lie in pieces: what a model-parallel checkpoint keeps of one tensor in each of its files.

Every file holds a slab, a range of one file axis, or all of it where the tensor is not cut. A cut may fall anywhere,
also between the heads of a group: what of a role lies in a slab is then several rectangles. Reading and writing share
``cut``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from mappings.family import Family
from mappings.slots import Slot, without_sets
from mappings.wrapping import unwrapped
from surgery.errors import ConversionError, show
from surgery.layout import Leaf, row_major
from surgery.movement import Piece, Span, spans


class Header(Protocol):
    """What must be known of a stored tensor: nothing of its bytes."""

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def strides(self) -> tuple[int, ...]: ...


@dataclass(frozen=True, slots=True)
class Slabs:
    """A tensor as the rows know it: its name in their words, its whole shape, and the stored tensors that make it up.

    With one stored tensor, or with copies of it, ``axis`` is None. Otherwise they follow each other along ``axis``.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    stored: tuple[Header, ...]
    axis: int | None = None

    @property
    def copies(self) -> tuple[Header, ...]:
        """Stored tensors that must equal the first, since only that is read."""
        return self.stored[1:] if self.axis is None else ()


def assembled(family: Family, headers: Mapping[str, Header], *, wrapped: bool = False) -> dict[str, Slabs]:
    """A checkpoint's tensors under the names that the family's rows use, model-parallel slabs put together.

    ``wrapped`` reads names through the segments that training programs put into them, which no library does.
    """
    found: dict[str, list[Header]] = {}
    for name, header in headers.items():
        found.setdefault(as_in_rows(family, unwrapped(name) if wrapped else name), []).append(header)
    files = max(map(len, found.values()), default=1)
    if files == 1 or family.stored != "consolidated":
        return {name: _slabs(name, parts, None) for name, parts in found.items()}
    split = {_numberless(without_sets(row.name)): row.split for row in family.rows}
    for name, parts in found.items():
        if len(parts) != files and _numberless(name) in split:
            raise ConversionError(f"{show(name)} is in {len(parts)} of {files} files; each must hold it or part of it.")
    return {name: _slabs(name, parts, split.get(_numberless(name))) for name, parts in found.items()}


def names_all(family: Family, headers: Iterable[str]) -> bool:
    """Whether a checkpoint has, for every row that always applies, a tensor that is named so."""
    found = {_numberless(as_in_rows(family, unwrapped(name))) for name in headers}
    return all(_numberless(without_sets(row.name)) in found for row in family.rows if not row.when and not row.spare)


def as_in_rows(family: Family, name: str) -> str:
    """The name without the number of its file, and with the beginning that the rows have.

    A model that was saved by its base class lacks the segment that stands for it (``family.base``), and one that was
    loaded as its own base class has it twice: transformers reads both (5.23 modeling_utils.py, by base_model_prefix).
    """
    if family.stored == "consolidated":
        name = name.partition("/")[2]
    for stored, ours in family.prefixes:
        if name.startswith(stored):
            return ours + name.removeprefix(stored)
    spellings = (name, family.base + name, name.removeprefix(family.base)) if family.base else ()
    return next((one for one in spellings if _rooted(family, one)), name)


def _rooted(family: Family, name: str) -> bool:
    """Whether a name begins as one of the rows' names does."""
    first, _, rest = name.partition(".")
    return first in family.roots or f"{first}.{rest.partition('.')[0]}" in family.roots


def _numberless(name: str) -> str:
    """A name or a template with its indices gone, so that both compare."""
    return ".".join("" if part.isdigit() or part.startswith("{") else part for part in name.split("."))


def _slabs(name: str, stored: Sequence[Header], axis: int | None) -> Slabs:
    first = stored[0]
    if axis is None or axis >= len(first.shape):
        return Slabs(name, first.dtype, first.shape, tuple(stored))
    for other in stored[1:]:
        if (len(other.shape), other.dtype) != (len(first.shape), first.dtype) or any(
            a != b for i, (a, b) in enumerate(zip(other.shape, first.shape, strict=True)) if i != axis
        ):
            raise ConversionError(
                f"{show(other.name)} is {other.dtype} {other.shape}, which does not continue {show(first.name)}, "
                f"{first.dtype} {first.shape}, along axis {axis}. The files are of different checkpoints, or --variant "
                "should be another."
            )
    length = sum(part.shape[axis] for part in stored)
    return Slabs(name, first.dtype, (*first.shape[:axis], length, *first.shape[axis + 1 :]), tuple(stored), axis)


def pieces(slot: Slot, slabs: Slabs) -> tuple[tuple[Piece, ...], ...]:
    """Where each part of the slot lies in the stored tensors, in the order of ``slot.parts``."""
    if slabs.axis is None:
        header = slabs.stored[0]
        lying = slot.lying(header.strides) if _is_strided(header) else slot.parts
        return tuple((_piece(header, _origin(len(p.axes)), p.leaf),) for p in lying)
    found: list[list[Piece]] = [[] for _ in slot.parts]
    low = 0
    for header in slabs.stored:
        high = low + header.shape[slabs.axis]
        for at, region, leaf in cut(slot, slabs.axis, low, high, header.strides):
            found[at].append(_piece(header, tuple(first for first, _ in region), leaf))
        low = high
    return tuple(map(tuple, found))


def cut(
    slot: Slot, axis: int, low: int, high: int, strides: Sequence[int]
) -> Iterator[tuple[int, tuple[Span, ...], Leaf]]:
    """What of each part lies in the rows ``low`` to ``high`` of a file axis: (part, region of its role, where it lies).

    ``strides`` are those of the slab that holds these rows; the leaf is relative to the slab's element 0.
    """
    for at, (rows, own) in enumerate(zip(slot.by_axis[axis], slot.lying(strides), strict=True)):
        crossing = sorted((i for i, s in enumerate(rows.leaf.strides) if s), key=lambda i: -rows.leaf.strides[i])
        dims = tuple((rows.leaf.sizes[i], rows.leaf.strides[i]) for i in crossing)
        for firsts, counts in spans(rows.leaf.offset, dims, low, high):
            region = [(0, n) for n in rows.leaf.sizes]
            for i, first, count in zip(crossing, firsts, counts, strict=True):
                region[i] = (first, count)
            offset = own.leaf.offset - low * strides[axis]
            offset += sum(first * stride for (first, _), stride in zip(region, own.leaf.strides, strict=True))
            yield at, tuple(region), Leaf(offset, own.axes, tuple(n for _, n in region), own.leaf.strides)


@cache  # one object for all tensors of a rank
def _origin(rank: int) -> tuple[int, ...]:
    return (0,) * rank


def _piece(header: Header, start: tuple[int, ...], leaf: Leaf) -> Piece:
    return Piece(header.name, leaf.offset, start, leaf.sizes, leaf.strides)


def _is_strided(header: Header) -> bool:
    wanted = row_major(header.shape)
    return any(n != 1 and stride != want for n, stride, want in zip(header.shape, header.strides, wanted, strict=True))
