"""Adapters that must not be merged: each is refused in one paragraph, and nothing is written."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

import convert
from convert.cli.running import run
from convert.cli.surgery import cli
from convert.edits.adapter_config import read_config
from convert.edits.lora import merge_lora
from surgery.errors import ConversionError, UsageError
from tests.edits.adapters import written
from tests.goldens import golden
from tests.oracle import tensors

BASE = golden("llama-gqa").checkpoint
NAME = "model.layers.0.self_attn.q_proj"
A, B = f"{NAME}.lora_A.weight", f"{NAME}.lora_B.weight"


def matrices(rank: int = 4) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    rows, columns = tensors(BASE)[f"{NAME}.weight"].shape
    return {A: torch.randn(rank, columns), B: torch.randn(rows, rank)}


def refused(folder: Path, match: str, base: Path = BASE) -> None:
    with pytest.raises(ConversionError, match=match) as error:
        merge_lora(convert.open(base), folder)
    assert "\n" not in str(error.value)


#: what the config says -> what the refusal says
CONFIGS = {
    "rank 0": ({"r": 0}, "r is 0"),
    "no rank": ({"r": ...}, "r is missing"),
    "a rank that is no number": ({"r": "8"}, "r is '8'"),
    "another rank": ({"r": 5}, "not of the rank 5"),
    "another rank by name": ({"rank_pattern": {"q_proj": 6}}, "not of the rank 6"),
    "no alpha": ({"lora_alpha": ...}, "lora_alpha is missing"),
    "alpha that is no number": ({"lora_alpha": True}, "lora_alpha is True"),
    "DoRA without its norms": ({"use_dora": True}, "no lora_magnitude_vector for the module"),
    "QA-LoRA": ({"use_qalora": True}, "QA-LoRA"),
    "activated LoRA": ({"alora_invocation_tokens": [1, 2]}, "activated LoRA"),
    "repeated layers": ({"layer_replication": [[0, 2], [1, 3]]}, "repeated layers"),
    "trained rows that are not there": ({"trainable_token_indices": [3]}, "holds no such rows"),
    "trained rows that are none": ({"trainable_token_indices": [3, -1]}, "no list of different rows"),
    "trained rows named twice": ({"trainable_token_indices": {"embed_tokens": [3, 3]}}, "no list of different rows"),
    "whole modules that are no names": ({"modules_to_save": "lm_head"}, "not a list of names"),
    "an alpha that float32 has not": ({"lora_alpha": 1e308}, "lora_alpha is 1e.308, beyond the largest number of float32"),
    "an alpha that is a huge whole number": ({"lora_alpha": 10**400}, "lora_alpha' is an integer of 401 digits"),
    "an alpha by name that float32 has not": ({"alpha_pattern": {"q_proj": 1e300}}, "alpha_pattern is 1e.300"),
    "bare parameters": ({"target_parameters": ["experts"]}, "bare parameters"),
    "PiSSA": ({"init_lora_weights": "pissa_niter_16"}, "'pissa_niter_16', which changes the base before training"),
    "OLoRA": ({"init_lora_weights": "olora"}, "'olora', which changes the base"),
    "a key of tomorrow": ({"use_next_big_thing": True}, "'use_next_big_thing' is a key that we do not know"),
    "a bias of another kind": ({"bias": "some"}, "bias is 'some'"),
    "a pattern that takes for ever": ({"alpha_pattern": {"(a+)+b": 3}}, "no simple name or pattern"),
    "a pattern that is none": ({"rank_pattern": {"(q_proj": 3}}, "no simple name or pattern"),
    "patterns that are no table": ({"rank_pattern": [1]}, "not a table"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_a_config_that_is_no_plain_lora_is_refused(case, tmp_path):
    config, said = CONFIGS[case]
    refused(written(tmp_path / "adapter", matrices(), **config), said)


@pytest.mark.parametrize("kind", ["LOHA", "LOKR", "IA3", "OFT", "BOFT", "VERA", "ADALORA", "PREFIX_TUNING", "P_TUNING", None, 7])
def test_every_other_kind_is_refused_by_name(kind, tmp_path):
    refused(written(tmp_path / "adapter", matrices(), peft_type=kind), f"peft_type is {kind!r}")


def pair(module: str) -> dict[str, tuple[int, int]]:
    return {f"{module}.lora_A.weight": (4, 3), f"{module}.lora_B.weight": (3, 4)}


#: tensors beside or instead of the right ones -> what the refusal says
TENSORS = {
    "another layer": (pair("model.layers.9.mlp.up_proj"), "'model.layers.9.mlp.up_proj', which llama has not"),
    "another family": (pair("transformer.h.0.attn.c_attn"), "belongs to another family"),
    "half a pair": ({"model.layers.1.mlp.up_proj.lora_A.weight": (4, 3)}, r"no lora_B\.weight for the module"),
    "DoRA's vector": ({f"{NAME}.lora_magnitude_vector": (5,)}, "a tensor of DoRA, and adapter_config.json does not say"),
    "rows that no config names": ({"lm_head.token_adapter.trainable_tokens_delta": (2, 64)}, "says nothing"),
    "an empty output projection": ({"lm_head.weight": (0, 64)}, "a tensor of size 0: DeepSpeed ZeRO-3"),
    "an empty matrix": ({"model.layers.1.mlp.up_proj.lora_A.weight": (0, 3)}, "a tensor of size 0: DeepSpeed ZeRO-3"),
    "a tensor twice, once with a wrapper's name": ({f"_orig_mod.{A}": (4, 64)}, "several times"),
    "LoHa's matrix": ({f"{NAME}.hada_w1_a": (5, 2)}, "tensor of LoHa"),
    "LoKr's matrix": ({f"{NAME}.lokr_w1": (5, 2)}, "tensor of LoKr"),
    "a name from nowhere": ({f"{NAME}.lora_C.weight": (5, 2)}, "no name that peft gives"),
    "a whole tensor that the base lacks": ({"score.weight": (5, 2)}, "which this base has not"),
    "a bias that the base lacks": ({f"{NAME}.lora_B.bias": (5,)}, "its bias"),
    "a whole tensor of another shape": ({"model.norm.weight": (5,)}, r"has shape \(5,\)"),
    "embeddings without their head": ({"model.embed_tokens.weight": (300, 64)}, r"holds no lm_head\.weight of its own"),
}  # fmt: skip


@pytest.mark.parametrize("case", TENSORS)
def test_tensors_that_do_not_fit_are_refused(case, tmp_path):
    further, said = TENSORS[case]
    parts = {**matrices(), **{name: torch.zeros(shape) for name, shape in further.items()}}
    refused(written(tmp_path / "adapter", parts), said)


def test_an_adapter_of_a_base_with_other_sizes_is_refused(tmp_path):
    parts = matrices()
    refused(
        written(tmp_path / "adapter", {A: parts[A][:, :-2].contiguous(), B: parts[B]}), "trained on another base, of other sizes"
    )


@pytest.mark.parametrize("weight", ["nan", "inf", "1e300", "-1e39"])
def test_a_weight_that_no_tensor_survives_is_a_mistake_of_the_command(weight, tmp_path, capsys):
    folder = written(tmp_path / "adapter", matrices())
    words = ["merge-lora", str(BASE), str(tmp_path / "out"), "--adapter", str(folder), "--weight", weight]
    assert run(cli, "surgery", words) == 2
    assert "is no number that a weight can be multiplied by" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_weight_that_only_the_files_factor_takes_too_far_is_refused(tmp_path):
    folder = written(tmp_path / "adapter", matrices(), lora_alpha=1e20)
    with pytest.raises(UsageError, match="float32 cannot hold"):
        merge_lora(convert.open(BASE), folder, weight=1e30)


@pytest.mark.parametrize("options", [{"weight": 0.5}, {"subtract": True}])
@pytest.mark.parametrize("kind", ["DoRA", "rows"])
def test_what_is_no_sum_is_taken_neither_in_part_nor_out(kind, options, tmp_path):
    parts = matrices()
    if kind == "DoRA":
        parts[f"{NAME}.lora_magnitude_vector"] = torch.ones(len(parts[B]))
        folder = written(tmp_path / "adapter", parts, use_dora=True)
    else:
        width = tensors(BASE)["lm_head.weight"].shape[1]
        parts["lm_head.token_adapter.trainable_tokens_delta"] = torch.zeros(2, width)
        folder = written(tmp_path / "adapter", parts, trainable_token_indices={"lm_head": [3, 1]})
    with pytest.raises(UsageError, match="neither in part"):
        merge_lora(convert.open(BASE), folder, **options)


WRAPPED = ["_orig_mod.{}", "base_model.model.{}", "{}", "_fsdp_wrapped_module._orig_mod.{}"]


@pytest.mark.parametrize("wrapped", WRAPPED)
@pytest.mark.parametrize("inside", ["", "_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module."])
def test_names_that_wrappers_changed_are_read_as_what_they_wrap(wrapped, inside, tmp_path):
    plain = merge_lora(convert.open(BASE), written(tmp_path / "plain", matrices()))
    folder = written(tmp_path / "adapter", {})
    state = {wrapped.format(f"base_model.model.{inside}{key}"): value for key, value in matrices().items()}
    save_file(state, folder / "adapter_model.safetensors")
    found = merge_lora(convert.open(BASE), folder)
    one, other = (each.model.tensors["layer.0.q"] for each in (found, plain))
    assert (one.describe(), one.inputs[0]) == (other.describe(), other.inputs[0])
    odd = wrapped != "{}" or inside
    assert any("put into them" in note for note in found.notes) is bool(odd)


def test_products_that_are_zero_are_counted_and_said(tmp_path):
    dead = {**matrices(), B: torch.zeros_like(matrices()[B])}
    notes = merge_lora(convert.open(BASE), written(tmp_path / "dead", dead)).notes
    assert any("1 of the adapter's 1 products are zero: it changes nothing" in note for note in notes)
    other = {key.replace("q_proj", "o_proj"): value for key, value in matrices().items()}
    notes = merge_lora(convert.open(BASE), written(tmp_path / "half", {**dead, **other})).notes
    assert any(note == "1 of the adapter's 2 products are zero" for note in notes)


def test_keys_with_which_other_programs_trained_are_harmless(tmp_path):
    told = {"swift_type": "LORA", "lorap_lr_ratio": 16.0, "lorap_emb_lr": 1e-6}
    merge_lora(convert.open(BASE), written(tmp_path / "adapter", matrices(), **told))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_nan_and_infinity_are_refused_with_their_place(value, dtype, tmp_path):
    parts = {name: tensor.to(dtype) for name, tensor in matrices().items()}
    parts[B][3, 2] = value
    refused(written(tmp_path / "adapter", parts), r"NaN or infinity \(the first at row 3, column 2\)")


def test_two_files_that_differ_are_refused_and_two_alike_are_not(tmp_path):
    folder = written(tmp_path / "adapter", matrices())
    state = {f"base_model.model.{name}": tensor for name, tensor in matrices().items()}
    torch.save(state, folder / "adapter_model.bin")
    merge_lora(convert.open(BASE), folder)
    state[f"base_model.model.{A}"] = state[f"base_model.model.{A}"] + 1
    torch.save(state, folder / "adapter_model.bin")
    refused(folder, r"adapter_model\.safetensors, adapter_model\.bin, and they differ")


def test_a_whole_module_saved_twice_and_differently_is_refused(tmp_path):
    weight = tensors(BASE)["model.norm.weight"]
    parts = {**matrices(), "model.norm.weight": weight, "model.norm.modules_to_save.weight": weight + 1}
    refused(written(tmp_path / "adapter", parts), "twice")


def test_an_adapter_that_keeps_a_copy_of_another_base_is_refused(tmp_path):
    parts = {**matrices(), "lm_head.original_module.weight": tensors(BASE)["lm_head.weight"] + 0.01}
    refused(written(tmp_path / "adapter", parts), "the adapter belongs to another base")


def test_what_the_adapter_says_of_its_base_is_passed_on(tmp_path):
    folder = written(tmp_path / "adapter", matrices(), base_model_name_or_path="someone/some-base")
    assert any("someone/some-base" in note for note in merge_lora(convert.open(BASE), folder).notes)


def test_the_command_writes_nothing_and_says_one_paragraph(tmp_path, capsys):
    folder = written(tmp_path / "adapter", matrices(), use_qalora=True)
    status = run(cli, "surgery", ["merge-lora", str(BASE), str(tmp_path / "out"), "--adapter", str(folder)])
    told = capsys.readouterr()
    assert status == 3
    assert told.out == ""
    assert told.err.startswith("error: adapter_config.json: this is QA-LoRA") and told.err.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["adapter"]


def test_a_missing_adapter_is_said(tmp_path, capsys):
    status = run(cli, "surgery", ["merge-lora", str(BASE), str(tmp_path / "out"), "--adapter", str(tmp_path / "nowhere")])
    assert status in (2, 3)
    assert "nowhere" in capsys.readouterr().err


def test_the_output_may_not_lie_in_the_adapter(tmp_path, capsys):
    folder = written(tmp_path / "adapter", matrices())
    before = sorted(p.name for p in folder.iterdir())
    status = run(cli, "surgery", ["merge-lora", str(BASE), str(folder / "out"), "--adapter", str(folder), "--verify", "off"])
    assert status == 2
    assert sorted(p.name for p in folder.iterdir()) == before


KEYS = ["r", "lora_alpha", "peft_type", "use_rslora", "rank_pattern", "alpha_pattern", "bias", "init_lora_weights", "x"]
SIMPLE = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats()
TABLES = st.lists(st.integers(), max_size=2) | st.dictionaries(st.text(max_size=6), SIMPLE, max_size=2)


@given(st.dictionaries(st.sampled_from(KEYS), SIMPLE | TABLES))
def test_any_config_is_read_or_refused(config):
    try:
        read = read_config({"peft_type": "LORA", **config})
    except ConversionError:
        return
    assert read.factor("model.layers.0.self_attn.q_proj") == read.factor("model.layers.0.self_attn.q_proj")


def test_a_truncated_adapter_is_refused(tmp_path):
    folder = written(tmp_path / "adapter", matrices())
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-40])
    refused(folder, "adapter_model.safetensors")


def test_a_golden_adapter_of_another_base_is_refused():
    refused(golden("lora-qv-only").checkpoint / "adapter", "another base", golden("llama-gqa").checkpoint)


def test_the_adapter_of_one_base_is_refused_by_another_of_its_sizes(tmp_path):
    case = golden("lora-peft021-raw-keys")
    shutil.copytree(case.checkpoint / "base", tmp_path / "base")
    for shard in (tmp_path / "base").glob("*.safetensors"):
        from safetensors.torch import load_file

        save_file({k: v * 1.001 for k, v in load_file(shard).items()}, shard, metadata={"format": "pt"})
    json.loads((tmp_path / "base" / "config.json").read_text())
    refused(case.checkpoint / "adapter", "belongs to another base", tmp_path / "base")
