"""Meta's own files: to Llama and back, judged by the vendor's logits and by torch."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from convert.checkpoint import open_checkpoint
from convert.prepare import plan_conversion
from mappings.via import META_WIDTHS
from surgery.errors import ConversionError, UsageError
from tests.goldens import golden
from tests.oracle import native_logits, same_bits
from tests.writing import write

VARIANTS = {
    "meta-llama1": "meta-llama-1",
    "meta-llama2": "meta-llama-2",
    "meta-llama2-gqa": "meta-llama-2",
    "meta-llama2-gqa-bf16": "meta-llama-2",
    "meta-llama3": "meta-llama-3",
    "meta-llama31-scaled-rope": "meta-llama-3.1",
}


def shards(folder):
    found = {}
    for file in sorted(folder.glob("*.pth")):
        loaded = torch.load(file, weights_only=True)
        found |= {f"{file.name}/{name}": t for name, t in loaded.items() if not name.endswith("rope.freqs")}
    return found


def converted(source, to, out, **options):
    plan = plan_conversion(open_checkpoint(source), to, **options)
    write(plan, out)
    return out


@pytest.mark.parametrize("name", VARIANTS)
def test_metas_files_become_llama_and_come_back_byte_for_byte(name, tmp_path):
    case = golden(name)
    plan = plan_conversion(open_checkpoint(case.checkpoint), "llama")
    assert (plan.source, str(plan.exactness)) == (VARIANTS[name], "byte")
    write(plan, tmp_path / "llama")
    truth = load_file(case.logits)
    logits = native_logits(tmp_path / "llama", truth["input_ids"])
    assert (logits - truth["logits"]).abs().max().item() <= 1e-4
    back = shards(converted(tmp_path / "llama", "meta", tmp_path / "meta", tensor_parallel=2))
    source = shards(case.checkpoint)
    assert back.keys() == source.keys()
    assert all(same_bits(back[key], source[key]) for key in source)


@pytest.mark.parametrize("name", ["meta-llama1", "meta-llama31-scaled-rope"])
def test_a_conversion_from_metas_files_is_verified(name, tmp_path):
    plan = plan_conversion(open_checkpoint(golden(name).checkpoint), "llama")
    done = write(plan, tmp_path / "out")
    assert done.verdict is not None and done.verdict.passed


@pytest.mark.parametrize("name", ["meta-llama2", "meta-llama3"])
def test_the_number_of_files_changes_no_weight(name, tmp_path):
    llama = converted(golden(name).checkpoint, "llama", tmp_path / "two")
    once = converted(llama, "meta", tmp_path / "one-file")
    assert [p.name for p in once.glob("*.pth")] == ["consolidated.00.pth"]
    whole = torch.load(once / "consolidated.00.pth", weights_only=True)
    parts = [torch.load(p, weights_only=True) for p in sorted(golden(name).checkpoint.glob("*.pth"))]
    axes = {"wo": 1, "w2": 1, "tok_embeddings": 1 if name == "meta-llama2" else 0}
    for key, tensor in whole.items():
        split = tensor.ndim == 2
        axis = axes.get(key.split(".")[-2], 0)
        assert torch.equal(tensor, torch.cat([p[key] for p in parts], axis) if split else parts[0][key])


def test_replicas_that_differ_are_refused(tmp_path):
    shutil.copytree(golden("meta-llama3").checkpoint, tmp_path / "m")
    loaded = torch.load(tmp_path / "m" / "consolidated.01.pth", weights_only=True)
    loaded["norm.weight"] = loaded["norm.weight"] + 1
    torch.save(loaded, tmp_path / "m" / "consolidated.01.pth")
    with pytest.raises(ConversionError, match=r"1/norm\.weight.*differs from.*0/norm\.weight"):
        plan_conversion(open_checkpoint(tmp_path / "m"), "llama")


@pytest.mark.parametrize(("name", "variant"), [("meta-llama3", "llama-2"), ("meta-llama2", "llama-3")])
def test_embeddings_cut_the_other_way_are_noticed_by_their_shape(name, variant):
    with pytest.raises(ConversionError, match=r"tok_embeddings|rope_theta|vocab"):
        plan_conversion(open_checkpoint(golden(name).checkpoint), "llama", variant=variant)


def test_a_number_of_files_that_divides_no_heads_is_refused():
    llama = golden("llama-gqa").checkpoint
    with pytest.raises(UsageError, match=r"--tensor-parallel 7.*kv"):
        plan_conversion(open_checkpoint(llama), "meta", tensor_parallel=7)


def test_only_metas_files_are_cut():
    with pytest.raises(UsageError, match="--tensor-parallel"):
        plan_conversion(open_checkpoint(golden("llama-gqa").checkpoint), "llama", tensor_parallel=2)


@pytest.mark.parametrize(
    ("hidden", "ffn", "multiple", "multiplier"),
    [
        (4096, 11008, 256, None),  # 7B
        (8192, 28672, 4096, 1.3),  # Llama 2 and 3 70B
        (4096, 14336, 1024, 1.3),  # Llama 3 8B
        (2048, 8192, 256, 1.5),  # Llama 3.2 1B
    ],
)
def test_params_json_says_the_widths_as_meta_published_them(hidden, ffn, multiple, multiplier):
    said = META_WIDTHS.write(("dim", "multiple_of", "ffn_dim_multiplier"), {"hidden": hidden, "ffn": ffn})
    assert (said["multiple_of"], said.get("ffn_dim_multiplier")) == (multiple, multiplier)


@pytest.mark.parametrize("ffn", [1, 7, 97, 8191, 65536])
def test_every_width_can_be_said_in_params_json(ffn):
    said = META_WIDTHS.write(("dim", "multiple_of", "ffn_dim_multiplier"), {"hidden": 300, "ffn": ffn})
    width = int(2 * 4 * 300 / 3)  # meta-llama/llama llama/model.py:331-335
    if "ffn_dim_multiplier" in said:
        width = int(said["ffn_dim_multiplier"] * width)
    assert said["multiple_of"] * ((width + said["multiple_of"] - 1) // said["multiple_of"]) == ffn


def test_params_json_is_metas_own_keys(tmp_path):
    llama = converted(golden("meta-llama31-scaled-rope").checkpoint, "llama", tmp_path / "llama")
    out = converted(llama, "meta", tmp_path / "meta", tensor_parallel=2)
    said = json.loads((out / "params.json").read_text())
    assert said["use_scaled_rope"] is True
    assert said["vocab_size"] == 298
    assert not {"architectures", "model_type", "dtype", "torch_dtype"} & said.keys()
