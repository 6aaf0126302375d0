"""Biases of zeros: written, recognised and dropped."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from surgery.facts import Facts
from surgery.model import Model
from surgery.movement import Piece
from surgery.passes.drop_zero_biases import drop_zero_biases, is_zero
from surgery.passes.zero_biases import BIASED, zero_biases
from surgery.roles import role
from surgery.values import Moved, zeros

SIZES = {"layer": 2, "hidden": 8, "ffn": 6, "heads": 4, "kv": 2, "head": 4, "vocab": 5}
NAMES = tuple(name for names in BIASED.values() for name in names)
facts = st.sets(st.sampled_from(tuple(BIASED))).map(frozenset)


def stored(name, axes, sizes):
    shape = tuple(sizes[axis] for axis in axes)
    steps = tuple(range(len(shape)))
    return Moved(axes, shape, "BF16", (Piece(name, 0, (0,) * len(shape), shape, steps),))


def bare():
    known = Facts().with_(SIZES, "a test")
    sizes = known.sizes()
    names = [f"layer.{layer}.{name}" for layer in range(2) for name in NAMES]
    return Model(known, {n: stored(n, role(f"layer.{{layer}}.{n.split('.')[2]}").axes, sizes) for n in names})


@given(written=facts, dropped=facts)
def test_dropping_undoes_writing(written, dropped):
    model = drop_zero_biases(zero_biases(bare(), written), dropped)
    expected = zero_biases(bare(), written - dropped)
    assert model.tensors == expected.tensors
    assert {fact: model.facts[fact] for fact in BIASED} == {fact: fact in written - dropped for fact in BIASED}


@given(which=facts, kept=st.sampled_from(tuple(BIASED)), layer=st.integers(0, 1))
def test_one_bias_that_counts_keeps_its_whole_kind(which, kept, layer):
    full = zero_biases(bare(), frozenset(BIASED))
    name = f"layer.{layer}.{BIASED[kept][-1]}.bias"
    model = full.using({name: stored("a bias", full.tensors[name].axes, full.sizes)})
    result = drop_zero_biases(model, which)
    assert result.facts[kept] is True
    assert all(not result.facts[fact] for fact in which - {kept})


def test_a_tensor_is_zero_only_if_no_piece_of_it_is_stored():
    nothing = zeros(("hidden",), (8,), "F32")
    assert is_zero(nothing)
    half = Moved(("hidden",), (8,), "F32", (*nothing.pieces, Piece("w", 0, (4,), (4,), (1,))))
    assert not is_zero(half)
