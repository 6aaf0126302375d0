"""The memory table against the libraries that it speaks of: transformers' classes and caches, and peft's adapters."""

from __future__ import annotations

import json
from math import isclose
from pathlib import Path
from typing import Any

import pytest
import torch

from convert.card import make_card
from convert.checkpoint import open_checkpoint
from convert.inspection import inspect, inspection_text
from convert.prepare import plan_conversion, plan_repack
from convert.report import plan_text
from tests.goldens import golden
from tests.mappings.classes import config_of, native
from tests.memory.judge import Judged, expanded, headers, judged, parameters, without_values
from tests.oracle import transformers
from tests.published import published

#: sizes that their vendors published, beside the configs of tests/configs
SIZES: dict[str, dict[str, Any]] = {
    "mixtral-8x7b": {
        "model_type": "mixtral", "architectures": ["MixtralForCausalLM"], "hidden_size": 4096, "intermediate_size": 14336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000,
        "max_position_embeddings": 32768, "sliding_window": None, "num_local_experts": 8, "num_experts_per_tok": 2,
    },
    "deepseek-v2-lite": {
        "model_type": "deepseek_v2", "architectures": ["DeepseekV2ForCausalLM"], "hidden_size": 2048, "vocab_size": 102400,
        "intermediate_size": 10944, "moe_intermediate_size": 1408, "num_hidden_layers": 27, "num_attention_heads": 16,
        "num_key_value_heads": 16, "n_shared_experts": 2, "n_routed_experts": 64, "num_experts_per_tok": 6,
        "first_k_dense_replace": 1, "q_lora_rank": None, "kv_lora_rank": 512, "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64, "v_head_dim": 128, "max_position_embeddings": 163840,
    },
    "gemma-2-9b": {
        "model_type": "gemma2", "architectures": ["Gemma2ForCausalLM"], "hidden_size": 3584, "intermediate_size": 14336,
        "num_hidden_layers": 42, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 256, "vocab_size": 256000,
        "sliding_window": 4096, "max_position_embeddings": 8192, "query_pre_attn_scalar": 256,
    },
    "llama-4-scout": {
        "model_type": "llama4_text", "architectures": ["Llama4ForCausalLM"], "hidden_size": 5120, "intermediate_size": 8192,
        "intermediate_size_mlp": 16384, "num_hidden_layers": 48, "num_attention_heads": 40, "num_key_value_heads": 8,
        "head_dim": 128, "vocab_size": 202048, "num_local_experts": 16, "num_experts_per_tok": 1,
        "interleave_moe_layer_step": 1, "attention_chunk_size": 8192, "max_position_embeddings": 65536,
    },
}  # fmt: skip
_PUBLISHED = ("llama-2-7b", "llama-2-70b", "qwen2-72b-instruct", "mistral-7b-v0.1")
_READ = {each.name: dict(each.config) for each in published() if each.name in _PUBLISHED}


def _config(keys: dict[str, Any]) -> Any:
    return transformers().CONFIG_MAPPING[keys["model_type"]](**keys)


def _right(found: Judged) -> dict[str, float]:
    """What docs/memory.md says of each use, of the judge's counts."""
    count, kept = found.parameters, found.cache
    return {
        "inference, float32": 4 * count + 4 * kept,
        "inference, bfloat16": 2 * count + 2 * kept,
        "inference, int8": count + 2 * kept,
        "inference, int4": count / 2 + 2 * kept,
        "LoRA training, bf16 base, r = 16": 2 * count + 16 * found.adapter,
        "full training, AdamW mixed precision": 16 * count,
    }


@pytest.mark.slow
@pytest.mark.parametrize("keys", [pytest.param(keys, id=name) for name, keys in {**_READ, **SIZES}.items()])
def test_every_number_of_a_real_size_is_that_of_the_libraries(keys: dict[str, Any], tmp_path: Path) -> None:
    config = _config(keys)
    found = judged(config, config.max_position_embeddings)
    told = inspect(open_checkpoint(headers(config, tmp_path)))
    rows = {row["use"]: row for row in told["memory"]}
    assert told["parameters"] == found.parameters
    for use, total in _right(found).items():
        assert isclose(rows[use]["total"], total, rel_tol=0.01), (use, rows[use]["total"], total)
    assert rows["inference, bfloat16"]["cache"] == 2 * found.cache
    assert rows["LoRA training, bf16 base, r = 16"]["states"] == 16 * found.adapter


