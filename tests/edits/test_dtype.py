"""Cast: one rounding as torch rounds, an audit, and no silent infinity."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import convert
import surgery
from convert.evaluate import Beyond, Rounding
from surgery.errors import UsageError
from tests.goldens import golden
from tests.oracle import same_bits, tensors
from tests.writing import write

CASES = ["llama-tied", "llama-gqa", "qwen2-tied", "qwen2", "gemma1-2b"]
NAMES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", CASES)
def test_every_weight_is_rounded_once_as_torch_rounds(name, dtype, tmp_path):
    plan = convert.plan(surgery.cast(convert.open(golden(name).checkpoint), dtype), tokenizer="carry")
    done = write(plan, tmp_path / "out")
    assert str(plan.exactness) == "approximate"
    assert done.verdict is not None and done.verdict.passed
    old, found = tensors(golden(name).checkpoint), tensors(tmp_path / "out")
    assert all(same_bits(value, old[key].to(NAMES[dtype])) for key, value in found.items())
    assert json.loads((tmp_path / "out" / "config.json").read_text())["torch_dtype"] == dtype


@pytest.mark.parametrize("name", ["llama-gqa-bf16", "gemma1-2b-bf16", "chatglm3-fp16"])
def test_widening_keeps_every_value_and_is_of_class_byte(name, tmp_path):
    plan = convert.plan(surgery.cast(convert.open(golden(name).checkpoint), "float32"), tokenizer="carry")
    assert str(plan.exactness) == "byte"
    done = write(plan, tmp_path / "wide")
    assert done.rounding_largest == 0.0
    narrow = "float16" if "fp16" in name else "bfloat16"
    back = convert.plan(surgery.cast(convert.open(tmp_path / "wide"), narrow), tokenizer="carry")
    write(back, tmp_path / "back")
    old, found = tensors(golden(name).checkpoint), tensors(tmp_path / "back")
    assert all(same_bits(value, old[key]) for key, value in found.items())


@pytest.fixture
def huge(tmp_path):
    """A checkpoint with a few weights that float16 cannot hold, and a few that it makes zero."""
    folder = tmp_path / "huge"
    write(convert.plan(convert.open(golden("llama-gqa").checkpoint)), folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][5, :3] = torch.tensor([70000.0, -1e30, 65519.0])
    weights["model.layers.1.mlp.up_proj.weight"][6, :4] = torch.tensor([1e-9, -1e-10, 0.0, 1e-7])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_what_exceeds_float16_is_an_error_that_names_the_tensor(huge, tmp_path):
    plan = convert.plan(surgery.cast(convert.open(huge), "float16"))
    with pytest.raises(Beyond, match=r"model\.layers\.1\.mlp\.up_proj\.weight: 2 or more values exceed .* float16"):
        write(plan, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_clamping_stores_the_largest_number_and_counts(huge, tmp_path):
    # not verified: beside a weight of 1e30, a clamped one is another function
    done = write(convert.plan(surgery.cast(convert.open(huge), "float16", clamp=True)), tmp_path / "out", verify="off")
    found = load_file(tmp_path / "out" / "model.safetensors")["model.layers.1.mlp.up_proj.weight"]
    assert found[5, :3].tolist() == [65504.0, -65504.0, 65504.0]
    assert found[6, :3].tolist() == [0.0, 0.0, 0.0]
    assert found[6, 3] > 0
    old = load_file(huge / "model.safetensors")
    assert done.beyond == 2
    assert done.vanished == sum(int(((v != 0) & (v.half() == 0)).sum()) for v in old.values())
    assert done.rounding_largest == pytest.approx(1e30, rel=1e-6)


def test_bfloat16_reaches_as_far_as_float32(huge, tmp_path):
    # not verified: a weight of 1e30 leaves no finite logits to compare
    done = write(convert.plan(surgery.cast(convert.open(huge), "bfloat16")), tmp_path / "out", verify="off")
    assert (done.beyond, done.vanished) == (0, 0)


def test_casting_to_the_type_that_is_there_changes_nothing():
    artefact = convert.open(golden("llama-gqa").checkpoint)
    assert surgery.cast(artefact, "float32") is artefact


def test_an_unknown_type_is_refused():
    with pytest.raises(UsageError, match="int7"):
        surgery.cast(convert.open(golden("llama-gqa").checkpoint), "int7")


@given(st.lists(st.floats(width=32), min_size=1, max_size=50), st.sampled_from([torch.float16, torch.bfloat16]), st.booleans())
def test_the_audit_counts_what_elementwise_rounding_does(values, dtype, clamp):
    exact = torch.tensor(values, dtype=torch.float32)
    place, rounding = torch.empty(len(values), dtype=dtype), Rounding()
    rounding.store(exact, place, clamp)
    rounded = exact.to(dtype)
    lost = rounded.isinf() & exact.isfinite()
    assert rounding.beyond == int(lost.sum())
    wanted = torch.where(lost, exact.sign() * torch.finfo(dtype).max, rounded.float()).to(dtype) if clamp else rounded
    assert torch.equal(place.nan_to_num(nan=1.5, posinf=2.5, neginf=3.5), wanted.nan_to_num(nan=1.5, posinf=2.5, neginf=3.5))
    if dtype == torch.float16:
        assert rounding.vanished == int(((exact != 0) & (rounded == 0)).sum())
