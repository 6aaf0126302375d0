"""Adapters that change an end of a tied model: peft's unmerged forward is the judge, the verifier and the witness agree."""

import json
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

import convert
import surgery
from convert.edits.lora import merge_lora
from surgery.errors import ConversionError
from tests.edits.adapters import load, written
from tests.goldens import golden
from tests.oracle import native_logits, tensors
from tests.writing import write

BASE = golden("llama-tied").checkpoint
IDS = torch.arange(3, 43).reshape(2, 20)
ROWS = tensors(BASE)["model.embed_tokens.weight"].shape[0]


@dataclass(frozen=True)
class Kind:
    """What is trained, on how many rows, and whether the output is tied."""

    tied: bool
    rows: int = ROWS
    options: dict[str, Any] = field(default_factory=dict)


KINDS = {
    "whole embeddings": Kind(False, options={"modules_to_save": ["embed_tokens"]}),
    "a whole output projection": Kind(False, options={"modules_to_save": ["lm_head"]}),
    "both whole": Kind(False, options={"modules_to_save": ["embed_tokens", "lm_head"]}),
    "both whole, trained as one": Kind(
        True, options={"modules_to_save": ["embed_tokens", "lm_head"], "ensure_weight_tying": True}
    ),
    "a product on the embeddings": Kind(False, options={"target_modules": ["embed_tokens"]}),
    "a product on the output projection": Kind(False, options={"target_modules": ["lm_head"]}),
    "products on both": Kind(False, options={"target_modules": ["embed_tokens", "lm_head"]}),
    "whole embeddings with more tokens": Kind(False, ROWS + 5, {"modules_to_save": ["embed_tokens"]}),
    "more tokens": Kind(True, ROWS + 5),
    "fewer tokens": Kind(True, ROWS - 7),
    "a product on embeddings with fewer tokens": Kind(False, ROWS - 7, {"target_modules": ["embed_tokens"]}),
    "some rows": Kind(True, options={"trainable_token_indices": [9, 4, 30]}),
    "some rows of more tokens": Kind(True, ROWS + 5, {"trainable_token_indices": [9, ROWS + 2]}),
    "rows of both, each its own": Kind(False, options={"trainable_token_indices": {"embed_tokens": [5], "lm_head": [7]}}),
    "DoRA": Kind(True, options={"use_dora": True}),
    "DoRA on the embeddings": Kind(False, options={"use_dora": True, "target_modules": ["embed_tokens", "up_proj"]}),
}


def trained(folder: Path, kind: Kind) -> torch.Tensor:
    """An adapter of a kind as peft saves it, and the logits of what peft reads back, unmerged."""
    import peft

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(3)
        model = load(BASE)
        if kind.rows != ROWS:
            model.resize_token_embeddings(kind.rows, mean_resizing=False)
        told = {"r": 4, "lora_alpha": 6, "task_type": "CAUSAL_LM", "target_modules": ["q_proj"], **kind.options}
        model = peft.get_peft_model(model, peft.LoraConfig(**told))
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.data += torch.randn_like(parameter) * (0.05 if "lora" in name else 0.2)
        model.save_pretrained(folder)
        again = load(BASE)
        if kind.rows != ROWS:
            again.resize_token_embeddings(kind.rows, mean_resizing=False)
        with torch.inference_mode():
            return peft.PeftModel.from_pretrained(again, str(folder)).eval()(IDS).logits


@pytest.mark.parametrize("kind", KINDS)
def test_the_merge_is_what_peft_computes_with_the_adapter_on_the_tied_base(kind, tmp_path):
    truth = trained(tmp_path / "adapter", KINDS[kind])
    plan = convert.plan(merge_lora(convert.open(BASE), tmp_path / "adapter"))
    done = write(plan, tmp_path / "out")
    assert done.verdict is not None and done.verdict.passed
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["vocab_size"], config["tie_word_embeddings"]) == (KINDS[kind].rows, KINDS[kind].tied)
    assert ("lm_head.weight" in tensors(tmp_path / "out")) is not KINDS[kind].tied
    assert any("untied" in step for step in plan.steps) is not KINDS[kind].tied
    assert (native_logits(tmp_path / "out", IDS) - truth).abs().max() <= 2e-4 * max(1.0, truth.abs().max())


