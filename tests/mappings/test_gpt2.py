"""GPT-2 and nanoGPT: each to the other, and neither to Llama."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from convert.checkpoint import open_checkpoint
from convert.prepare import plan_conversion
from surgery.legalise import Unexpressible
from tests.goldens import golden
from tests.oracle import native_logits, same_bits, tensors
from tests.writing import write


def converted(source, to, out, **options):
    plan = plan_conversion(open_checkpoint(source), to, **options)
    assert str(plan.exactness) == "byte"
    write(plan, out)
    return out


def saved(folder):
    return torch.load(folder / "ckpt.pt", weights_only=True)


@pytest.mark.parametrize("name", ["gpt2", "nanogpt"])
def test_a_golden_checkpoint_becomes_gpt2_with_the_vendors_logits(name, tmp_path):
    case = golden(name)
    truth = load_file(case.logits)
    out = converted(case.checkpoint, "gpt2", tmp_path / "out")
    assert (native_logits(out, truth["input_ids"]) - truth["logits"]).abs().max().item() <= 1e-4


def test_nanogpt_comes_back_byte_for_byte_with_its_tie(tmp_path):
    source = saved(golden("nanogpt").checkpoint)
    gpt2 = converted(golden("nanogpt").checkpoint, "gpt2", tmp_path / "gpt2")
    back = saved(converted(gpt2, "nanogpt", tmp_path / "back"))
    assert back["model_args"] == source["model_args"]
    assert back["model"].keys() == source["model"].keys()
    assert all(same_bits(back["model"][key], source["model"][key]) for key in source["model"])
    assert back["model"]["lm_head.weight"].data_ptr() == back["model"]["transformer.wte.weight"].data_ptr()


def test_gpt2_with_the_exact_gelu_becomes_nanogpt_and_comes_back(tmp_path):
    shutil.copytree(golden("gpt2").checkpoint, tmp_path / "erf")
    config = json.loads((tmp_path / "erf" / "config.json").read_text())
    (tmp_path / "erf" / "config.json").write_text(json.dumps({**config, "activation_function": "gelu"}))
    plan = plan_conversion(open_checkpoint(tmp_path / "erf"), "nanogpt")
    done = write(plan, tmp_path / "nano")
    assert done.verdict is not None and done.verdict.passed
    weights = tensors(tmp_path / "erf")
    nano = saved(tmp_path / "nano")["model"]
    for key, tensor in nano.items():
        if key == "lm_head.weight":
            continue
        stored = weights[key.removeprefix("transformer.")]
        transposed = key.endswith(".weight") and any(f".{part}." in key for part in ("c_attn", "c_proj", "c_fc"))
        assert same_bits(tensor, stored.T if transposed else stored)
    back = tensors(converted(tmp_path / "nano", "gpt2", tmp_path / "back"))
    masks = {key for key in weights if key.endswith(".attn.bias")}
    assert {key.removeprefix("transformer.") for key in back} == weights.keys() - masks
    assert all(same_bits(back[key], weights[key.removeprefix("transformer.")]) for key in back)


def test_the_tanh_gelu_is_refused_by_nanogpt():
    with pytest.raises(Unexpressible, match=r"activation\s+gelu_tanh"):
        plan_conversion(open_checkpoint(golden("gpt2").checkpoint), "nanogpt")


def test_biases_that_nanogpt_lacks_become_zeros(tmp_path):
    contents = saved(golden("nanogpt").checkpoint)
    kept = {key: tensor for key, tensor in contents["model"].items() if not key.endswith(".bias")}
    (tmp_path / "plain").mkdir()
    args = {**contents["model_args"], "bias": False}
    torch.save({**contents, "model": kept, "model_args": args}, tmp_path / "plain" / "ckpt.pt")
    plan = plan_conversion(open_checkpoint(tmp_path / "plain"), "gpt2")
    assert str(plan.exactness) == "byte"
    done = write(plan, tmp_path / "out")
    assert done.verdict is not None and done.verdict.passed
    out = tensors(tmp_path / "out")
    biases = [tensor for key, tensor in out.items() if key.endswith(".bias")]
    assert len(biases) == 3 * 6 + 1
    assert not any(tensor.any() for tensor in biases)
    back = plan_conversion(open_checkpoint(tmp_path / "out"), "nanogpt")
    write(back, tmp_path / "back")
    assert saved(tmp_path / "back")["model_args"]["bias"] is True


def test_a_compiled_models_prefix_is_taken_off(tmp_path):
    contents = saved(golden("nanogpt").checkpoint)
    contents["model"] = {f"_orig_mod.{key}": tensor for key, tensor in contents["model"].items()}
    (tmp_path / "compiled").mkdir()
    torch.save(contents, tmp_path / "compiled" / "ckpt.pt")
    one = tensors(converted(tmp_path / "compiled", "gpt2", tmp_path / "one"))
    other = tensors(converted(golden("nanogpt").checkpoint, "gpt2", tmp_path / "other"))
    assert one.keys() == other.keys()
    assert all(same_bits(one[key], other[key]) for key in one)


def test_a_finetuned_gpt2_with_prefix_and_head_is_read(tmp_path):
    source = tensors(golden("gpt2").checkpoint)
    (tmp_path / "tuned").mkdir()
    named = {f"transformer.{key}": tensor for key, tensor in source.items() if not key.endswith(".attn.bias")}
    named["lm_head.weight"] = source["wte.weight"].clone()
    save_file(named, tmp_path / "tuned" / "model.safetensors")
    shutil.copy(golden("gpt2").checkpoint / "config.json", tmp_path / "tuned")
    out = tensors(converted(tmp_path / "tuned", "gpt2", tmp_path / "out"))
    assert out.keys() == named.keys() - {"lm_head.weight"}
    assert all(same_bits(out[key], named[key]) for key in out)


@pytest.mark.parametrize("name", ["gpt2", "nanogpt"])
def test_llama_refuses_all_that_differs_at_once(name):
    with pytest.raises(Unexpressible) as refused:
        plan_conversion(open_checkpoint(golden(name).checkpoint), "llama")
    assert {r.fact for r in refused.value.refusals} >= {"positions", "norm.kind", "mlp.gated", "bias.norm"}
