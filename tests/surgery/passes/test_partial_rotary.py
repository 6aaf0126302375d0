"""Heads of which a part is rotated: as factors of longrope or as proportional, and back, the function is the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convert.evaluate import evaluate
from convert.stream import Scratch, Source
from surgery.facts import Facts
from surgery.model import Model
from surgery.movement import Piece
from surgery.passes.partial_rotary import FILLER, still_part, turn_part_of_heads, turn_whole_heads
from surgery.passes.zero_biases import zero_biases
from surgery.values import Moved, cast, joined, narrowed, scaled
from tests.mappings.pairs import converted, randomised, saved, tokens
from tests.oracle import native_logits, transformers
from tests.surgery.passes.configs import chatglm, glm
from tests.surgery.passes.tiny import apart, tiny

quick = settings(deadline=None, max_examples=25)
kinds = pytest.mark.parametrize("kind", ["longrope", "proportional"])


@kinds
@given(config=chatglm() | glm(), seed=st.integers(0, 99))
@quick
def test_a_glm_becomes_llama_and_its_own_bytes_again(kind, config, seed):
    source = tiny(config, seed)
    whole = turn_whole_heads(source.model, kind)
    lacking = frozenset({"bias.qkv", "bias.o"}) if source.model.facts["bias.qkv"] else frozenset()
    llama = source.written(zero_biases(whole, lacking), "llama")
    assert apart(source, llama) < 1e-12
    back = turn_part_of_heads(llama.model)
    for fact in ("rope.share", "rope.theta", "rope.scaling"):
        assert back.facts[fact] == source.model.facts[fact]
    zeros = {name: None for name in back.tensors if name.endswith(".o.bias")}
    again = llama.written(back.using(zeros).having("zeros dropped", bias__o=False), "glm")
    direct = source.written(source.model, "glm")
    assert again.config == direct.config
    assert all(torch.equal(again.tensors[name], tensor) for name, tensor in direct.tensors.items())


@given(config=chatglm())
@quick
def test_both_layouts_of_chatglm_hold_what_glm_holds(config):
    source = tiny(config)
    assert apart(source, source.written(source.model, "glm")) < 1e-12


def half(**facts):
    sizes = {"layer": 1, "head": 16, "heads": 2, "kv": 1, "hidden": 8, "context": 64}
    return Model(Facts().with_({**sizes, "rope.share": 0.5, **facts}, "a test"), {})


def test_the_factors_are_those_that_every_consumer_reads_alike():
    table = dict(turn_whole_heads(half()).facts["rope.scaling"])
    assert table["rope_type"] == "longrope"
    assert table["short_factor"] == table["long_factor"]
    assert table["factor"] == table["attention_factor"] == 1.0
    assert table["original_max_position_embeddings"] == 64
    expected = [10000 ** (2 * i / 8) / 10000 ** (2 * i / 16) for i in range(4)]
    assert table["short_factor"][:4] == pytest.approx(expected, rel=1e-14)
    assert table["short_factor"][4:] == (FILLER,) * 4


def test_proportional_raises_the_base_to_the_heads_share():
    facts = turn_whole_heads(half(), "proportional").facts
    assert dict(facts["rope.scaling"]) == {"rope_type": "proportional", "partial_rotary_factor": 0.5}
    assert facts["rope.theta"] == 1e8


@pytest.mark.parametrize(
    "facts",
    [
        {"rope.share": 1.0},
        {"context": None},
        {"norm.qk": "rms"},
        {"rope.scaling": (("rope_type", "dynamic"), ("factor", 2.0))},
        {"rope.scaling": (("rope_type", "llama3"), ("factor", 8.0))},
    ],
)
def test_what_cannot_be_said_so_is_left_as_it_is(facts):
    model = half(**facts)
    assert turn_whole_heads(model) is model


@pytest.mark.parametrize(
    "change",
    [
        {"attention_factor": 1.2},
        {"original_max_position_embeddings": 32},
        {"long_factor": (1.0,) * 8},
        {"short_factor": (1.0,) * 8, "long_factor": (1.0,) * 8},
        {"short_factor": (1.5,) * 4 + (1e16,) * 4, "long_factor": (1.5,) * 4 + (1e16,) * 4},
        {"short_factor": (1.0, 1e16), "long_factor": (1.0, 1e16)},
    ],
)
def test_a_longrope_that_says_more_is_not_taken_for_a_part(change):
    table = {**dict(turn_whole_heads(half()).facts["rope.scaling"]), **change}
    assert still_part(10000.0, tuple(table.items()), 16, 64) is None


def test_a_longrope_over_a_part_keeps_its_own_factors(tmp_path):
    library = transformers()
    short, long = [1.0, 1.3, 2.0, 3.5, 5.0, 7.0], [2.0, 2.5, 4.0, 9.0, 14.0, 22.0]
    config = library.Phi3Config(
        vocab_size=101, hidden_size=64, intermediate_size=44, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, original_max_position_embeddings=16, pad_token_id=0,
        partial_rotary_factor=0.75,
        rope_parameters={
            "rope_type": "longrope", "rope_theta": 10000.0, "short_factor": short, "long_factor": long,
            "partial_rotary_factor": 0.75, "original_max_position_embeddings": 16,
        },
    )  # fmt: skip
    folder = saved(randomised(library.Phi3ForCausalLM(config)), tmp_path / "phi3")
    converted(folder, "llama", tmp_path / "llama")
    for length in (12, 40):  # within the length it was trained for, and beyond it
        ids = tokens(length, 101)
        assert (native_logits(folder, ids) - native_logits(tmp_path / "llama", ids)).abs().max().item() <= 1e-4


@st.composite
def _two(draw):
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 3)))
    other = (shape[0], draw(st.integers(1, 4)), shape[2])
    whole = (shape[0], shape[1] + other[1], shape[2])
    start = tuple(draw(st.integers(0, n - 1)) for n in whole)
    return shape, other, tuple((s, draw(st.integers(1, n - s))) for s, n in zip(start, whole, strict=True))


@given(case=_two(), computed=st.booleans(), seed=st.integers(0, 99))
def test_any_region_of_what_is_joined_is_numpys(case, computed, seed):
    shapes, region = case[:2], case[2]
    random = np.random.default_rng(seed)
    arrays = [random.normal(size=shape).astype("<f4") for shape in shapes]
    exprs = []
    for name, shape in zip("ab", shapes, strict=True):
        strides = (shape[1] * shape[2], shape[2], 1)
        moved = Moved(("x", "pair", "y"), shape, "F32", (Piece(name, 0, (0, 0, 0), shape, strides),))
        exprs.append(scaled(moved, 2.0) if computed else moved)

    def read_into(name: str, offset: int, buffer: memoryview) -> None:
        buffer[:] = arrays["ab".index(name)].tobytes()[offset : offset + len(buffer)]

    source = Source({n: type("Place", (), {"file": n, "offset": 0})() for n in "ab"}, read_into)
    both = joined(*exprs, "pair")
    assert isinstance(both, Moved) is not computed
    expected = np.concatenate(arrays, 1)[tuple(slice(s, s + n) for s, n in region)] * (2 if computed else 1)
    np.testing.assert_array_equal(evaluate(both, region, source, Scratch()).numpy(), expected)
    cut = narrowed(both, region)
    np.testing.assert_array_equal(evaluate(cut, cut.whole, source, Scratch()).numpy(), expected)


def test_a_cast_asked_for_first_is_rounded_once_all_the_same():
    source = tiny(
        {
            "model_type": "glm", "architectures": ["GlmForCausalLM"], "vocab_size": 37, "hidden_size": 20,
            "intermediate_size": 26, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "head_dim": 16, "max_position_embeddings": 64, "attention_bias": False,
        }
    )  # fmt: skip
    halved = source.model.using({name: cast(expr, "F16") for name, expr in source.model.tensors.items()})
    plain = source.written(turn_whole_heads(source.model), "llama")
    late = source.written(turn_whole_heads(halved), "llama")
    assert late.config == plain.config
    assert all(torch.equal(late.tensors[name], tensor) for name, tensor in plain.tensors.items())
