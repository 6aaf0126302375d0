"""What holds only up to a context goes only where the context is kept to, is asked for, and is said."""

from __future__ import annotations

import json

import pytest

from convert.checkpoint import open_checkpoint
from convert.prepare import plan_conversion
from surgery.legalise import Unexpressible
from surgery.passes import PASSES
from tests.mappings.classes import config_of, saved_model

DYNAMIC = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}
LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "rope_theta": 10000.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip


def llama(folder, **keys):
    plain = {"num_key_value_heads": 4, "rms_norm_eps": 1e-5, "head_dim": 8}
    return open_checkpoint(saved_model(config_of("llama", **plain, **keys), folder))


def mistral(folder, window):
    plain = {"num_key_value_heads": 4, "rms_norm_eps": 1e-5, "head_dim": 8}
    return open_checkpoint(saved_model(config_of("mistral", sliding_window=window, **plain), folder))


def test_the_passes_that_lean_on_the_context_say_so():
    assert {p.name for p in PASSES if p.up_to_context} == {"drop-idle-window", "limit-context", "drop-dynamic-scaling"}


@pytest.mark.parametrize("target", ["yi", "baichuan", "meta", "qwen"])
def test_dynamic_scaling_is_not_dropped_without_being_asked(target, tmp_path):
    with pytest.raises(Unexpressible, match=r"rope\.scaling"):
        plan_conversion(llama(tmp_path / "in", rope_parameters=DYNAMIC), target)


@pytest.mark.parametrize("target", ["yi", "baichuan"])
def test_dynamic_scaling_costs_what_a_window_does(target, tmp_path):
    source = llama(tmp_path / "in", rope_parameters=DYNAMIC)
    with pytest.raises(Unexpressible, match="--mend limit-context"):
        plan_conversion(source, target)
    plan = plan_conversion(source, target, mends=["limit-context"])
    assert any("dynamic rope scaling" in step for step in plan.steps)
    assert json.loads(plan.documents["config.json"])["max_position_embeddings"] == 128


@pytest.mark.parametrize("source", [lambda at: llama(at, rope_parameters=DYNAMIC), lambda at: mistral(at, 64)])
def test_nothing_is_limited_by_a_target_that_cannot_say_how_long_a_text_may_be(source, tmp_path):
    with pytest.raises(Unexpressible, match=r"rope\.scaling|window") as refused:
        plan_conversion(source(tmp_path / "in"), "meta", mends=["limit-context"])
    assert "--mend" not in str(refused.value)


def test_an_idle_window_is_not_dropped_where_longer_texts_would_meet_it(tmp_path):
    source = mistral(tmp_path / "in", 128)
    assert plan_conversion(source, "llama").steps
    with pytest.raises(Unexpressible, match="window"):
        plan_conversion(source, "meta")


def test_a_mend_that_would_not_help_is_not_offered(tmp_path):
    with pytest.raises(Unexpressible) as refused:
        plan_conversion(llama(tmp_path / "in", rope_parameters=LLAMA3), "yi")
    assert "--mend" not in str(refused.value)


def test_a_context_that_shrinks_or_grows_is_said(tmp_path):
    shrunk = plan_conversion(mistral(tmp_path / "window", 64), "llama", mends=["limit-context"])
    assert any("64 tokens in the output and 128 in the source" in note for note in shrunk.notes)
    source = llama(tmp_path / "in")
    assert any("4,096 tokens in the output and 128 in the source" in note for note in plan_conversion(source, "meta").notes)
    assert not [note for note in plan_conversion(source, "mistral").notes if "tokens in the output" in note]
