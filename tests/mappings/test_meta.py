"""Meta's own files: to Llama and back, judged by the vendor's logits and by torch."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from convert.checkpoint import open_checkpoint
from convert.prepare import plan_conversion
from convert.verification.run import verify
from convert.verified import verifier
from mappings import families
from mappings.config import recognise
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


SMALL_32 = {
    "dim": 32, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "vocab_size": 59, "multiple_of": 8, "ffn_dim_multiplier": 1.5,
    "norm_eps": 1e-05, "rope_theta": 500000.0, "use_scaled_rope": True,
}  # fmt: skip
ONE_B = {"dim": 2048, "n_layers": 16, "n_heads": 32, "n_kv_heads": 8, "ffn_dim_multiplier": 1.5, "multiple_of": 256}
THREE_B = {"dim": 3072, "n_layers": 28, "n_heads": 24, "n_kv_heads": 8, "ffn_dim_multiplier": 1.0, "multiple_of": 256}
EIGHT_B = {"dim": 4096, "n_layers": 32, "n_heads": 32, "n_kv_heads": 8, "ffn_dim_multiplier": 1.3, "multiple_of": 1024}


def metas(folder, output="the embedding", **params):
    """A consolidated file of Llama 3.1's or 3.2's kind: ``output`` is the embedding, another matrix, or not there."""
    params = {**SMALL_32, **params}
    draw = torch.Generator().manual_seed(0)

    def new(*shape):
        return torch.randn(shape, generator=draw) * 0.1

    hidden, kv, ffn, vocab = params["dim"], 16, 128, params["vocab_size"]
    shapes = {
        "attention.wq": (hidden, hidden), "attention.wk": (kv, hidden), "attention.wv": (kv, hidden),
        "attention.wo": (hidden, hidden), "feed_forward.w1": (ffn, hidden), "feed_forward.w3": (ffn, hidden),
        "feed_forward.w2": (hidden, ffn), "attention_norm": (hidden,), "ffn_norm": (hidden,),
    }  # fmt: skip
    held = {f"layers.{i}.{name}.weight": new(*shape) for i in range(params["n_layers"]) for name, shape in shapes.items()}
    held |= {"tok_embeddings.weight": new(vocab, hidden), "norm.weight": new(hidden)}
    held |= {"the embedding": {"output.weight": held["tok_embeddings.weight"].clone()}, "absent": {}}.get(
        output, {"output.weight": new(vocab, hidden)}
    )
    folder.mkdir()
    torch.save(held, folder / "consolidated.00.pth")
    (folder / "params.json").write_text(json.dumps(params))
    return folder


def label(folder, **options):
    return plan_conversion(open_checkpoint(folder), "llama", **options).source


@pytest.mark.parametrize("sizes", [ONE_B, THREE_B])
def test_the_published_sizes_of_llama_3_2_are_known(sizes):
    params = {**SMALL_32, **sizes, "vocab_size": 128256}
    assert [family.label for family in recognise(families(), params)] == ["meta-llama-3.2"]


def test_a_published_size_of_llama_3_1_is_known():
    params = {**SMALL_32, **EIGHT_B, "vocab_size": 128256}
    assert [family.label for family in recognise(families(), params)] == ["meta-llama-3.1"]


@pytest.mark.parametrize("output", ["the embedding", "absent"])
def test_another_size_whose_output_is_the_embedding_is_asked_about(output, tmp_path):
    folder = metas(tmp_path / "in", output)
    with pytest.raises(ConversionError, match=r"--variant llama-3\.1.*--variant llama-3\.2"):
        label(folder)
    assert label(folder, variant="llama-3.1") == "meta-llama-3.1"
    assert label(folder, variant="llama-3.2") == "meta-llama-3.2"


def test_an_output_of_its_own_tells_llama_3_1(tmp_path):
    folder = metas(tmp_path / "in", "another")
    assert label(folder) == "meta-llama-3.1"
    with pytest.raises(ConversionError, match="differs from"):
        label(folder, variant="llama-3.2")


@pytest.mark.parametrize("output", ["the embedding", "absent"])
@pytest.mark.parametrize(("variant", "factor"), [("llama-3.1", 8.0), ("llama-3.2", 32.0)])
def test_the_variant_says_the_factor_and_a_tied_head_is_written_as_the_hub_has_it(variant, factor, output, tmp_path):
    plan = plan_conversion(open_checkpoint(metas(tmp_path / "in", output)), "llama", variant=variant)
    done = write(plan, tmp_path / "out", verify=verifier(plan, "full"))
    assert done.verdict is not None and done.verdict.passed
    said = json.loads((tmp_path / "out" / "config.json").read_text())
    assert said["rope_parameters"]["factor"] == factor
    assert said["tie_word_embeddings"] is (variant == "llama-3.2" or output == "absent")
    assert native_logits(tmp_path / "out", torch.arange(12)[None]).isfinite().all()


@pytest.mark.parametrize("output", ["the embedding", "absent"])
def test_the_verifier_asks_too(output, tmp_path):
    source = open_checkpoint(metas(tmp_path / "in", output))
    write(plan_conversion(source, "llama", variant="llama-3.2"), tmp_path / "out")
    with pytest.raises(ConversionError, match=r"llama-3\.1 or llama-3\.2"):
        verify(source, open_checkpoint(tmp_path / "out"), exactness="byte")
    assert verify(source, open_checkpoint(tmp_path / "out"), exactness="byte", variant="llama-3.2").passed
    assert not verify(source, open_checkpoint(tmp_path / "out"), exactness="byte", variant="llama-3.1").passed


def test_llama_3_2_returns_to_metas_files_with_its_embedding_stored_twice(tmp_path):
    source = metas(tmp_path / "in")
    plan = plan_conversion(open_checkpoint(source), "llama", variant="llama-3.2")
    write(plan, tmp_path / "llama")
    back = plan_conversion(open_checkpoint(tmp_path / "llama"), "meta")
    assert (back.target, str(back.exactness)) == ("meta-llama-3.2", "byte")
    write(back, tmp_path / "meta")
    held, before = shards(tmp_path / "meta"), shards(source)
    assert held.keys() == before.keys()
    assert all(same_bits(held[key], before[key]) for key in before)


@pytest.mark.parametrize(
    ("params", "wanted"),
    [
        ({"norm_eps": 1e-6}, "meta-llama-1"),
        ({"dim": 8192, "n_layers": 80, "n_heads": 64, "multiple_of": 256, "norm_eps": 1e-5}, "meta-llama-1"),
        ({"dim": 8192, "n_layers": 80, "n_heads": 64, "n_kv_heads": 8, "multiple_of": 4096, "norm_eps": 1e-5}, "meta-llama-2"),
        ({"dim": 4096, "n_layers": 32, "n_heads": 32, "multiple_of": 256, "norm_eps": 1e-5}, "meta-llama-2"),
    ],
)
def test_llama_1_is_told_by_its_eps_or_its_largest_size(params, wanted):
    params = {"dim": 4096, "n_layers": 32, "n_heads": 32, "multiple_of": 256, "vocab_size": -1} | params
    assert [family.label for family in recognise(families(), params)] == [wanted]