@pytest.mark.parametrize("kind", sorted(native()))
def test_parameters_adapters_and_caches_are_those_of_every_class(kind: str, tmp_path: Path) -> None:
    config = config_of(kind)
    for key in ("sliding_window", "attention_chunk_size"):
        if getattr(config, key, None) is not None:
            setattr(config, key, 16)
    context = min(100, config.max_position_embeddings)
    config.max_position_embeddings = context
    found = judged(config, context)
    told = inspect(open_checkpoint(headers(config, tmp_path)))
    rows = {row["use"]: row for row in told["memory"]}
    assert told["parameters"] == found.parameters
    assert rows["inference, bfloat16"]["cache"] == 2 * found.cache
    assert rows["LoRA training, bf16 base, r = 16"]["states"] == 16 * found.adapter


@pytest.mark.parametrize("kind", ["deepseek_v2", "deepseek_v3"])
def test_what_latents_become_is_told_beside_them(kind: str, tmp_path: Path) -> None:
    config = config_of(kind)
    told = inspect(open_checkpoint(headers(config, tmp_path)))
    rows = {row["use"]: row for row in told["memory"]}
    assert rows["inference, bfloat16, latents expanded"]["cache"] == 2 * expanded(config, config.max_position_embeddings)


@pytest.mark.parametrize("name", ["gpt2", "deepseek-v3-fp8", "llama-tied"])
def test_buffers_scales_and_ties_are_no_parameters(name: str) -> None:
    folder = golden(name).checkpoint
    right = parameters(without_values(transformers().AutoConfig.from_pretrained(folder)))
    told = inspect(open_checkpoint(folder))
    assert told["parameters"] == right
    assert told["elements"] >= right
    assert f"  parameters  {right:,} " in inspection_text(told)


@pytest.mark.parametrize(
    ("name", "to"),
    [("gpt2", None), ("llama-tied", "qwen2"), ("baichuan-7b", "llama"), ("chatglm3", "llama"), ("minicpm-2b", "llama")],
)
def test_a_plan_counts_the_parameters_of_what_it_writes(name: str, to: str | None, tmp_path: Path) -> None:
    plan = plan_conversion(open_checkpoint(golden(name).checkpoint), to)
    (tmp_path / "config.json").write_bytes(plan.documents["config.json"])
    right = parameters(without_values(transformers().AutoConfig.from_pretrained(tmp_path)))
    assert plan.summary()["parameters"] == right
    assert f"  parameters  {right:,}\n" in plan_text(plan)


def test_a_repack_counts_elements_alone() -> None:
    plan = plan_repack(open_checkpoint(golden("gpt2").checkpoint))
    assert plan.summary()["parameters"] is None and f"  elements    {plan.elements:,}\n" in plan_text(plan)


def test_nanogpts_one_matrix_under_two_names_counts_once() -> None:
    folder = golden("nanogpt").checkpoint
    saved = torch.load(folder / "ckpt.pt", weights_only=True)["model"]
    assert torch.equal(saved["lm_head.weight"], saved["transformer.wte.weight"])
    once = [value.numel() for name, value in saved.items() if value.dim() < 4 and name != "lm_head.weight"]  # 4: the masks
    assert inspect(open_checkpoint(folder))["parameters"] == sum(once)


def test_a_card_counts_as_the_inspection_does(tmp_path: Path) -> None:
    folder = golden("gpt2").checkpoint
    right = parameters(without_values(transformers().AutoConfig.from_pretrained(folder)))
    assert f"{right:,} parameters (" in make_card(folder, folder).text


def test_files_of_no_known_family_are_counted_in_elements(tmp_path: Path) -> None:
    folder = headers(config_of("llama"), tmp_path)
    config = (folder / "config.json").read_text().replace("LlamaForCausalLM", "OtherForCausalLM").replace('"llama"', '"other"')
    (folder / "config.json").write_text(config)
    told = inspect(open_checkpoint(folder))
    assert told["family"] is None and told["parameters"] is None
    assert told["elements"] == parameters(without_values(config_of("llama")))
    assert f"  elements    {told['elements']:,} in " in inspection_text(told)


@pytest.mark.parametrize("length", ["wide", -1, 0, 2.5, True, [1], 10**18])
def test_a_chunk_of_no_length_is_refused_by_its_key(length: Any, tmp_path: Path) -> None:
    folder = headers(config_of("llama4_text"), tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "attention_chunk_size": length}))
    told = inspect(open_checkpoint(folder))
    assert "attention_chunk_size" in told["problem"] and "memory" not in told
