"""Aquila 2: Llama under another name."""

from __future__ import annotations

import pytest

from tests.goldens import golden
from tests.mappings.pairs import converted, logits_apart, same_tensors


@pytest.mark.parametrize("target", ["llama", "mistral", "phi3", "qwen2"])
def test_aquila_keeps_the_vendors_logits_and_comes_back(target, tmp_path):
    source = golden("aquila2-7b").checkpoint
    plan = converted(source, target, tmp_path / "there")
    assert str(plan.exactness) == "byte"
    assert logits_apart("aquila2-7b", tmp_path / "there") <= 1e-4
    converted(tmp_path / "there", "aquila", tmp_path / "back")
    assert same_tensors(tmp_path / "back", source)


@pytest.mark.parametrize("name", ["llama-gqa", "llama-tied", "mistral"])
def test_others_become_aquila_and_come_back(name, tmp_path):
    source = golden(name).checkpoint
    plan = converted(source, "aquila", tmp_path / "aquila")
    converted(tmp_path / "aquila", plan.source, tmp_path / "back")
    assert same_tensors(tmp_path / "back", source)
