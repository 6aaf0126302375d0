"""Boxes to bytes and values to bytes: any window, any layout, the same bytes as numpy would write."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import convert.stream as streaming
from convert.evaluate import Rounding, evaluate, stream_values
from convert.stream import Scratch, Source, ahead, stream
from surgery.errors import ConversionError
from surgery.layout import leaves, parse
from surgery.movement import Box, Piece, joined, place
from surgery.values import Moved, cast, reindexed, scaled, shifted, unit_rows, zeros
from tests.strategies import layouts, unpack


@dataclass(frozen=True)
class At:
    file: str
    offset: int


def source_of(**arrays: np.ndarray) -> Source:
    """A source whose tensors lie in memory, each after 3 bytes of something else."""
    held = {name: b"xyz" + array.tobytes() for name, array in arrays.items()}

    def read_into(file: str, offset: int, buffer: memoryview) -> None:
        assert offset >= 3
        piece = held[file][offset : offset + len(buffer)]
        assert len(piece) == len(buffer)
        buffer[:] = piece

    return Source({name: At(name, 3) for name in held}, read_into)


def moved(name: str, array: np.ndarray, axes: tuple[str, ...], dtype: str = "F32") -> Moved:
    strides = tuple(s // array.itemsize for s in array.strides)
    return Moved(axes, array.shape, dtype, (Piece(name, 0, (0,) * array.ndim, array.shape, strides),))


def collect(buffers) -> bytes:
    return b"".join(bytes(b) for b in buffers)


@given(
    layouts(),
    st.sampled_from([2, 4]),
    st.integers(1, 40),
    st.sampled_from([1, 16, 1 << 20]),
    st.sampled_from([1, 8, 1 << 20]),
)
def test_any_layout_streams_into_any_other_order_whatever_the_window(case, itemsize, window, long_run, short_run):
    text, sizes, canonical = case
    array = np.arange(prod(parse(text).shape(sizes)), dtype=f"<u{itemsize}")
    boxes, expected, at = [], [], 0
    found = unpack(array, text, sizes)
    for leaf, axes, (names, whole) in zip(leaves(parse(text), sizes), canonical, found, strict=True):
        stride = dict(zip(leaf.axes, leaf.strides, strict=True))
        shape = tuple(sizes[a] for a in axes)
        piece = Piece("w", leaf.offset, (0,) * len(axes), shape, tuple(stride[a] for a in axes))
        own = leaves(parse("(" + " ".join(axes) + ")" if axes else "1"), sizes)[0]
        boxes += [Box(b.source, b.start, b.target + at, b.dims) for b in place([piece], axes, own)]
        expected.append(whole.transpose([names.index(a) for a in axes]).reshape(-1))
        at += prod(shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "WINDOW", window)
        patch.setattr(streaming, "TRANSPOSE_WINDOW", window)
        patch.setattr(streaming, "LONG_RUN", long_run)
        patch.setattr(streaming, "SHORT_RUN", short_run)
        got = collect(stream(joined(boxes), at, itemsize, source_of(w=array), Scratch()))
    assert got == (np.concatenate(expected) if expected else array).tobytes()


def test_zeros_are_written_over_whatever_the_buffer_held():
    scratch = Scratch()
    scratch.window(64)[:] = b"\xff" * 64
    expr = zeros(("a", "b"), (4, 4), "F32")
    boxes = joined(place(expr.pieces, expr.axes, leaves(parse("a b"), {"a": 4, "b": 4})[0]))
    assert collect(stream(boxes, 16, 4, source_of(), scratch)) == bytes(64)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 40))
def test_row_blocks_of_values_equal_the_whole(rows, columns, block):
    array = np.random.default_rng(rows * 10 + columns).normal(size=(rows, columns)).astype("<f4")
    expr = unit_rows(scaled(shifted(moved("w", array, ("vocab", "hidden")), 0.5), 3.0), "hidden")
    leaf = leaves(parse("vocab hidden"), {"vocab": rows, "hidden": columns})[0]
    x = torch.from_numpy((array + np.float32(0.5)) * np.float32(3.0))
    expected = torch.nn.functional.normalize(x).numpy()
    import convert.evaluate as evaluating

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluating, "BLOCK", block)
        got = collect(stream_values([(expr, leaf)], (rows, columns), "F32", source_of(w=array), Scratch(), Rounding()))
    assert np.allclose(np.frombuffer(got, "<f4").reshape(rows, columns), expected, rtol=1e-6)


def test_normalising_is_rounded_once_from_float32():
    array = torch.randn(50, 33, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    bits = array.view(torch.uint16).numpy()
    expr = unit_rows(moved("w", bits, ("vocab", "hidden"), "BF16"), "hidden")
    leaf = leaves(parse("vocab hidden"), {"vocab": 50, "hidden": 33})[0]
    rounding = Rounding()
    got = collect(stream_values([(expr, leaf)], (50, 33), "BF16", source_of(w=bits), Scratch(), rounding))
    exact = torch.nn.functional.normalize(array.float())
    assert got == exact.to(torch.bfloat16).view(torch.uint16).numpy().tobytes()
    off = exact - exact.to(torch.bfloat16).float()
    assert rounding.error / rounding.size == pytest.approx(float(off.square().sum() / exact.square().sum()), rel=1e-3)
    assert rounding.largest == pytest.approx(float(off.abs().max()), rel=1e-3)


@pytest.mark.parametrize("there", [lambda e: scaled(e, 3.0), lambda e: shifted(e, 1.0), lambda e: cast(e, "F64")])
def test_every_values_inverse_gives_the_values_back(there):
    array = np.random.default_rng(0).normal(size=(4, 5)).astype("<f4")
    expr = moved("w", array, ("a", "b"))
    value = there(expr)
    back = value.undo(value)
    assert back.dtype == "F32"
    again = evaluate(back, back.whole, source_of(w=array), Scratch())
    assert np.allclose(again.numpy(), array, rtol=1e-6)


def test_a_normalised_row_cannot_be_undone():
    expr = unit_rows(moved("w", np.ones((2, 3), "<f4"), ("a", "b")), "b")
    with pytest.raises(ValueError, match="norms"):
        expr.undo(expr)


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))
def test_reindexing_copies_whole_heads(kv, times, width):
    array = np.arange(kv * width * 5, dtype="<f4").reshape(kv, width, 5)
    expr = reindexed(
        moved("w", array, ("kv", "head", "hidden")),
        ("kv",),
        (kv * times,),
        [((i,), (i // times,)) for i in range(kv * times)],
    )
    got = evaluate(expr, expr.whole, source_of(w=array), Scratch())
    assert np.array_equal(got.numpy(), np.repeat(array, times, axis=0))


def test_a_cast_under_another_rounds_and_clamps_as_if_it_had_been_stored() -> None:
    array = np.array([1e5, 1 + 2**-12, 1e-9], np.float32)
    w = Moved(("a",), (3,), "F32", (Piece("w", 0, (0,), (3,), (1,)),))
    source = source_of(w=array)
    assert evaluate(cast(cast(w, "F16", clamp=True), "F32"), ((0, 3),), source, Scratch()).tolist() == [65504.0, 1.0, 0.0]
    with pytest.raises(ConversionError, match="1 or more values exceed 65504"):
        evaluate(cast(cast(w, "F16"), "F32"), ((0, 3),), source, Scratch())


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=12))
def test_one_ahead_is_the_same_buffers_while_two_windows_take_turns(wanted: list[bytes]) -> None:
    scratch = Scratch(windows=2)

    def made() -> Iterator[memoryview]:
        for content in wanted:
            window = scratch.window(len(content))
            window[:] = content
            yield window

    assert [bytes(buffer) for buffer in ahead(made())] == wanted


def test_what_is_made_ahead_fails_where_it_is_used() -> None:
    def made() -> Iterator[int]:
        yield 1
        raise ValueError("the second")

    got = ahead(made())
    assert next(got) == 1
    with pytest.raises(ValueError, match="the second"):
        next(got)
