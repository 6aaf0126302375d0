"""Slabs: tensors that lie in several files, cut anywhere along an axis, and back."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappings.family import Family, Recognise, Row
from mappings.slabs import assembled, cut, pieces
from mappings.slots import slot
from surgery.errors import ConversionError
from surgery.layout import Leaf, row_major
from surgery.movement import Piece

LAYOUTS = (
    ("layer.{layer}.q", "(kv group pair two) hidden"),
    ("layer.{layer}.q", "hidden (kv group pair two)"),
    ("layer.{layer}.o", "hidden (kv group head)"),
    ("layer.{layer}.q layer.{layer}.k layer.{layer}.v", "((kv group two pair) + (kv two pair) + (kv head)) hidden"),
    ("layer.{layer}.q layer.{layer}.k layer.{layer}.v", "(kv ((group two pair) + (two pair) + head)) hidden"),
    ("layer.{layer}.q layer.{layer}.k layer.{layer}.v", "hidden (kv ((group two pair) + (two pair) + head))"),
)


@dataclass(frozen=True)
class Stored:
    name: str
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def family(row: Row) -> Family:
    return Family("f", "F", Recognise(), (), (row,), "F", "f", stored="consolidated")


def view(storage: np.ndarray, leaf: Leaf | Piece, shape: tuple[int, ...], strides: tuple[int, ...]) -> np.ndarray:
    return np.lib.stride_tricks.as_strided(storage[leaf.offset :], shape, [8 * s for s in strides])


@st.composite
def cases(draw):
    roles, layout = draw(st.sampled_from(LAYOUTS))
    pair = draw(st.integers(1, 3))
    sizes = {"kv": draw(st.integers(1, 3)), "group": draw(st.integers(1, 3)), "two": 2, "pair": pair, "head": 2 * pair}
    sizes["hidden"] = draw(st.integers(1, 5))
    axis = draw(st.integers(0, 1))
    placed = slot(Row("t.{layer}", roles, layout, split=axis), sizes)
    length = placed.shape[axis]
    cuts = sorted(draw(st.lists(st.integers(1, max(1, length - 1)), max_size=4, unique=True))) if length > 1 else []
    bounds = [0, *cuts, length]
    return placed, axis, list(pairwise(bounds))


@given(cases(), st.booleans())
@settings(deadline=None)
def test_slabs_cut_anywhere_read_as_their_concatenation(case, transposed):
    placed, axis, bounds = case
    whole = np.arange(np.prod(placed.shape), dtype=np.int64).reshape(placed.shape)
    storages, headers = {}, {}
    for i, (low, high) in enumerate(bounds):
        slab = np.take(whole, range(low, high), axis)
        storage = np.asfortranarray(slab) if transposed else np.ascontiguousarray(slab)
        storages[f"{i}/t.0"] = storage.ravel(order="K")
        headers[f"{i}/t.0"] = Stored(f"{i}/t.0", "F32", slab.shape, tuple(s // 8 for s in storage.strides))
    (slabs,) = assembled(family(placed.row), headers).values()
    assert slabs.shape == whole.shape
    for part, found in zip(placed.parts, pieces(placed, slabs), strict=True):
        expected = view(whole.ravel(), part.leaf, part.leaf.sizes, part.leaf.strides)
        joined = np.full(part.leaf.sizes, -1, dtype=np.int64)
        for piece in found:
            at = tuple(slice(s, s + n) for s, n in zip(piece.start, piece.size, strict=True))
            assert (joined[at] == -1).all()
            joined[at] = view(storages[piece.source], piece, piece.size, piece.stride)
        np.testing.assert_array_equal(joined, expected)


@given(cases())
@settings(deadline=None)
def test_a_cut_writes_what_numpy_slices(case):
    placed, axis, bounds = case
    whole = np.arange(np.prod(placed.shape), dtype=np.int64).reshape(placed.shape)
    roles = [view(whole.ravel(), p.leaf, p.leaf.sizes, p.leaf.strides) for p in placed.parts]
    for low, high in bounds:
        shape = (*placed.shape[:axis], high - low, *placed.shape[axis + 1 :])
        slab = np.full(int(np.prod(shape)), -1, dtype=np.int64)
        for at, region, leaf in cut(placed, axis, low, high, row_major(shape)):
            inside = roles[at][tuple(slice(s, s + n) for s, n in region)]
            view(slab, leaf, leaf.sizes, leaf.strides)[...] = inside
        np.testing.assert_array_equal(slab.reshape(shape), np.take(whole, range(low, high), axis))


def test_slabs_of_different_widths_are_refused_with_both_names():
    row = Row("t.{layer}", "layer.{layer}.o", "hidden (kv group head)", split=1)
    headers = {f"{i}/t.0": Stored(f"{i}/t.0", "F32", (3 + i, 4), (4, 1)) for i in range(2)}
    with pytest.raises(ConversionError, match=r"1/t\.0.*does not continue.*0/t\.0"):
        assembled(family(row), headers)


def test_a_tensor_that_one_file_lacks_is_refused():
    row = Row("t.{layer}", "layer.{layer}.o", "hidden (kv group head)", split=1)
    names = ("0/t.0", "0/t.1", "1/t.0")
    with pytest.raises(ConversionError, match=r"t\.1.*is in 1 of 2 files"):
        assembled(family(row), {name: Stored(name, "F32", (3, 4), (4, 1)) for name in names})
