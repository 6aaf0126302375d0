"""The one that Gemma adds to its norm weights: moved into them and out again, and rounded once in any chain."""

from __future__ import annotations

import struct

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convert.evaluate import evaluate
from convert.stream import Scratch, Source
from surgery.dtypes import ROUNDING
from surgery.facts import Facts
from surgery.model import Model
from surgery.movement import Piece
from surgery.passes.norm_offset import NORMS, shift_norms
from surgery.values import Moved, Scaled, Shifted, cast, scaled, shifted


def weight(name: str, n: int = 5, dtype: str = "BF16") -> Moved:
    return Moved(("hidden",), (n,), dtype, (Piece(name, 0, (0,), (n,), (1,)),))


def model(offset: float) -> Model:
    names = [name.format(layer=layer) for name in NORMS for layer in range(2)]
    facts = Facts().with_({"layer": 2, "hidden": 5, "norm.offset": offset}, "a test")
    return Model(facts, {n: weight(n) for n in names})


def test_every_norm_of_every_layer_is_shifted_by_the_difference():
    source = model(1.0)
    shifted_ = shift_norms(source)
    assert shifted_.facts["norm.offset"] == 0.0
    assert set(shifted_.tensors) == set(source.tensors)
    for name, expr in shifted_.tensors.items():
        assert isinstance(expr, Shifted) and expr.amount == 1.0 and expr.inputs == (source.tensors[name],)


@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_there_and_back_is_the_very_model(offset):
    source = model(offset)
    assert shift_norms(source, offset) is source
    assert shift_norms(shift_norms(source, 1.0 - offset), offset).tensors == source.tensors


@pytest.mark.parametrize(("dtype", "torch_dtype"), [("BF16", torch.bfloat16), ("F16", torch.float16)])
@given(
    stored=st.lists(st.floats(-4, 4), min_size=1, max_size=9),
    steps=st.lists(st.tuples(st.sampled_from([Shifted, Scaled]), st.floats(-8, 8)), max_size=4),
)
def test_a_chain_of_shifts_and_factors_is_rounded_once(dtype, torch_dtype, stored, steps):
    values = torch.tensor(stored).to(torch_dtype)
    raw = values.view(torch.uint8).numpy().tobytes()

    def read_into(name: str, offset: int, buffer: memoryview) -> None:
        buffer[:] = raw[offset : offset + len(buffer)]

    place = type("Place", (), {"file": "w", "offset": 0})
    expr, exact, size = weight("w", len(stored), dtype), values.double(), values.double().abs()
    for kind, number in steps:
        number = struct.unpack("f", struct.pack("f", number))[0]
        expr = cast(expr, dtype)
        expr = shifted(expr, number) if kind is Shifted else scaled(expr, number)
        exact = exact + number if kind is Shifted else exact * number
        size = size + abs(number) if kind is Shifted else size * abs(number)  # what float32 may round on the way
    rounded = evaluate(expr, expr.whole, Source({"w": place()}, read_into), Scratch()).to(torch_dtype).double()
    allowed = ROUNDING[dtype] * exact.abs() + size * 1e-6 + torch.finfo(torch_dtype).smallest_normal
    assert bool(((rounded - exact).abs() <= allowed).all())
