"""Layouts and boxes against an evaluation by numpy reshapes, over generated layouts and sizes (zero and one included)."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgery.layout import leaves, parse
from surgery.movement import Piece, clip, joined, place
from tests.strategies import layouts, run, unpack

SIZES = {"kv": 2, "group": 3, "two": 2, "pair": 4, "half": 2, "head": 12, "hidden": 5, "ffn": 7}
FUSED = {
    "glm": "((kv group ((pair two) + (two half))) + (kv ((pair two) + (two half))) + (kv head)) hidden",
    "per head": "(kv ((group ((pair two) + (two half))) + ((pair two) + (two half)) + head)) hidden",
    "grouped": "(kv ((group two (pair + half)) + (two (pair + half)) + head)) hidden",
    "conv1d": "hidden ((kv group two (pair + half)) + (kv two (pair + half)) + (kv head))",
}


def decode(text, sizes, canonical, source="w", strides=None):
    """Pieces of every leaf, over its canonical axes."""
    pieces = []
    for leaf, axes in zip(leaves(parse(text), sizes, strides), canonical, strict=True):
        stride = dict(zip(leaf.axes, leaf.strides, strict=True))
        shape = tuple(sizes[a] for a in axes)
        pieces.append(Piece(source, leaf.offset, (0,) * len(axes), shape, tuple(stride[a] for a in axes)))
    return pieces


def encode(pieces, text, sizes, canonical):
    boxes = []
    for piece, leaf, axes in zip(pieces, leaves(parse(text), sizes), canonical, strict=True):
        boxes += place([piece], axes, leaf)
    return joined(boxes)


@given(layouts())
def test_a_round_trip_is_one_contiguous_box(case):
    text, sizes, canonical = case
    numel = prod(parse(text).shape(sizes))
    boxes = encode(decode(text, sizes, canonical), text, sizes, canonical)
    if numel == 0:
        assert boxes == ()
    else:
        assert len(boxes) == 1
        assert boxes[0].contiguous
        assert (boxes[0].start, boxes[0].target, boxes[0].numel) == (0, 0, numel)


@given(layouts())
def test_leaves_hold_what_numpy_reshapes_hold(case):
    text, sizes, canonical = case
    shape = parse(text).shape(sizes)
    array = np.arange(prod(shape), dtype=np.float64)
    for piece, axes, (names, expected) in zip(
        decode(text, sizes, canonical), canonical, unpack(array, text, sizes), strict=True
    ):
        expected = expected.transpose([names.index(a) for a in axes])
        got = run(place([piece], axes, leaves(parse(" ".join(axes)), sizes)[0]), prod(piece.size), {"w": array})
        assert np.array_equal(got, expected.reshape(-1))


@pytest.mark.parametrize("target", FUSED)
@pytest.mark.parametrize("source", FUSED)
@pytest.mark.parametrize("half", [0, 2])
def test_fused_layouts_convert_into_each_other(source, target, half):
    sizes = SIZES | {"half": half, "head": 8 + 2 * half}
    roles = [
        "kv group two pair hidden",
        "kv group two half hidden",
        "kv two pair hidden",
        "kv two half hidden",
        "kv head hidden",
    ]
    canonical = [tuple(r.split()) for r in roles]
    array = np.random.default_rng(0).normal(size=prod(parse(FUSED[source]).shape(sizes)))
    boxes = encode(decode(FUSED[source], sizes, canonical), FUSED[target], sizes, canonical)
    written = run(boxes, array.size, {"w": array})
    have = dict(zip(roles, unpack(array, FUSED[source], sizes), strict=True))
    got = dict(zip(roles, unpack(written, FUSED[target], sizes), strict=True))
    for role, axes in zip(roles, canonical, strict=True):
        (a, x), (b, y) = have[role], got[role]
        assert np.array_equal(x.transpose([a.index(n) for n in axes]), y.transpose([b.index(n) for n in axes]))


@given(layouts(), st.integers(0, 60), st.integers(0, 60))
def test_windows_of_a_box_are_the_window_of_the_whole(case, low, length):
    text, sizes, canonical = case
    reordered = [tuple(sorted(axes)) for axes in canonical]
    pieces = decode(text, sizes, reordered)
    array = np.random.default_rng(1).normal(size=prod(parse(text).shape(sizes)))
    for piece, axes in zip(pieces, reordered, strict=True):
        leaf = leaves(parse("(" + " ".join(axes) + ")" if axes else "1"), sizes)[0]
        for whole in place([piece], axes, leaf):
            full = run([whole], prod(piece.size), {"w": array})
            window = run(clip(whole, low, low + length), prod(piece.size), {"w": array})
            inside = np.arange(full.size)
            inside = (inside >= low) & (inside < low + length)
            assert np.array_equal(window[inside], full[inside])
            assert (window[~inside] == -1.0).all()


@given(layouts(), st.data())
def test_a_piece_within_a_region_is_the_slice(case, data):
    text, sizes, canonical = case
    array = np.arange(prod(parse(text).shape(sizes)), dtype=np.float64)
    for piece, axes, (names, whole) in zip(
        decode(text, sizes, canonical), canonical, unpack(array, text, sizes), strict=True
    ):
        region = []
        for n in piece.size:
            first = data.draw(st.integers(0, n))
            region.append((first, data.draw(st.integers(0, n - first))))
        expected = whole.transpose([names.index(a) for a in axes])[tuple(slice(s, s + n) for s, n in region)]
        part = piece.within(region)
        if expected.size == 0:
            assert part is None
            continue
        got = [
            array[part.offset + sum(i * s for i, s in zip(index, part.stride, strict=True))]
            for index in np.ndindex(*part.size)
        ]
        assert np.array_equal(np.array(got).reshape(part.size), expected)


def test_a_transposed_source_is_read_through_its_strides():
    sizes = {"a": 2, "b": 3}
    (piece,) = decode("a b", sizes, [("a", "b")], strides=(1, 2))
    (only,) = place([piece], ("a", "b"), leaves(parse("a b"), sizes)[0])
    assert only.dims == ((2, 1, 3), (3, 2, 1))


@pytest.mark.parametrize("text", ["(a", "a)", "a + b", "a ? b", "(a a)"])
def test_a_layout_that_says_nonsense_is_refused(text):
    with pytest.raises(ValueError, match="layout"):
        leaves(parse(text), {"a": 2, "b": 3})


@settings(max_examples=30)
@given(st.integers(1, 6), st.integers(1, 5), st.integers(1, 4))
def test_stacked_experts_fold_to_one_box(experts, ffn, hidden):
    sizes = {"ffn": ffn, "hidden": hidden}
    text = "(" + " + ".join(["(ffn hidden)"] * experts) + ")"
    canonical = [("ffn", "hidden")] * experts
    (only,) = encode(decode(text, sizes, canonical), text, sizes, canonical)
    assert only.contiguous