@pytest.mark.parametrize("kind", ["whole embeddings", "a product on the output projection", "more tokens", "some rows"])
def test_a_base_untied_before_by_the_same_run_gives_the_same_function_and_verifies(kind, tmp_path):
    truth = trained(tmp_path / "adapter", KINDS[kind])
    artefact = merge_lora(surgery.untie(convert.open(BASE)), tmp_path / "adapter")
    done = write(convert.plan(artefact), tmp_path / "out")
    assert done.verdict is not None and done.verdict.passed
    assert "lm_head.weight" in tensors(tmp_path / "out")
    assert (native_logits(tmp_path / "out", IDS) - truth).abs().max() <= 2e-4 * max(1.0, truth.abs().max())


def test_the_verifier_sees_a_head_that_follows_embeddings_which_it_must_not(tmp_path):
    from convert.verified import verifier

    trained(tmp_path / "adapter", KINDS["whole embeddings"])
    plan = convert.plan(merge_lora(convert.open(BASE), tmp_path / "adapter"))
    write(plan, tmp_path / "out", verify="off")
    check = verifier(plan, "full", witness="off")
    assert check is not None and check(tmp_path / "out").passed
    from safetensors.torch import load_file, save_file

    weights = load_file(tmp_path / "out" / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    save_file(weights, tmp_path / "out" / "model.safetensors", metadata={"format": "pt"})
    assert not check(tmp_path / "out").passed


def test_more_embeddings_without_an_output_projection_are_incomplete(tmp_path):
    more = torch.randn(ROWS + 3, tensors(BASE)["model.embed_tokens.weight"].shape[1])
    folder = written(tmp_path / "adapter", {"model.embed_tokens.weight": more}, modules_to_save=["embed_tokens"])
    with pytest.raises(ConversionError, match=r"holds no lm_head\.weight of its own: it is incomplete"):
        merge_lora(convert.open(BASE), folder)


def test_one_matrix_of_a_resized_base_is_both_ends(tmp_path):
    more = torch.randn(ROWS + 3, tensors(BASE)["model.embed_tokens.weight"].shape[1])
    folder = written(tmp_path / "adapter", {"lm_head.weight": more})
    write(convert.plan(merge_lora(convert.open(BASE), folder)), tmp_path / "out")
    assert torch.equal(tensors(tmp_path / "out")["model.embed_tokens.weight"], more)


def test_ends_that_are_said_to_be_one_and_differ_are_refused(tmp_path):
    old = tensors(BASE)["model.embed_tokens.weight"]
    parts = {"model.embed_tokens.weight": old + 1, "lm_head.weight": old + 2}
    folder = written(tmp_path / "adapter", parts, modules_to_save=["embed_tokens"], ensure_weight_tying=True)
    with pytest.raises(ConversionError, match="trained as one, and the adapter holds two that differ"):
        merge_lora(convert.open(BASE), folder)


def test_mirrored_products_on_both_ends_stay_one(tmp_path):
    vocab, hidden = tensors(BASE)["model.embed_tokens.weight"].shape
    torch.manual_seed(2)
    a, b = torch.randn(4, vocab), torch.randn(hidden, 4)
    parts = {
        "model.embed_tokens.lora_embedding_A": a, "model.embed_tokens.lora_embedding_B": b,
        "lm_head.lora_A.weight": b.T.contiguous(), "lm_head.lora_B.weight": a.T.contiguous(),
    }  # fmt: skip
    folder = written(tmp_path / "adapter", parts, ensure_weight_tying=True)
    done = write(convert.plan(merge_lora(convert.open(BASE), folder)), tmp_path / "out")
    assert done.verdict is not None and done.verdict.passed
    assert "lm_head.weight" not in tensors(tmp_path / "out")


def test_the_tying_of_an_untied_base_is_nothing(tmp_path):
    base = golden("llama-gqa").checkpoint
    old = tensors(base)["lm_head.weight"]
    parts = {"model.embed_tokens.weight": old + 1, "lm_head.weight": old + 2}
    folder = written(tmp_path / "adapter", parts, modules_to_save=["embed_tokens"], ensure_weight_tying=True)
    write(convert.plan(merge_lora(convert.open(base), folder)), tmp_path / "out")
    assert torch.equal(tensors(tmp_path / "out")["lm_head.weight"], old + 2)


def test_the_option_writes_what_stays_equal_apart(tmp_path, capsys):
    from convert.cli.running import run
    from convert.cli.surgery import cli

    trained(tmp_path / "adapter", KINDS["more tokens"])
    words = ["merge-lora", str(BASE), str(tmp_path / "out"), "--adapter", str(tmp_path / "adapter"), "--untie"]
    assert run(cli, "surgery", words) == 0, capsys.readouterr().err
    found = tensors(tmp_path / "out")
    assert torch.equal(found["lm_head.weight"], found["model.embed_tokens.weight"])
