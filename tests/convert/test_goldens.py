"""Golden checkpoints converted, and judged by the vendors' logits, by transformers' classes and by bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from convert.checkpoint import open_checkpoint
from convert.prepare import plan_conversion
from surgery.legalise import Unexpressible
from tests.goldens import golden
from tests.oracle import native_logits, same_bits, tensors
from tests.writing import write

#: case -> (class, largest difference of logits allowed through transformers' own Llama)
TO_LLAMA = {
    "baichuan-7b": ("byte", 1e-4),
    "baichuan-7b-bf16": ("byte", 1e-4),
    "baichuan2-7b": ("algebraic", 1e-4),
    "baichuan2-7b-bf16": ("algebraic", 0.01),
    "yi-6b": ("byte", 1e-4),
    "yi-6b-bf16": ("byte", 1e-4),
    "internlm2-7b": ("byte", 1e-4),
    "llama-attention-bias": ("byte", 1e-4),
    "llama-gqa": ("byte", 1e-4),
    "llama-gqa-bf16": ("byte", 1e-4),
    "llama-mha": ("byte", 1e-4),
    "llama-rope-llama3": ("byte", 1e-4),
    "llama-tied": ("byte", 1e-4),
}


def converted(source: Path, to: str, out: Path, **options) -> Path:
    plan = plan_conversion(open_checkpoint(source), to, **options)
    write(plan, out)
    return out


@pytest.mark.parametrize("name", TO_LLAMA)
def test_a_golden_checkpoint_becomes_llama_with_the_vendors_logits(name, tmp_path):
    exactness, allowed = TO_LLAMA[name]
    case = golden(name)
    plan = plan_conversion(open_checkpoint(case.checkpoint), "llama")
    assert str(plan.exactness) == exactness
    write(plan, tmp_path / "out")
    truth = load_file(case.logits)
    difference = (native_logits(tmp_path / "out", truth["input_ids"]) - truth["logits"]).abs().max().item()
    assert difference <= allowed


@pytest.mark.parametrize("name", [name for name, (exactness, _) in TO_LLAMA.items() if exactness == "byte"])
def test_the_inverse_of_a_byte_conversion_gives_back_every_tensor(name, tmp_path):
    case = golden(name)
    source = tensors(case.checkpoint)
    family = plan_conversion(open_checkpoint(case.checkpoint), "llama").source.partition("-")[0]
    llama = converted(case.checkpoint, "llama", tmp_path / "llama")
    back = tensors(converted(llama, family, tmp_path / "back"))
    buffers = {name for name in source if name.endswith("inv_freq")}
    assert back.keys() == source.keys() - buffers
    assert all(same_bits(back[name], source[name]) for name in back)


@pytest.mark.parametrize("name", ["baichuan-7b", "baichuan-7b-bf16"])
def test_every_byte_of_a_baichuan_conversion_is_the_sources_byte(name, tmp_path):
    source = tensors(golden(name).checkpoint)
    for key, tensor in tensors(converted(golden(name).checkpoint, "llama", tmp_path / "out")).items():
        third = next((i for i, part in enumerate("qkv") if f".{part}_proj." in key), None)
        if third is None:
            assert same_bits(tensor, source[key])
        else:
            packed = source[key.replace(f"{'qkv'[third]}_proj", "W_pack")]
            assert same_bits(tensor, packed.chunk(3)[third])


def test_norm_head_is_closer_than_normalising_in_bf16(tmp_path):
    case = golden("baichuan2-7b-bf16")
    truth = load_file(case.logits)
    out = converted(case.checkpoint, "llama", tmp_path / "out")
    ours = (native_logits(out, truth["input_ids"]) - truth["logits"]).abs().max().item()
    written = load_file(out / "model.safetensors")
    written["lm_head.weight"] = torch.nn.functional.normalize(tensors(case.checkpoint)["lm_head.weight"])
    from safetensors.torch import save_file

    save_file(written, out / "model.safetensors", metadata={"format": "pt"})
    theirs = (native_logits(out, truth["input_ids"]) - truth["logits"]).abs().max().item()
    assert ours < 0.01 < theirs


@pytest.mark.parametrize("name", ["baichuan-13b", "baichuan2-13b"])
def test_alibi_is_refused_with_the_key_that_shows_it(name, tmp_path):
    with pytest.raises(Unexpressible) as refused:
        plan_conversion(open_checkpoint(golden(name).checkpoint), "llama")
    assert "alibi" in str(refused.value)
    assert "model_max_length" in str(refused.value)


@pytest.mark.parametrize("name", ["baichuan2-7b", "llama-tied", "internlm2-7b"])
def test_a_conversion_is_verified_before_it_appears(name, tmp_path):
    plan = plan_conversion(open_checkpoint(golden(name).checkpoint), "llama", max_shard_size=200_000)
    done = write(plan, tmp_path / "out")
    assert done.verdict is not None and done.verdict.passed
    assert json.loads((tmp_path / "out" / "weightsmith.json").read_text())["verification"]["verdict"] == "passed"


@pytest.mark.parametrize("target", ["llama", "yi", "internlm2"])
@pytest.mark.parametrize("name", ["llama-gqa", "llama-tied", "yi-6b", "internlm2-7b"])
def test_pairs_that_share_an_architecture_keep_the_function(name, target, tmp_path):
    plan = plan_conversion(open_checkpoint(golden(name).checkpoint), target)
    done = write(plan, tmp_path / "out")
    assert str(plan.exactness) == "byte"
    assert done.verdict is not None and done.verdict.passed


def test_shards_carry_the_hubs_names_and_an_index_that_adds_up(tmp_path):
    plan = plan_conversion(open_checkpoint(golden("llama-gqa").checkpoint), "llama", max_shard_size=300_000)
    write(plan, tmp_path / "out")
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    shards = sorted(p.name for p in (tmp_path / "out").glob("*.safetensors"))
    count = len(shards)
    assert count > 2
    assert shards == [f"model-{i:05d}-of-{count:05d}.safetensors" for i in range(1, count + 1)]
    held = {name: file for file in shards for name in load_file(tmp_path / "out" / file)}
    assert index["weight_map"] == held
    all_ = tensors(tmp_path / "out")
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in all_.values())
    assert index["metadata"]["total_parameters"] == sum(t.numel() for t in all_.values())


def test_casting_rounds_once_as_torch_does(tmp_path):
    case = golden("internlm2-7b")
    whole = tensors(converted(case.checkpoint, "llama", tmp_path / "whole"))
    half = tensors(converted(case.checkpoint, "llama", tmp_path / "half", dtype="bfloat16"))
    assert all(same_bits(half[name], whole[name].to(torch.bfloat16)) for name in whole)
    config = json.loads((tmp_path / "half" / "config.json").read_text())
    assert config["dtype"] == config["torch_dtype"] == "bfloat16"
