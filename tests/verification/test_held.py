"""What an output is held to: the types of each stage's own tensors, every token, rows that nobody has a counterpart of."""

import os
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

import convert
from convert.checkpoint import open_checkpoint
from convert.edits.lora import merge_lora
from convert.verification.asked import Asked
from tests.edits.adapters import written
from tests.goldens import golden
from tests.verification.test_run import Tensors, judged, narrowed, unchanged
from tests.writing import write

EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"
_NOISE = 1e-3


def noisy(tensors: Tensors, config: dict[str, Any], relative: float = _NOISE) -> None:
    """Every matrix times 1 + noise."""
    random = torch.Generator().manual_seed(9)
    for name, tensor in tensors.items():
        if tensor.dim() == 2:
            tensors[name] = tensor * (1 + relative * torch.randn(tensor.shape, generator=random))


@pytest.mark.parametrize(("kind", "relative"), [(torch.bfloat16, 1e-3), (torch.float16, 2e-4)])
def test_a_stray_narrow_tensor_that_nothing_reads_loosens_nothing(kind: torch.dtype, relative: float):
    def stray(tensors: Tensors, config: dict[str, Any]) -> None:
        noisy(tensors, config, relative)
        tensors["model.evil.weight"] = torch.ones(4, dtype=kind)

    verdict = judged("llama-gqa", stray, exactness="algebraic")
    assert not verdict.passed and verdict.first_divergence == "embedding"
    assert verdict.tolerance.stored == pytest.approx(0.42 * 2.0**-24)


def test_a_narrow_tensor_of_one_stage_loosens_no_other():
    def one_stage(tensors: Tensors, config: dict[str, Any]) -> None:
        name = "model.layers.0.input_layernorm.weight"
        tensors[name] = tensors[name].to(torch.bfloat16)
        name = "model.layers.2.mlp.up_proj.weight"
        tensors[name] = tensors[name] * (1 + 1e-3 * torch.randn(tensors[name].shape))

    verdict = judged("llama-gqa", one_stage, exactness="algebraic")
    bounds = {stage.label: stage.allowed for stage in verdict.stages}
    assert verdict.first_divergence == "layer 2 mlp"
    assert bounds["layer 0 attention"] > 100 * bounds["layer 0 mlp"]


def test_a_narrower_type_than_the_sources_is_allowed_only_where_somebody_says_so():
    assert judged("llama-gqa", narrowed, exactness="algebraic").passed
    told = judged("llama-gqa", narrowed, exactness="algebraic", asked=Asked(narrower=False))
    assert not told.passed
    assert [finding.fact for finding in told.findings if finding.status == "fails"] == ["stored types"]
    assert "--exactness approximate" in told.findings[0].because


def test_a_narrower_type_that_loses_nothing_is_no_difference():
    assert judged("llama-gqa-bf16", unchanged, exactness="algebraic", asked=Asked(narrower=False)).passed

    def widened(tensors: Tensors, config: dict[str, Any]) -> None:
        for name, tensor in tensors.items():
            tensors[name] = tensor.float()

    assert judged("llama-gqa-bf16", widened, exactness="algebraic", asked=Asked(narrower=False)).passed


def cut(tensors: Tensors, config: dict[str, Any]) -> None:
    config["vocab_size"] = 100
    for name in (EMBED, HEAD):
        tensors[name] = tensors[name][:100]


def further(factor: float) -> Any:
    def edit(tensors: Tensors, config: dict[str, Any]) -> None:
        config["vocab_size"] += 8
        for name in (EMBED, HEAD):
            tensors[name] = torch.cat((tensors[name], factor * tensors[name][5:13]))

    return edit


def outsized_embedding(tensors: Tensors, config: dict[str, Any]) -> None:
    config["vocab_size"] += 8
    tensors[EMBED] = torch.cat((tensors[EMBED], 50 * tensors[EMBED][5:13]))
    tensors[HEAD] = torch.cat((tensors[HEAD], torch.zeros(8, tensors[HEAD].shape[1])))


def status(verdict: Any) -> dict[str, str]:
    return {finding.fact: finding.status for finding in verdict.findings}


def test_tokens_that_are_gone_fail_by_name_unless_asked_for():
    verdict = judged("llama-mha", cut)
    assert not verdict.passed and verdict.first_divergence == "config: tokens that are gone"
    assert "157 tokens" in verdict.findings[0].source
    asked = judged("llama-mha", cut, asked=Asked(gone="trim-vocab was asked for"))
    assert asked.passed and status(asked) == {"tokens that are gone": "explained"}


@pytest.mark.parametrize("mode", ["full", "quick"])
@pytest.mark.parametrize("edit", [further(50.0), outsized_embedding], ids=["they win", "outsized"])
def test_further_rows_that_win_or_are_outsized_fail_by_name_unless_asked_for(edit: Any, mode: str):
    verdict = judged("llama-mha", edit, mode=mode, size=1 << 40)
    assert not verdict.passed and verdict.first_divergence == "config: further tokens"
    asked = judged("llama-mha", edit, mode=mode, size=1 << 40, asked=Asked(further="extend-vocab was asked for"))
    assert asked.passed and status(asked) == {"further tokens": "warns"}


@pytest.mark.parametrize("name", [EMBED, HEAD])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_further_rows_that_are_no_numbers_fail_though_asked_for(name: str, value: float):
    def edit(tensors: Tensors, config: dict[str, Any]) -> None:
        further(0.0)(tensors, config)
        tensors[name][-1, 3] = value

    verdict = judged("llama-mha", edit, asked=Asked(further="extend-vocab was asked for"))
    assert not verdict.passed and "no numbers" in verdict.findings[0].because


def test_further_rows_that_never_win_are_said_to_be_compared_with_nothing():
    verdict = judged("llama-mha", further(0.0))
    assert verdict.passed and status(verdict) == {"further tokens": "warns"}
    assert "compared with nothing" in verdict.findings[0].because


@pytest.mark.parametrize("name", ["llama-gqa", "llama-gqa-bf16"])
@pytest.mark.parametrize("alpha", [777.0, 3.3e3, 5.3e6, 7.77e8])
def test_an_absurdly_large_adapter_does_not_fail_a_true_merge(name: str, alpha: float, tmp_path: Path):
    """Its scores are so large that one rounding decides where a softmax looks."""
    base = open_checkpoint(golden(name).checkpoint)
    random = torch.Generator().manual_seed(0)
    tensors = {}
    for layer in range(3):
        for part in ("q_proj", "k_proj"):
            at = f"model.layers.{layer}.self_attn.{part}"
            rows, columns = base.tensors[f"{at}.weight"].shape
            tensors[f"{at}.lora_A.weight"] = 0.1 * torch.randn(4, columns, generator=random)
            tensors[f"{at}.lora_B.weight"] = 0.1 * torch.randn(rows, 4, generator=random)
    adapter = written(tmp_path / "adapter", tensors, lora_alpha=alpha, target_modules=["q_proj", "k_proj"])
    plan = convert.plan(merge_lora(convert.open(base.path), adapter))
    with mock.patch.dict(os.environ, {"WEIGHTSMITH_WITNESS": "off"}):
        assert write(plan, tmp_path / "out").verdict.passed  # type: ignore[union-attr]
