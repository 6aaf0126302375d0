"""MiniCPM: its scales folded or gauged, the tie that its config does not state, and Llama as a MiniCPM without any."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from convert.checkpoint import open_checkpoint
from convert.prepare import plan_conversion
from convert.report import plan_text
from mappings import families
from mappings.config import read_facts, recognise
from mappings.minicpm import MINICPM
from mappings.via import Inexpressible, Unreadable
from mappings.via_scales import DEPTH, WIDTH, times
from surgery.errors import ConversionError
from tests.goldens import golden
from tests.mappings.pairs import config_of, converted, logits_apart, same_tensors
from tests.oracle import native_logits, same_bits, tensors
from tests.writing import write

HALVES = {"minicpm-2b-bf16": torch.bfloat16, "minicpm-untied-gqa-fp16": torch.float16}
CASES = ["minicpm-2b", "minicpm-untied-gqa"]
WAYS = pytest.mark.parametrize("prefer", [[], ["gauge"]], ids=["fold", "gauge"])


def config(**changes):
    return {**config_of(golden("minicpm-2b").checkpoint), **changes}


@WAYS
@pytest.mark.parametrize("name", CASES)
def test_minicpm_becomes_llama_with_the_vendors_logits(name, prefer, tmp_path):
    plan = converted(golden(name).checkpoint, "llama", tmp_path / "out", prefer=prefer)
    assert str(plan.exactness) == "algebraic"
    assert logits_apart(name, tmp_path / "out") <= 1e-4


@WAYS
@pytest.mark.parametrize("name", HALVES)
def test_half_precision_costs_no_more_than_an_ideal_fold(name, prefer, tmp_path):
    case = golden(name)
    plan = plan_conversion(open_checkpoint(case.checkpoint), "llama", prefer=prefer)
    done = write(plan, tmp_path / "out")
    truth, ideal = load_file(case.logits), case.provenance["ideal_fold_rounding"]
    off = (native_logits(tmp_path / "out", truth["input_ids"]) - truth["logits"]).abs()
    assert off.max().item() <= 1.3 * ideal["max_abs_dlogits"]
    assert off.mean().item() <= 1.3 * ideal["mean_abs_dlogits"]
    assert 0 < done.rounding_relative <= plan.rounding == {"BF16": 2.0**-8, "F16": 2.0**-11}[plan_dtype(plan)]
    assert f"by at most {plan.rounding:.1e} of itself" in plan_text(plan)
    assert {t.dtype for t in tensors(tmp_path / "out").values()} == {HALVES[name]}


def plan_dtype(plan):
    (dtype,) = {output.dtype for file in plan.files for output in file.outputs}
    return dtype


def test_folding_writes_what_the_vendors_arithmetic_says_rounded_once(tmp_path):
    source = tensors(golden("minicpm-2b").checkpoint)
    converted(golden("minicpm-2b").checkpoint, "llama", tmp_path / "out")
    written = tensors(tmp_path / "out")
    embed, branch, logits = 12.0, 1.4 / 3**0.5, 24 / 72
    factors = {"embed_tokens": embed, "o_proj": branch, "down_proj": branch, "lm_head": logits}
    for key, tensor in written.items():
        original = source["model.embed_tokens.weight" if key == "lm_head.weight" else key]
        factor = next((f for part, f in factors.items() if part in key), None)
        if factor is None:
            assert same_bits(tensor, original)
        else:
            torch.testing.assert_close(tensor, (original.double() * factor).float(), rtol=2.0**-22, atol=0)


def test_the_gauge_keeps_the_tie_and_every_byte_of_the_embeddings(tmp_path):
    source = tensors(golden("minicpm-2b").checkpoint)
    converted(golden("minicpm-2b").checkpoint, "llama", tmp_path / "out", prefer=["gauge"])
    written = tensors(tmp_path / "out")
    assert written.keys() == source.keys() and "lm_head.weight" not in written
    assert same_bits(written["model.embed_tokens.weight"], source["model.embed_tokens.weight"])
    told = config_of(tmp_path / "out")
    assert told["tie_word_embeddings"] is True
    assert told["rms_norm_eps"] == pytest.approx(1e-5 / 144, rel=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_normalised_it_keeps_every_byte_and_its_own_constants(name, tmp_path):
    source = golden(name).checkpoint
    assert str(converted(source, "minicpm", tmp_path / "out").exactness) == "byte"
    assert same_tensors(tmp_path / "out", source)
    told, original = config_of(tmp_path / "out"), config_of(source)
    for key in ("scale_emb", "scale_depth", "dim_model_base"):
        assert told[key] == original[key] and type(told[key]) is type(original[key])
    assert told["tie_word_embeddings"] is ("lm_head.weight" not in tensors(source))


@pytest.mark.parametrize("name", ["llama-gqa", "llama-tied"])
def test_a_llama_is_a_minicpm_whose_scales_do_nothing(name, tmp_path):
    assert str(converted(golden(name).checkpoint, "minicpm", tmp_path / "minicpm").exactness) == "byte"
    assert str(converted(tmp_path / "minicpm", "llama", tmp_path / "back").exactness) == "byte"
    assert same_tensors(tmp_path / "back", golden(name).checkpoint)


def test_without_a_word_on_ties_the_file_decides(tmp_path):
    source = tensors(golden("minicpm-2b").checkpoint)
    assert "tie_word_embeddings" not in config() and "lm_head.weight" not in source
    folder = tmp_path / "untied"
    folder.mkdir()
    head = {"lm_head.weight": source["model.embed_tokens.weight"] * 2}
    save_file(source | head, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config()))
    plan = plan_conversion(open_checkpoint(folder), "minicpm")
    assert json.loads(plan.documents["config.json"])["tie_word_embeddings"] is False
    assert plan.tensors == len(source) + 1


def test_absent_scales_are_one_as_in_the_configuration_class():
    bare = {key: value for key, value in config().items() if key not in ("scale_emb", "scale_depth", "dim_model_base")}
    facts = read_facts(MINICPM, bare)
    assert (facts["embed.scale"], facts["residual.depth"], facts["logits.base"]) == (1, 1, 1)


def test_it_is_recognised_without_a_model_type():
    assert "model_type" not in config()
    assert recognise(families(), config()) == (MINICPM,)


@pytest.mark.parametrize("value", [0, -1, True, "12", float("nan"), float("inf"), [1]])
@pytest.mark.parametrize("key", ["scale_emb", "scale_depth", "dim_model_base"])
def test_a_scale_that_is_no_positive_number_is_refused_by_name(key, value):
    with pytest.raises(ConversionError, match=key):
        read_facts(MINICPM, config(**{key: value}))


positive = st.floats(1e-3, 1e3) | st.integers(1, 4096)


@given(layers=st.integers(1, 100), depth=positive)
def test_depth_is_read_as_it_was_written(layers, depth):
    keys, facts = ("num_hidden_layers", "scale_depth"), ("layer", "residual.depth")
    written = {"num_hidden_layers": layers, "scale_depth": depth}
    assert DEPTH.write(keys, DEPTH.read(facts, written)) == written
    neutral = DEPTH.write(keys, {"layer": layers, "residual.depth": None})
    assert neutral["scale_depth"] / layers**0.5 == 1.0
    assert DEPTH.read(facts, neutral)["residual.depth"] is None


@given(hidden=st.integers(1, 9000), base=positive, embed=positive)
def test_width_is_read_as_it_was_written(hidden, base, embed):
    keys, facts = ("hidden_size", "dim_model_base", "scale_emb"), ("hidden", "logits.base", "embed.scale")
    written = {"hidden_size": hidden, "dim_model_base": base, "scale_emb": embed}
    assert WIDTH.write(keys, WIDTH.read(facts, written)) == written
    root = WIDTH.write(keys, {"hidden": hidden, "logits.base": None, "embed.scale": "root of hidden"})
    assert root["dim_model_base"] == hidden and root["scale_emb"] ** 2 == pytest.approx(hidden)


@given(ratio=st.integers(1, 10**6) | st.sampled_from([0.5, 2.5]))
def test_a_multiple_is_read_as_it_was_written(ratio):
    via = times(10000.0)
    assert via.write(("rope_ratio",), via.read(("rope.theta",), {"rope_ratio": ratio})) == {"rope_ratio": ratio}


def test_a_multiple_that_is_not_exact_is_refused():
    via = times(10000.0)
    inexact = next(x for x in (1.1 + i for i in range(10**4)) if x / 10000.0 * 10000.0 != x)
    with pytest.raises(Inexpressible, match="rope_ratio"):
        via.write(("rope_ratio",), {"rope.theta": inexact})
    with pytest.raises(Unreadable, match="rope_ratio"):
        via.read(("rope.theta",), {"rope_ratio": -1})
