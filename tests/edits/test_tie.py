"""Untie and tie: bytes move or stay, and tensors that differ are never tied."""

import pytest
import torch
from safetensors.torch import load_file, save_file

import convert
import surgery
from convert.edits.sameness import tied_by_bits
from surgery.errors import ConversionError
from tests.goldens import golden
from tests.oracle import native_logits, same_bits, tensors
from tests.writing import write

CASES = ["llama-tied", "llama-gqa", "qwen2-tied", "qwen2", "gemma1-2b", "gemma1-2b-bf16"]


@pytest.mark.parametrize("name", CASES)
def test_untying_adds_a_copy_of_the_embeddings_and_changes_nothing_else(name, tmp_path):
    case = golden(name)
    artefact = convert.open(case.checkpoint)
    free = surgery.untie(artefact)
    if not artefact.model.facts["tied"]:
        assert free is artefact
        return
    plan = convert.plan(free, tokenizer="carry")
    assert str(plan.exactness) == "byte"
    write(plan, tmp_path / "out")
    old, found = tensors(case.checkpoint), tensors(tmp_path / "out")
    embed = next(key for key in old if key.endswith("embed_tokens.weight"))
    assert same_bits(found["lm_head.weight"], old[embed])
    assert all(same_bits(found[key], value) for key, value in old.items() if key in found)
    assert found.keys() - old.keys() <= {"lm_head.weight"}


@pytest.mark.parametrize("name", CASES)
def test_tying_gives_back_what_was_untied(name, tmp_path):
    artefact = convert.open(golden(name).checkpoint)
    if not artefact.model.facts["tied"]:
        with pytest.raises(ConversionError, match="rows differ, the first is row 0"):
            tied_by_bits(artefact)
        return
    write(convert.plan(surgery.untie(artefact), tokenizer="carry"), tmp_path / "free")
    again = tied_by_bits(convert.open(tmp_path / "free"))
    write(convert.plan(again, tokenizer="carry"), tmp_path / "tied")
    old, found = tensors(golden(name).checkpoint), tensors(tmp_path / "tied")
    assert "lm_head.weight" not in found
    assert all(same_bits(value, old[key]) for key, value in found.items())


def test_untied_logits_are_the_tied_ones(tmp_path):
    case = golden("llama-tied")
    write(convert.plan(surgery.untie(convert.open(case.checkpoint))), tmp_path / "out")
    truth = load_file(case.logits)
    assert (native_logits(tmp_path / "out", truth["input_ids"]) - truth["logits"]).abs().max() <= 1e-4


def test_one_bit_of_difference_is_told_with_its_row(tmp_path):
    write(convert.plan(surgery.untie(convert.open(golden("llama-tied").checkpoint))), tmp_path / "free")
    file = tmp_path / "free" / "model.safetensors"
    weights = load_file(file)
    bits = weights["lm_head.weight"].view(torch.int32)
    bits[17, 3] ^= 1
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(ConversionError, match="1 of 331 rows differ, the first is row 17"):
        tied_by_bits(convert.open(tmp_path / "free"))


def test_tying_what_was_just_untied_reads_nothing():
    artefact = surgery.untie(convert.open(golden("llama-tied").checkpoint))

    def unread(one: object, other: object) -> str:
        raise AssertionError("compared")

    assert surgery.tie(artefact, unread).model.facts["tied"]


def test_tying_a_tied_model_returns_it_as_it_is():
    artefact = convert.open(golden("llama-tied").checkpoint)
    assert surgery.tie(artefact, lambda one, other: "differ") is artefact
