"""Lossless deltas: the target's bits back from the base, and nothing from any other base."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from convert.checkpoint import open_checkpoint
from convert.edits.lossless import folded, plan_lossless, unfolded
from convert.edits.lossless_making import make_lossless
from surgery.errors import ConversionError, LimitExceeded
from tests.goldens import golden
from tests.oracle import same_bits, tensors
from tests.writing import write

#: bit patterns that arithmetic would not keep: NaNs with payloads, negative zero, infinities, the smallest subnormal
ODD = {
    torch.bfloat16: [0x7FC1, 0xFF81, 0x8000, 0x7F80, 0xFF80, 0x0001, 0x7F81, 0xFFFF],
    torch.float16: [0x7E01, 0xFC01, 0x8000, 0x7C00, 0xFC00, 0x0001, 0x7C01, 0xFFFF],
    torch.float32: [0x7FC00001, 0xFF800001, 0x80000000, 0x7F800000, 0xFF800000, 0x00000001, 0x7F800001, 0xFFFFFFFF],
}
INTEGERS = {2: torch.int16, 4: torch.int32}


def restored(base: Path, delta: Path, out: Path) -> None:
    """The target; not verified as a model, since every tensor is compared with the hash that the delta was made with."""
    write(plan_lossless(open_checkpoint(base), delta), out, verify="off")


def folder(path: Path, weights: dict[str, torch.Tensor], shards: int = 1) -> Path:
    path.mkdir()
    (path / "config.json").write_text(json.dumps({"model_type": "llama", "marker": path.name}))
    names = sorted(weights)
    parts = [names[i::shards] for i in range(shards)]
    files = ["model.safetensors"] if shards == 1 else [f"model-{i + 1:05d}-of-{shards:05d}.safetensors" for i in range(shards)]
    for file, part in zip(files, parts, strict=True):
        save_file({name: weights[name] for name in part}, path / file, metadata={"format": "pt", "who": path.name})
    if shards > 1:
        table = {name: file for file, part in zip(files, parts, strict=True) for name in part}
        (path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": table}))
    return path


def bits(dtype: torch.dtype, values: list[int]) -> torch.Tensor:
    width = torch.empty(0, dtype=dtype).element_size()
    whole = np.array(values, dtype=f"<u{width}")
    return torch.from_numpy(whole.view(f"<i{width}")).view(dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_every_bit_and_every_file_of_the_target_comes_back(dtype, tmp_path):
    torch.manual_seed(1)
    odd = bits(dtype, ODD[dtype])
    old = {"a": torch.randn(50, 8).to(dtype), "b": odd.clone(), "same": torch.randn(3, 3).to(dtype), "gone": torch.ones(2)}
    new = {
        "a": torch.cat([old["a"] + 0.01, torch.randn(7, 8).to(dtype)]),
        "b": odd.flip(0).contiguous(),
        "same": old["same"].clone(),
        "other": torch.randn(2, 5).to(dtype),
    }
    base, target = folder(tmp_path / "base", old), folder(tmp_path / "target", new, shards=2)
    make_lossless(open_checkpoint(base), open_checkpoint(target), tmp_path / "delta")
    restored(base, tmp_path / "delta", tmp_path / "back")
    for file in target.iterdir():
        assert (tmp_path / "back" / file.name).read_bytes() == file.read_bytes(), file.name


@given(st.sampled_from([1, 2, 4, 8]), st.data())
def test_unfolding_undoes_folding_whatever_the_bits(width, data):
    count = data.draw(st.integers(0, 20)) * width
    target, base = (data.draw(st.binary(min_size=count, max_size=count)) for _ in range(2))
    assert unfolded(folded(target, base, width), base, width) == target


def test_small_changes_fold_to_small_numbers():
    one, other = np.array([100, 7, 0, 50], "<u2"), np.array([101, 5, 65535, 50], "<u2")
    assert folded(other.tobytes(), one.tobytes(), 2) == bytes([2, 3, 1, 0, 0, 0, 0, 0])


def test_a_fine_tuned_checkpoint_compresses_well(tmp_path):
    torch.manual_seed(2)
    old = {"w": torch.randn(1000, 300).to(torch.bfloat16)}
    touched = torch.rand(1000, 300) < 0.05
    new = {"w": torch.where(touched, old["w"] * 1.01, old["w"])}
    made = make_lossless(
        open_checkpoint(folder(tmp_path / "base", old)), open_checkpoint(folder(tmp_path / "target", new)), tmp_path / "delta"
    )
    assert made.nbytes < 0.15 * made.target


def test_torch_files_come_back_as_safetensors_with_the_same_bits(tmp_path):
    base = golden("delta-vicuna-pad-zero").checkpoint / "base"
    target = golden("delta-alpaca-mean").checkpoint / "base"
    make_lossless(open_checkpoint(base), open_checkpoint(target), tmp_path / "delta")
    restored(base, tmp_path / "delta", tmp_path / "back")
    expected, found = tensors(target), tensors(tmp_path / "back")
    assert expected.keys() == found.keys()
    assert all(same_bits(found[name], expected[name]) for name in expected)


@pytest.fixture
def three(tmp_path):
    torch.manual_seed(3)
    old = {"w": torch.randn(20, 4), "v": torch.randn(5)}
    base = folder(tmp_path / "base", old)
    target = folder(tmp_path / "target", {"w": old["w"] * 2, "v": old["v"]})
    make_lossless(open_checkpoint(base), open_checkpoint(target), tmp_path / "delta")
    return base, tmp_path / "delta", tmp_path


def test_another_base_is_refused_before_anything_is_written(three):
    base, delta, place = three
    weights = load_file(base / "model.safetensors")
    weights["v"][3] += 1e-6
    save_file(weights, base / "model.safetensors")
    with pytest.raises(ConversionError, match=r"not the base that this delta was made from: 'v' is missing or different"):
        plan_lossless(open_checkpoint(base), delta)
    assert sorted(p.name for p in place.iterdir()) == ["base", "delta", "target"]


def test_a_base_of_other_shapes_is_refused(three):
    _, delta, place = three
    other = folder(place / "other", {"w": torch.zeros(20, 5), "v": torch.zeros(5)})
    with pytest.raises(ConversionError, match="'w' is missing or different"):
        plan_lossless(open_checkpoint(other), delta)


def test_a_damaged_delta_is_noticed_and_nothing_is_published(three):
    base, delta, place = three
    content = bytearray((delta / "delta.zst").read_bytes())
    content[len(content) // 2] ^= 1
    (delta / "delta.zst").write_bytes(content)
    with pytest.raises(ConversionError, match="damaged"):
        restored(base, delta, place / "out")
    assert not (place / "out").exists()


def test_a_frame_that_states_more_than_its_block_is_refused_before_it_is_unpacked(three):
    import zstandard

    base, delta, place = three
    told = json.loads((delta / "delta.json").read_text())
    bomb = zstandard.ZstdCompressor().compress(bytes(1 << 20))
    (delta / "delta.zst").write_bytes(bomb)
    for tensor in told["files"][0]["tensors"]:
        tensor["frames"] = [[0, len(bomb)]]
    (delta / "delta.json").write_text(json.dumps(told))
    with pytest.raises(ConversionError, match="states another size than"):
        restored(base, delta, place / "out")
    assert not (place / "out").exists()


def test_documents_of_a_delta_are_limited(three, monkeypatch):
    base, delta, _ = three
    told = json.loads((delta / "delta.json").read_text())
    (delta / "tokenizer.json").write_text("{}" * 40)
    (delta / "delta.json").write_text(json.dumps({**told, "documents": [*told["documents"], "tokenizer.json"]}))
    monkeypatch.setattr("convert.edits.lossless.TOKENIZER_LIMIT", 79)
    with pytest.raises(LimitExceeded, match=r"'tokenizer.json' has 80 bytes"):
        plan_lossless(open_checkpoint(base), delta)


@pytest.mark.parametrize("name", ["meta-llama2", "nanogpt"])
def test_a_layout_that_is_described_otherwise_gets_no_lossless_delta(name, tmp_path):
    target = open_checkpoint(golden(name).checkpoint)
    with pytest.raises(ConversionError, match=r"layouts with a config\.json"):
        make_lossless(target, target, tmp_path / "delta")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "change",
    [
        lambda told: told["files"][0].update(name="../model.safetensors"),
        lambda told: told["files"][0].update(name="model.py"),
        lambda told: told["files"][0]["tensors"][0].update(frames=[[0, 10**9]]),
        lambda told: told["files"][0]["tensors"][0].update(frames=[]),
        lambda told: told["files"][0]["tensors"][0].update(shape=[20, 5]),
        lambda told: told["files"][0]["tensors"][0].update(base="nothing"),
        lambda told: told["files"][0].update(header="00" * 8),
        lambda told: told.update(documents=["../../etc/passwd"]),
        lambda told: told.update(documents=["evil.py"]),
        lambda told: told.update(base=3),
        lambda told: told.update(weightsmith_delta=2),
    ],
)
def test_a_description_that_lies_is_refused(three, change):
    base, delta, _ = three
    told = json.loads((delta / "delta.json").read_text())
    change(told)
    (delta / "delta.json").write_text(json.dumps(told))
    with pytest.raises(ConversionError):
        plan_lossless(open_checkpoint(base), delta)
