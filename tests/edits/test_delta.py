"""Additive deltas: the goldens, both paddings, the published sum, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import convert
from convert.edits.delta import apply_delta, make_delta
from surgery.additions import MeanRows, added, with_mean_rows, with_zero_rows
from surgery.errors import ConversionError, UsageError, VerificationFailed
from surgery.values import Exactness, Moved, exactness
from tests.edits.adapters import ulps
from tests.goldens import golden
from tests.oracle import native_logits, same_bits, tensors
from tests.writing import write

GOLDENS = {"delta-vicuna-pad-zero": "zero", "delta-alpaca-mean": "mean"}


def sides(name: str) -> tuple[Path, Path]:
    return golden(name).checkpoint / "base", golden(name).checkpoint / "delta"


@pytest.mark.parametrize("name", GOLDENS)
def test_a_golden_delta_gives_the_target_and_its_published_sum(name, tmp_path):
    base, delta = sides(name)
    truth = load_file(golden(name).logits)
    artefact = apply_delta(convert.open(base), delta, pad=GOLDENS[name], total=float(truth["target_sum_all_params"]))
    done = write(convert.plan(artefact, tokenizer="carry"), tmp_path / "out")
    assert done.verdict is not None and done.verdict.passed
    found, old, change = tensors(tmp_path / "out"), tensors(base), tensors(delta)
    for key, value in found.items():
        padded = old[key]
        if len(padded) < len(value):
            row = padded.mean(0, keepdim=True) if GOLDENS[name] == "mean" else torch.zeros_like(padded[:1])
            padded = torch.cat([padded, row])
        assert ulps(value, padded + change[key]) <= 1
    logits = native_logits(tmp_path / "out", truth["input_ids"])
    assert (logits - truth["logits"]).abs().max() <= 1e-4
    assert json.loads((tmp_path / "out" / "config.json").read_text())["vocab_size"] == len(found["lm_head.weight"])


@pytest.mark.parametrize("off", [0.02, -0.02])
def test_weights_that_do_not_add_up_are_not_published(off, tmp_path):
    base, delta = sides("delta-alpaca-mean")
    total = float(load_file(golden("delta-alpaca-mean").logits)["target_sum_all_params"]) + off
    plan = convert.plan(apply_delta(convert.open(base), delta, pad="mean", total=total), tokenizer="carry")
    with pytest.raises(VerificationFailed, match="--pad should be the other"):
        write(plan, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_published_sum_may_count_the_rotary_buffers(tmp_path):
    base, delta = sides("delta-alpaca-mean")
    total = float(load_file(golden("delta-alpaca-mean").logits)["target_sum_all_params"])
    total += 3 * sum(10000.0 ** (-i / 16) for i in range(0, 16, 2))
    plan = convert.plan(apply_delta(convert.open(base), delta, pad="mean", total=total), tokenizer="carry")
    write(plan, tmp_path / "out")


@pytest.mark.parametrize("name", GOLDENS)
def test_making_a_delta_and_applying_it_gives_the_target_up_to_a_rounding(name, tmp_path):
    base, delta = sides(name)
    pad = GOLDENS[name]
    whole = convert.plan(apply_delta(convert.open(base), delta, pad=pad), tokenizer="carry")
    write(whole, tmp_path / "target")
    made = convert.plan(make_delta(convert.open(base), convert.open(tmp_path / "target"), pad=pad), tokenizer="carry")
    write(made, tmp_path / "delta", verify="off")  # a difference is no model
    again = convert.plan(apply_delta(convert.open(base), tmp_path / "delta", pad=pad), tokenizer="carry")
    write(again, tmp_path / "again")
    target, back = tensors(tmp_path / "target"), tensors(tmp_path / "again")
    assert max(ulps(back[key], value) for key, value in target.items()) <= 2


def test_a_delta_with_more_tokens_needs_the_padding_said():
    base, delta = sides("delta-alpaca-mean")
    with pytest.raises(UsageError, match=r"277 tokens and the base 276.*--pad zero .*--pad mean"):
        apply_delta(convert.open(base), delta)


def test_a_delta_with_as_many_tokens_needs_no_padding(tmp_path):
    base = golden("llama-gqa").checkpoint
    artefact = apply_delta(convert.open(base), base)
    write(convert.plan(artefact), tmp_path / "out")
    old = tensors(base)
    assert all(same_bits(value, old[key] * 2) for key, value in tensors(tmp_path / "out").items())


@pytest.mark.parametrize("change, match", [
    ({"num_hidden_layers": 2}, "layers"),
    ({"hidden_size": 32}, "not of the base's family"),
    ({"model_type": "qwen2"}, None),
])  # fmt: skip
def test_a_delta_whose_config_says_another_model_is_refused(change, match, tmp_path):
    base, delta = sides("delta-alpaca-mean")
    shutil.copytree(delta, tmp_path / "delta")
    config = json.loads((delta / "config.json").read_text())
    (tmp_path / "delta" / "config.json").write_text(json.dumps({**config, **change}))
    if match is None:
        assert apply_delta(convert.open(base), tmp_path / "delta", pad="mean")
        return
    with pytest.raises(ConversionError, match=match):
        apply_delta(convert.open(base), tmp_path / "delta", pad="mean")


def test_a_delta_with_another_number_of_layers_is_refused(tmp_path):
    base = golden("llama-gqa").checkpoint
    folder = tmp_path / "delta"
    folder.mkdir()
    config = json.loads((base / "config.json").read_text())
    kept = {k: v for k, v in tensors(base).items() if ".layers.2." not in k}
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 2}))
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConversionError, match=r"belongs to another base \(decoder layers: 3 in the base, 2 in the delta\)"):
        apply_delta(convert.open(base), folder)


def test_a_tied_delta_whose_stored_head_is_another_is_refused(tmp_path):
    base = golden("llama-tied").checkpoint
    (tmp_path / "delta").mkdir()
    shutil.copy(base / "config.json", tmp_path / "delta")
    held = tensors(base)
    other_head = {"lm_head.weight": held["model.embed_tokens.weight"] + 1}
    save_file({**held, **other_head}, tmp_path / "delta/model.safetensors", {"format": "pt"})
    with pytest.raises(ConversionError, match=r"lm_head\.weight' differs from 'delta1/model\.embed_tokens"):
        apply_delta(convert.open(base), tmp_path / "delta")


def test_a_base_with_more_tokens_than_the_delta_is_refused():
    base, delta = sides("delta-alpaca-mean")
    with pytest.raises(ConversionError, match="276 tokens and the base 277"):
        make_delta(convert.open(delta), convert.open(base), pad="zero")


def matrix(rows: int, columns: int) -> Moved:
    from surgery.movement import Piece

    return Moved(("vocab", "hidden"), (rows, columns), "F32", (Piece("w", 0, (0, 0), (rows, columns), (columns, 1)),))


@given(st.integers(1, 7), st.integers(1, 5), st.integers(0, 4), st.data())
def test_padded_rows_are_the_mean_in_every_region(rows, columns, more, data):
    from convert.evaluate import evaluate
    from convert.stream import Scratch, Source

    values = torch.arange(rows * columns, dtype=torch.float32).reshape(rows, columns) ** 1.5
    raw = values.numpy().tobytes()

    def read(file: str, offset: int, buffer: memoryview) -> None:
        buffer[:] = raw[offset : offset + len(buffer)]

    class At:
        file, offset = "f", 0

    expected = torch.cat([values, values.double().mean(0).float().expand(more, columns)])
    region = []
    for size in expected.shape:
        first = data.draw(st.integers(0, size - 1))
        region.append((first, data.draw(st.integers(1, size - first))))
    (top, high), (left, wide) = region
    found = evaluate(with_mean_rows(matrix(rows, columns), rows + more), tuple(region), Source({"w": At()}, read), Scratch())
    assert torch.equal(found, expected[top : top + high, left : left + wide])


def test_zero_rows_of_what_is_moved_stay_of_class_byte_and_mean_rows_do_not():
    assert exactness(with_zero_rows(matrix(3, 2), 5)) is Exactness.BYTE
    assert exactness(with_mean_rows(matrix(3, 2), 5)) is Exactness.ALGEBRAIC
    assert with_mean_rows(matrix(3, 2), 3) == matrix(3, 2)


def test_adding_is_undone_by_subtracting_the_same():
    one, other = matrix(3, 2), matrix(3, 2)
    assert added(one, other).undo(one) == added(one, other, -1.0)
    assert MeanRows(("vocab",), (3,), "F32", (one,)).describe() == "rows of the mean"
