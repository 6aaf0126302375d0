"""Merging adapters: the goldens, and peft itself on a random adapter of every kind that is supported."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import convert
from convert.edits.lora import merge_lora
from surgery.errors import ConversionError, UsageError
from tests.edits.adapters import trained, ulps, written
from tests.goldens import golden, goldens
from tests.oracle import native_logits, same_bits, tensors
from tests.writing import write

LORAS = [case.name for case in goldens("lora-")]
LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

#: kind -> (golden whose checkpoint is the base, options of peft's LoraConfig)
KINDS = {
    "names": ("llama-gqa", {"target_modules": LINEARS}),
    "regex": ("llama-gqa", {"target_modules": r".*layers\.[01]\..*(q|v|down)_proj"}),
    "all-linear": ("llama-gqa", {"target_modules": "all-linear"}),
    "rank-stabilised": ("llama-gqa", {"target_modules": LINEARS, "use_rslora": True}),
    "ranks by name": (
        "llama-gqa",
        {
            "target_modules": LINEARS,
            "rank_pattern": {"q_proj": 7, r"layers\.1\.mlp\.up_proj": 2},
            "alpha_pattern": {"down_proj": 3, r"^model.layers.0.self_attn.v_proj": 11},
        },
    ),
    "embeddings": ("llama-gqa", {"target_modules": ["embed_tokens", "q_proj"]}),
    "output projection": ("llama-gqa", {"target_modules": ["lm_head", "v_proj"]}),
    "whole modules": ("llama-gqa", {"target_modules": ["q_proj"], "modules_to_save": ["lm_head", "embed_tokens"]}),
    "whole norms": ("llama-gqa", {"target_modules": ["q_proj"], "modules_to_save": ["input_layernorm", "norm"]}),
    "all biases": ("llama-attention-bias", {"target_modules": LINEARS, "bias": "all"}),
    "biases of LoRA's modules": ("llama-attention-bias", {"target_modules": ["q_proj", "v_proj"], "bias": "lora_only"}),
    "biases of products": ("llama-attention-bias", {"target_modules": ["q_proj", "k_proj"], "lora_bias": True}),
    "some layers": ("llama-gqa", {"target_modules": LINEARS, "layers_to_transform": [1]}),
    "gaussian start": ("llama-mha", {"target_modules": LINEARS, "init_lora_weights": "gaussian"}),
    "Conv1D": ("gpt2", {"target_modules": ["c_attn", "c_proj", "c_fc"], "fan_in_fan_out": True}),
}


def merged(base: Path, adapters: list[Path], out: Path, **options) -> Path:
    artefact = convert.open(base)
    for adapter in adapters:
        artefact = merge_lora(artefact, adapter, **options)
    write(convert.plan(artefact, tokenizer="carry"), out)
    return out


@pytest.mark.parametrize("name", LORAS)
def test_a_golden_adapter_merges_as_peft_merges_it(name, tmp_path):
    case = golden(name)
    out = merged(case.checkpoint / "base", [case.checkpoint / "adapter"], tmp_path / "out")
    truth, found = load_file(case.logits), tensors(out)
    expected = {key.removeprefix("merged::"): value for key, value in truth.items() if key.startswith("merged::")}
    assert len(expected) == 2
    assert all(ulps(found[key], value) <= 1 for key, value in expected.items())
    logits = native_logits(out, truth["input_ids"])
    assert (logits - truth["logits_merged"]).abs().max() <= 1e-4
    assert (logits - truth["logits"]).abs().max() <= 5e-4


@pytest.mark.parametrize("kind", KINDS)
def test_peft_agrees_on_a_random_adapter(kind, tmp_path):
    name, options = KINDS[kind]
    base = golden(name).checkpoint
    ids = load_file(golden(name).logits)["input_ids"]
    truth = trained(base, tmp_path / "adapter", ids, **options)
    found = tensors(merged(base, [tmp_path / "adapter"], tmp_path / "out"))
    assert found.keys() <= truth.merged.keys()
    assert max(ulps(value, truth.merged[key]) for key, value in found.items()) <= 2
    old = {key if key in found else f"transformer.{key}": value for key, value in tensors(base).items()}
    assert any(not same_bits(value, old[key]) for key, value in found.items() if key in old)
    assert (native_logits(tmp_path / "out", ids) - truth.logits).abs().max() <= 5e-4


def test_a_torch_file_and_a_safetensors_file_of_one_adapter_merge_alike(tmp_path):
    case = golden("lora-qv-only")
    adapter = case.checkpoint / "adapter"
    state = torch.load(adapter / "adapter_model.bin", weights_only=True)
    safe = tmp_path / "safe"
    safe.mkdir()
    (safe / "adapter_config.json").write_text((adapter / "adapter_config.json").read_text())
    save_file({key: value.contiguous() for key, value in state.items()}, safe / "adapter_model.safetensors")
    one = tensors(merged(case.checkpoint / "base", [adapter], tmp_path / "one"))
    other = tensors(merged(case.checkpoint / "base", [safe], tmp_path / "other"))
    assert all(same_bits(one[key], other[key]) for key in one)


def test_several_weighted_adapters_are_one_sum_rounded_once(tmp_path):
    base = golden("llama-gqa-bf16").checkpoint
    torch.manual_seed(4)
    name = "model.layers.1.mlp.up_proj"
    weight = tensors(base)[f"{name}.weight"].double()
    parts, expected = [], weight.clone()
    for at, share in enumerate((0.7, -0.4)):
        a, b = torch.randn(4, weight.shape[1]) * 0.1, torch.randn(weight.shape[0], 4) * 0.1
        parts.append((written(tmp_path / f"a{at}", {f"{name}.lora_A.weight": a, f"{name}.lora_B.weight": b}), share))
        expected += share * 2.0 * (b.double() @ a.double())
    artefact = convert.open(base)
    for folder, share in parts:
        artefact = merge_lora(artefact, folder, weight=share)
    write(convert.plan(artefact), tmp_path / "out")
    found = tensors(tmp_path / "out")[f"{name}.weight"]
    once = expected.to(torch.bfloat16)
    near = (found.double() - expected).abs() <= (once.double() - expected).abs() * 1.01 + 1e-7
    assert found.dtype == torch.bfloat16
    assert near.all()


def test_subtracting_takes_an_adapter_out_again(tmp_path):
    case = golden("lora-qv-only")
    base, adapter = case.checkpoint / "base", case.checkpoint / "adapter"
    whole = merged(base, [adapter], tmp_path / "whole")
    back = tensors(merged(whole, [adapter], tmp_path / "back", subtract=True))
    assert max(ulps(back[key], value) for key, value in tensors(base).items()) <= 64
    assert any(not same_bits(value, back[key]) for key, value in tensors(whole).items())


def test_an_adapter_of_a_fused_projection_merges_before_the_conversion(tmp_path):
    base = golden("baichuan-7b").checkpoint
    weights = tensors(base)
    torch.manual_seed(5)
    name = "model.layers.1.self_attn.W_pack"
    rows, columns = weights[f"{name}.weight"].shape
    a, b = torch.randn(4, columns), torch.randn(rows, 4)
    adapter = written(tmp_path / "adapter", {f"{name}.lora_A.weight": a, f"{name}.lora_B.weight": b})
    artefact = merge_lora(convert.open(base, variant="7b"), adapter)
    done = write(convert.plan(artefact, "llama"), tmp_path / "out")
    assert done.verdict is not None and done.verdict.passed
    expected = torch.addmm(weights[f"{name}.weight"], b, a, alpha=2.0).chunk(3)
    found = tensors(tmp_path / "out")
    for third, part in zip("qkv", expected, strict=True):
        assert ulps(found[f"model.layers.1.self_attn.{third}_proj.weight"], part) <= 1


@pytest.mark.parametrize("name, module", [
    ("internlm2-7b", "model.layers.0.attention.wqkv"),
    ("chatglm3", "transformer.encoder.layers.0.self_attention.query_key_value"),
    ("glm4-9b-chat", "transformer.encoder.layers.1.mlp.dense_h_to_4h"),
    ("qwen-7b", "transformer.h.0.attn.c_attn"),
])  # fmt: skip
def test_adapters_of_grouped_projections_verify_as_llama(name, module, tmp_path):
    base = golden(name).checkpoint
    rows, columns = tensors(base)[f"{module}.weight"].shape
    torch.manual_seed(6)
    parts = {f"{module}.lora_A.weight": torch.randn(4, columns) * 0.3, f"{module}.lora_B.weight": torch.randn(rows, 4) * 0.3}
    artefact = merge_lora(convert.open(base), written(tmp_path / "adapter", parts))
    done = write(convert.plan(artefact, "llama", tokenizer="carry"), tmp_path / "out")
    assert done.verdict is not None and done.verdict.passed


def test_the_verifier_notices_an_adapter_that_was_merged_with_another_factor(tmp_path):
    from convert.verified import verifier

    case = golden("lora-qv-only")
    plan = convert.plan(merge_lora(convert.open(case.checkpoint / "base"), case.checkpoint / "adapter"))
    write(plan, tmp_path / "out", verify="off")
    check = verifier(plan, "full")
    assert check is not None and check(tmp_path / "out").passed
    weights = load_file(tmp_path / "out" / "model.safetensors")
    old = tensors(case.checkpoint / "base")
    for key, value in weights.items():
        weights[key] = old[key] + 1.01 * (value - old[key])
    save_file(weights, tmp_path / "out" / "model.safetensors", metadata={"format": "pt"})
    assert not check(tmp_path / "out").passed


def test_the_vocabulary_the_config_and_the_tokenizer_follow_the_adapter(tmp_path):
    case = golden("lora-chinese-alpaca")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    for file in (case.checkpoint / "adapter").iterdir():
        (adapter / file.name).write_bytes(file.read_bytes())
    (adapter / "tokenizer.model").write_bytes(b"the adapter's own")
    artefact = merge_lora(convert.open(case.checkpoint / "base"), adapter)
    write(convert.plan(artefact, tokenizer="carry"), tmp_path / "out")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["vocab_size"] == 283
    assert (tmp_path / "out" / "tokenizer.model").read_bytes() == b"the adapter's own"


def test_the_licences_of_base_and_adapter_are_both_carried_and_one_that_cannot_be_is_said(tmp_path):
    case = golden("lora-qv-only")
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    for name, folder in (("base", base), ("adapter", adapter)):
        shutil.copytree(case.checkpoint / name, folder)
        (folder / "LICENSE").write_text(name)
    (base / "使用许可.md").write_text("base")
    (adapter / "NOTICE").write_text("adapter")
    artefact = merge_lora(convert.open(base), adapter)
    assert any("LICENSE of adapter is not carried over" in note for note in artefact.notes)
    write(convert.plan(artefact, tokenizer="carry"), tmp_path / "out")
    held = {name: (tmp_path / "out" / name).read_text() for name in ("LICENSE", "NOTICE", "使用许可.md")}
    assert held == {"LICENSE": "base", "NOTICE": "adapter", "使用许可.md": "base"}


def test_more_tokens_without_a_tokenizer_are_said():
    case = golden("lora-chinese-alpaca")
    artefact = merge_lora(convert.open(case.checkpoint / "base"), case.checkpoint / "adapter")
    assert any("no tokenizer" in note for note in artefact.notes)


def test_an_adapter_of_tied_embeddings_leaves_the_output_projection(tmp_path):
    base = golden("llama-tied").checkpoint
    vocab, hidden = tensors(base)["model.embed_tokens.weight"].shape
    torch.manual_seed(7)
    a, b = torch.randn(4, vocab), torch.randn(hidden, 4)
    parts = {"model.embed_tokens.lora_embedding_A": a, "model.embed_tokens.lora_embedding_B": b}
    adapter = written(tmp_path / "adapter", parts)
    artefact = merge_lora(convert.open(base), adapter)
    assert any("lm_head.weight is written as a tensor of its own, untied" in step for step in artefact.steps)
    write(convert.plan(artefact), tmp_path / "out")
    found, old = tensors(tmp_path / "out"), tensors(base)["model.embed_tokens.weight"]
    assert same_bits(found["lm_head.weight"], old)
    assert ulps(found["model.embed_tokens.weight"], old + 2.0 * (b @ a).T) <= 2


def test_whole_tensors_can_neither_be_weighted_nor_taken_out():
    case = golden("lora-chinese-alpaca")
    base = convert.open(case.checkpoint / "base")
    for options in ({"weight": 0.5}, {"subtract": True}):
        with pytest.raises(UsageError, match="whole tensors"):
            merge_lora(base, case.checkpoint / "adapter", **options)


def test_an_adapter_trained_on_the_base_with_another_is_merged_behind_it(tmp_path):
    base = golden("llama-gqa-bf16").checkpoint
    old = tensors(base)["model.embed_tokens.weight"]
    vocab, hidden = old.shape
    torch.manual_seed(12)
    parts = []
    matrices = [(torch.randn(4, vocab), torch.randn(hidden, 4)) for _ in range(2)]
    for a, b in matrices:
        parts.append({"model.embed_tokens.lora_embedding_A": a, "model.embed_tokens.lora_embedding_B": b})
    one = written(tmp_path / "one", parts[0])
    between = old.float() + 2.0 * (matrices[0][1] @ matrices[0][0]).T
    copy = {"model.embed_tokens.base_layer.weight": between.to(torch.bfloat16)}
    two = written(tmp_path / "two", {**parts[1], **copy})
    merged(base, [one, two], tmp_path / "out")
    merged(merged(base, [one], tmp_path / "first"), [two], tmp_path / "second")
    name = "model.embed_tokens.weight"
    assert ulps(tensors(tmp_path / "out")[name], tensors(tmp_path / "second")[name]) <= 1
    with pytest.raises(ConversionError, match="belongs to another base"):
        merge_lora(convert.open(base), two)
    wrong = written(tmp_path / "wrong", {**parts[1], **{key: value * 1.1 for key, value in copy.items()}})
    with pytest.raises(ConversionError, match="belongs to another base"):
        merge_lora(merge_lora(convert.open(base), one), wrong)


@pytest.mark.parametrize("name, options", [
    ("llama-gqa", {"target_modules": LINEARS, "use_dora": True}),
    ("llama-gqa", {"target_modules": ["embed_tokens", "lm_head"], "use_dora": True, "use_rslora": True}),
    ("gpt2", {"target_modules": ["c_attn", "c_proj"], "use_dora": True, "fan_in_fan_out": True}),
    ("llama-gqa", {"target_modules": ["q_proj"], "trainable_token_indices": {"embed_tokens": [7, 2], "lm_head": [3]}}),
    ("gpt2", {"target_modules": ["c_attn"], "fan_in_fan_out": True, "trainable_token_indices": {"wte": [7, 2]}}),
])  # fmt: skip
def test_rescaled_rows_and_replaced_rows_are_pefts(name, options, tmp_path):
    base, ids = golden(name).checkpoint, load_file(golden(name).logits)["input_ids"]
    truth = trained(base, tmp_path / "adapter", ids, **options)
    done = write(convert.plan(merge_lora(convert.open(base), tmp_path / "adapter")), tmp_path / "out")
    assert done.verdict is not None and done.verdict.passed
    assert (native_logits(tmp_path / "out", ids) - truth.logits).abs().max() <= 5e-4


def test_a_tokenizer_that_replaces_the_bases_is_said_with_the_special_ids_that_do_not_follow(tmp_path):
    base = tmp_path / "base"
    shutil.copytree(golden("llama-gqa").checkpoint, base)
    (base / "tokenizer.json").write_text("{}")
    (base / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 5]}))
    name = "model.layers.0.mlp.up_proj"
    rows, columns = tensors(base)[f"{name}.weight"].shape
    parts = {f"{name}.lora_A.weight": torch.ones(4, columns), f"{name}.lora_B.weight": torch.ones(rows, 4)}
    adapter = written(tmp_path / "adapter", parts)
    (adapter / "tokenizer.json").write_text(json.dumps({"added_tokens": [{"id": 7, "content": "<|end|>"}]}))
    (adapter / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "<|end|>"}}))
    notes = merge_lora(convert.open(base), adapter).notes
    assert any("tokenizer.json is that of adapter, not the base's" in note for note in notes)
    (said,) = [note for note in notes if "eos_token" in note]
    assert "'<|end|>', id 7" in said and "generation_config.json [2, 5]" in said
    (base / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 7]}))
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "eos_token_id": 7}))
    assert not any("eos_token" in note for note in merge_lora(convert.open(base), adapter).notes)
