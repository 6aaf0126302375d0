"""Block scales and regions of computed tensors, against numpy's own repetition and slicing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convert.evaluate import evaluate
from convert.stream import Scratch, Source
from surgery.layout import leaves, parse
from surgery.movement import Piece
from surgery.values import Exactness, Moved, NoInverse, dequantised, exactness, narrowed, scaled

LAYOUTS = ("(kv group two pair) hidden", "hidden (kv group head)", "(kv ((group two pair) + (two pair) + head)) hidden")


class Place:
    def __init__(self, file: str) -> None:
        self.file, self.offset = file, 0


def source(**arrays: np.ndarray) -> Source:
    files = {name: array.astype("<f4").tobytes() for name, array in arrays.items()}

    def read_into(file: str, offset: int, buffer: memoryview) -> None:
        buffer[:] = files[file][offset : offset + len(buffer)]

    return Source({name: Place(name) for name in arrays}, read_into)


def moved(name: str, axes: tuple[str, ...], shape: tuple[int, ...], offset: int, strides: tuple[int, ...]) -> Moved:
    return Moved(axes, shape, "F32", (Piece(name, offset, (0,) * len(shape), shape, strides),))


@st.composite
def regions(draw, shape):
    starts = [draw(st.integers(0, n - 1)) for n in shape]
    return tuple((s, draw(st.integers(1, n - s))) for s, n in zip(starts, shape, strict=True))


@st.composite
def cases(draw):
    pair = draw(st.integers(1, 3))
    sizes = {"kv": draw(st.integers(1, 3)), "group": draw(st.integers(1, 3)), "two": 2, "pair": pair, "head": 2 * pair}
    sizes["hidden"] = draw(st.integers(1, 9))
    layout = parse(draw(st.sampled_from(LAYOUTS)))
    block = (draw(st.integers(1, 7)), draw(st.integers(1, 7)))
    shape = layout.shape(sizes)
    at = draw(st.integers(0, len(leaves(layout, sizes)) - 1))
    leaf = leaves(layout, sizes)[at]
    along = tuple(leaves(layout, sizes, strides)[at] for strides in ((1, 0), (0, 1)))
    return shape, leaf, along, block, draw(regions(leaf.sizes)), draw(st.integers(0, 2**31))


@given(cases())
@settings(deadline=None)
def test_every_element_is_multiplied_by_the_factor_of_its_block(case):
    shape, leaf, (rows, columns), block, region, seed = case
    random = np.random.default_rng(seed)
    weight = random.normal(size=shape).astype("f4")
    blocks = tuple(-(-n // b) for n, b in zip(shape, block, strict=True))
    scale = random.normal(size=blocks).astype("f4")
    spread = scale.repeat(block[0], 0)[: shape[0]].repeat(block[1], 1)[:, : shape[1]]
    product = np.lib.stride_tricks.as_strided(
        (weight * spread).ravel()[leaf.offset :], leaf.sizes, [4 * s for s in leaf.strides]
    )
    expr = moved("w", leaf.axes, leaf.sizes, leaf.offset, leaf.strides)
    factors = moved("s", ("row", "column"), blocks, 0, (blocks[1], 1))
    node = dequantised(expr, factors, rows, columns, block)
    found = evaluate(node, region, source(w=weight, s=scale), Scratch()).numpy()
    np.testing.assert_array_equal(found, product[tuple(slice(f, f + n) for f, n in region)])


@given(st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple), st.data())
@settings(deadline=None)
def test_a_region_of_a_tensor_is_its_slice_whether_moved_or_computed(shape, data):
    region = data.draw(regions(shape))
    axes = tuple(f"a{i}" for i in range(len(shape)))
    array = np.arange(np.prod(shape), dtype="f4").reshape(shape)
    strides = tuple(s // 4 for s in array.strides)
    whole = moved("w", axes, shape, 0, strides)
    cut = array[tuple(slice(f, f + n) for f, n in region)]
    inner = data.draw(regions(cut.shape))
    expected = cut[tuple(slice(f, f + n) for f, n in inner)]
    for expr, factor in ((whole, 1), (scaled(whole, 2.0), 2)):
        part = narrowed(expr, region)
        assert part.shape == cut.shape
        found = evaluate(part, inner, source(w=array), Scratch()).numpy()
        np.testing.assert_array_equal(found, expected * factor)


def test_the_whole_of_a_tensor_is_the_tensor():
    whole = moved("w", ("a",), (3,), 0, (1,))
    assert narrowed(whole, whole.whole) is whole


def test_a_cut_keeps_the_class_and_block_scales_have_no_inverse():
    whole = moved("w", ("a", "b"), (2, 2), 0, (2, 1))
    assert exactness(narrowed(whole, ((0, 1), (0, 2)))) is Exactness.BYTE
    rows, columns = (leaves(parse("a b"), {"a": 2, "b": 2}, strides)[0] for strides in ((1, 0), (0, 1)))
    node = dequantised(whole, moved("s", ("r", "c"), (1, 1), 0, (1, 1)), rows, columns, (128, 128))
    assert exactness(narrowed(node, ((0, 1), (0, 2)))) is Exactness.ALGEBRAIC
    with pytest.raises(NoInverse, match="scales"):
        node.undo(node)
    found = evaluate(node, ((0, 2), (0, 2)), source(w=np.ones((2, 2)), s=np.full((1, 1), 3.0)), Scratch())
    assert torch.equal(found, torch.full((2, 2), 3.0))
