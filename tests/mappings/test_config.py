"""Config files to facts and back: both forms of rope, variants, types, and what is refused."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import mappings
from mappings import families
from mappings.config import read_facts, recognise, refusals, write_config
from mappings.family import Recognise
from mappings.via import ACTIVATION, HALVED, ROPE, SAME, Inexpressible, Unreadable, only
from surgery.errors import ConversionError

BY_LABEL = {f.label: f for f in families()}
LLAMA = BY_LABEL["llama"]
BASE = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 172,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 257,
}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}


def facts(**changes):
    return read_facts(LLAMA, {**BASE, **changes})


@pytest.mark.parametrize(
    ("stated", "theta", "scaling"),
    [
        ({}, 10000.0, None),
        ({"rope_theta": 500000, "rope_scaling": None}, 500000.0, None),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}, 5e5, None),
        (
            {"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2.0}},
            5e5,
            {"rope_type": "linear", "factor": 2.0},
        ),
        ({"rope_theta": 5e5, "rope_scaling": LLAMA3}, 5e5, LLAMA3),
        ({"rope_parameters": {**LLAMA3, "rope_theta": 5e5}}, 5e5, LLAMA3),
        ({"rope_theta": 5e5, "rope_scaling": LLAMA3, "rope_parameters": {**LLAMA3, "rope_theta": 5e5}}, 5e5, LLAMA3),
    ],
)
def test_rope_is_read_in_both_forms_and_written_in_both(stated, theta, scaling):
    read = facts(**stated)
    assert read["rope.theta"] == theta
    assert (dict(read["rope.scaling"]) if read["rope.scaling"] else None) == scaling
    written = write_config(LLAMA, read)
    assert written["rope_theta"] == written["rope_parameters"]["rope_theta"] == theta
    assert written["rope_parameters"] == {"rope_type": "default", **(scaling or {}), "rope_theta": theta}
    assert read_facts(LLAMA, written).values_ == read.values_


@pytest.mark.parametrize(
    "stated",
    [
        {"rope_theta": 1e4, "rope_parameters": {"rope_type": "default", "rope_theta": 5e5}},
        {"rope_scaling": LLAMA3, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}},
        {"rope_scaling": {"rope_type": "linear", "type": "dynamic", "factor": 2.0}},
    ],
)
def test_rope_forms_that_disagree_are_refused(stated):
    with pytest.raises(ConversionError, match=r"disagree|two types"):
        facts(**stated)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_size", "64"),
        ("hidden_size", -1),
        ("hidden_size", True),
        ("num_hidden_layers", 10**15),
        ("rms_norm_eps", "small"),
        ("tie_word_embeddings", "yes"),
        ("hidden_act", "snake"),
        ("rope_scaling", "linear"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_with_its_key(key, value):
    with pytest.raises(ConversionError, match=key):
        facts(**{key: value})


def test_heads_that_do_not_divide_are_refused():
    with pytest.raises(ConversionError, match="not divisible"):
        facts(num_attention_heads=5)
    with pytest.raises(ConversionError, match="not divisible"):
        facts(num_key_value_heads=3)


def test_a_missing_size_is_named():
    with pytest.raises(ConversionError, match="hidden_size"):
        read_facts(LLAMA, {k: v for k, v in BASE.items() if k != "hidden_size"})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"architectures": ["BaiChuanForCausalLM"], "max_position_embeddings": 4096}, {"7b"}),
        ({"architectures": ["BaichuanForCausalLM"], "max_position_embeddings": 4096}, {"2-7b"}),
        ({"architectures": ["BaichuanForCausalLM"], "model_max_length": 4096}, {"13b", "2-13b"}),
        ({"architectures": ["BaichuanForCausalLM"], "model_max_length": 4096, "vocab_size": 64000}, {"13b"}),
        ({"architectures": ["BaichuanForCausalLM"], "model_max_length": 4096, "vocab_size": 125696}, {"2-13b"}),
    ],
)
def test_the_four_baichuans_are_told_apart_by_what_their_files_say(changes, expected):
    config = {**BASE, "model_type": "baichuan", **changes}
    assert {f.variant for f in recognise(families(), config)} == expected


def test_a_target_that_lacks_something_says_which_and_where_it_was_read():
    wanted = refusals(BY_LABEL["baichuan-7b"], facts(attention_bias=True, rope_theta=5e5, num_key_value_heads=2))
    assert {r.fact: r.origin for r in wanted} == {
        "kv": "num_key_value_heads",
        "rope.theta": "rope_theta",
        "bias.qkv": "attention_bias",
        "bias.o": "attention_bias",
    }


def test_conversions_of_values_are_inverse_or_say_why_not():
    assert HALVED.write(("k",), HALVED.read(("f",), {"k": 344})) == {"k": 344}
    assert ACTIVATION.write(("k",), ACTIVATION.read(("f",), {"k": "gelu_pytorch_tanh"})) == {"k": "gelu_pytorch_tanh"}
    written = ROPE.write(("a", "b", "c"), {"t": 1e4, "s": None})
    assert ROPE.read(("t", "s"), {k: v for k, v in written.items() if v is not None}) == {"t": 1e4, "s": None}
    with pytest.raises(Unreadable, match="odd"):
        HALVED.read(("f",), {"k": 3})
    with pytest.raises(Inexpressible, match="at once"):
        SAME.write(("attention_bias",), {"bias.qkv": True, "bias.o": False})
    with pytest.raises(Unreadable, match="because"):
        only(True, "because").read((), {"k": False})


def test_recognition_needs_every_condition():
    wanted = Recognise(model_type="x", present=("a",), absent=("b",), values={"c": 1}, unlike={"d": 2})
    good = {"model_type": "x", "a": 0, "c": 1, "d": 3}
    assert wanted.matches(good)
    for spoilt in ({"model_type": "y"}, {"a": None}, {"b": 1}, {"c": 2}, {"d": 2}):
        assert not wanted.matches({**good, **spoilt})


def _tables():
    """Modules that hold families, by name."""
    folder = Path(mappings.__file__).parent
    return [p for p in sorted(folder.glob("*.py")) if "FAMILIES = (" in p.read_text()]


@pytest.mark.parametrize("path", _tables(), ids=lambda p: p.stem)
def test_tables_hold_data_and_no_control_flow(path):
    forbidden = (ast.If, ast.For, ast.While, ast.Lambda, ast.FunctionDef, ast.Try, ast.With, ast.IfExp)
    found = [type(node).__name__ for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, forbidden)]
    assert found == []


@pytest.mark.parametrize(("change", "why"), [
    ({"rms_norm_eps": None}, "rms_norm_eps = null is no number"),
    ({"rms_norm_eps": "1e-5"}, "rms_norm_eps = '1e-5' is no number"),
    ({"rms_norm_eps": float("nan")}, "rms_norm_eps = nan is no number"),
    ({"num_hidden_layers": -1}, "num_hidden_layers = -1 is not a sensible"),
    ({"eos_token_id": "2"}, "eos_token_id = '2' is no id"),
    ({"eos_token_id": [2, "3"]}, "is no id"),
])  # fmt: skip
def test_values_of_another_kind_are_refused_by_name(change, why):
    with pytest.raises(ConversionError, match=why):
        facts(**change)


@pytest.mark.parametrize("ids", [None, 2, [2, 3], -1])
def test_ids_are_one_several_or_none(ids):
    assert facts(eos_token_id=ids)["token.eos"] == ids
