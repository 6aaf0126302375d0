"""Mistral: to Llama and back, and its window, which Llama has not."""

from __future__ import annotations

import shutil

import pytest

from mappings.config import read_facts
from mappings.mistral import MISTRAL
from surgery.legalise import Unexpressible
from tests.goldens import golden
from tests.mappings.pairs import config_of, converted, logits_apart, same_tensors
from tests.oracle import transformers


@pytest.mark.parametrize(("name", "there"), [("mistral", "llama"), ("mistral", "qwen2"), ("llama-gqa", "mistral")])
def test_mistral_and_its_kin_become_each_other_and_come_back(name, there, tmp_path):
    source = golden(name).checkpoint
    plan = converted(source, there, tmp_path / "there")
    assert str(plan.exactness) == "byte"
    assert logits_apart(name, tmp_path / "there") <= 1e-4
    converted(tmp_path / "there", plan.source, tmp_path / "back")
    assert same_tensors(tmp_path / "back", source)


@pytest.mark.parametrize("target", ["llama", "aquila"])
def test_a_window_is_refused_where_there_is_none(target, tmp_path):
    with pytest.raises(Unexpressible, match=r"window +16") as refused:
        converted(golden("mistral-sliding-window").checkpoint, target, tmp_path / "out")
    assert [r.fact for r in refused.value.refusals] == ["window"]
    assert "--mend limit-context" in str(refused.value)


@pytest.mark.parametrize("target", ["mistral", "qwen2", "phi3"])
def test_a_window_stays_where_it_can(target, tmp_path):
    converted(golden("mistral-sliding-window").checkpoint, target, tmp_path / "out")
    assert config_of(tmp_path / "out")["sliding_window"] == 16
    assert logits_apart("mistral-sliding-window", tmp_path / "out") <= 1e-4


def test_up_to_its_window_mistral_is_llama(tmp_path):
    name = "mistral-sliding-window"
    plan = converted(golden(name).checkpoint, "llama", tmp_path / "out", mends=["limit-context"])
    assert str(plan.exactness) == "byte"
    assert config_of(tmp_path / "out")["max_position_embeddings"] == 16
    assert logits_apart(name, tmp_path / "out", first=16) <= 1e-4 < logits_apart(name, tmp_path / "out", first=17)


def test_a_window_as_long_as_the_context_does_nothing(tmp_path):
    shutil.copytree(golden("mistral-sliding-window").checkpoint, tmp_path / "in")
    text = (tmp_path / "in" / "config.json").read_text().replace("32768", "16")
    (tmp_path / "in" / "config.json").write_text(text)
    converted(tmp_path / "in", "llama", tmp_path / "out")
    assert logits_apart("mistral-sliding-window", tmp_path / "out", first=16) <= 1e-4


@pytest.mark.parametrize("stated", [{}, {"sliding_window": None}, {"sliding_window": 5}])
def test_a_missing_window_is_not_a_null_one(stated):
    base = {k: v for k, v in config_of(golden("mistral").checkpoint).items() if k != "sliding_window"}
    theirs = transformers().MistralConfig(**base, **stated).sliding_window
    assert read_facts(MISTRAL, {**base, **stated})["window"] == theirs


@pytest.mark.parametrize("stated", [{}, {"num_key_value_heads": 3}])
def test_missing_key_value_heads_are_eight(stated):
    base = {**config_of(golden("mistral").checkpoint), "num_attention_heads": 24}
    del base["num_key_value_heads"]
    theirs = transformers().MistralConfig(**base, **stated).num_key_value_heads
    assert read_facts(MISTRAL, {**base, **stated})["kv"] == theirs
