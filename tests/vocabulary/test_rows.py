"""Rows of embeddings added, kept and replaced, against torch and transformers on the same matrices."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import convert
from surgery.edits.vocabulary import (
    Fill,
    extend_rows,
    keep_rows,
    mean_rows,
    mixed_rows,
    near_mean_rows,
    normal_rows,
    replace_rows,
    zero_rows,
)
from surgery.errors import UsageError
from surgery.gathered import drawn_numbers, mean_of
from tests.vocabulary.models import EMBED, HEAD, llama, written


def extended(folder: Path, out: Path, count: int, fill: Fill, **options: int) -> dict[str, torch.Tensor]:
    artefact = extend_rows(convert.open(folder), count, fill, **options)
    return written(artefact, out)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_old_rows_keep_their_bytes_and_new_ones_are_means_of_theirs(
    tmp_path: Path, tied: bool, dtype: torch.dtype
) -> None:
    model = llama(tmp_path / "model", tied=tied, dtype=dtype)
    made = extended(tmp_path / "model", tmp_path / "out", 2, mixed_rows((mean_of([3, 5]), mean_of([7]))))
    for name in (EMBED,) if tied else (EMBED, HEAD):
        old, new = model[name], made[name]
        assert torch.equal(new[:50], old)
        assert torch.equal(new[50], ((old[3].float() + old[5].float()) / 2).to(dtype))
        assert torch.equal(new[51], old[7])
    assert (HEAD in made) is not tied


def test_new_rows_take_the_place_of_padding_and_the_rest_of_it_stays(tmp_path: Path) -> None:
    old = llama(tmp_path / "model")[EMBED]
    new = extended(tmp_path / "model", tmp_path / "out", 3, zero_rows, first=40, rows=64)[EMBED]
    assert new.shape[0] == 64
    assert torch.equal(new[:40], old[:40]) and torch.equal(new[43:50], old[43:])
    assert not new[40:43].any()
    torch.testing.assert_close(new[50:], old[:40].mean(0).expand(14, -1), atol=1e-7, rtol=0)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("width", [16, 20])  # 20 leaves incomplete lines of the random stream
def test_near_mean_rows_are_those_of_transformers(tmp_path: Path, tied: bool, width: int) -> None:
    from transformers import LlamaForCausalLM

    llama(tmp_path / "model", tied=tied, hidden=width)
    theirs = LlamaForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    torch.manual_seed(11)
    theirs.resize_token_embeddings(57, mean_resizing=True)
    wanted = theirs.state_dict()
    made = extended(tmp_path / "model", tmp_path / "out", 7, near_mean_rows(11))
    for name in (EMBED,) if tied else (EMBED, HEAD):
        mean = wanted[name][:50].mean(0)
        noise, ours = (matrix[50:].double() - mean for matrix in (wanted[name], made[name]))
        assert noise.std() > 1e-7  # so that equality says something
        torch.testing.assert_close(ours, noise, atol=float(noise.std()) * 0.02, rtol=0)


def test_near_mean_rows_of_fewer_rows_than_columns_are_the_mean(tmp_path: Path) -> None:
    old = llama(tmp_path / "model", hidden=64)[EMBED]
    new = extended(tmp_path / "model", tmp_path / "out", 2, near_mean_rows(0))[EMBED]
    torch.testing.assert_close(new[50:], old.mean(0).expand(2, -1), atol=1e-7, rtol=0)


def test_normal_rows_have_the_deviation_and_depend_on_the_seed_alone(tmp_path: Path) -> None:
    llama(tmp_path / "model")
    one, same, other = (
        extended(tmp_path / "model", tmp_path / name, 400, normal_rows(0.02, seed))[EMBED][50:]
        for name, seed in (("one", 1), ("same", 1), ("other", 2))
    )
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert one.std().item() == pytest.approx(0.02, rel=0.05) and one.mean().item() == pytest.approx(0, abs=0.002)


def test_kept_rows_are_moved_in_the_order_asked_for(tmp_path: Path) -> None:
    old = llama(tmp_path / "model", tied=False)
    kept = [0, 1, 2, 9, 8, 30, 31, 49]
    artefact = keep_rows(convert.open(tmp_path / "model"), kept)
    plan = convert.plan(artefact, tokenizer="carry")
    assert str(plan.exactness) == "byte"
    new = written(artefact, tmp_path / "out")
    assert torch.equal(new[EMBED], old[EMBED][kept]) and torch.equal(new[HEAD], old[HEAD][kept])


def test_replaced_rows_are_mixtures_and_padded_with_their_mean(tmp_path: Path) -> None:
    old = llama(tmp_path / "model")[EMBED]
    mixtures = (((4, 1.0),), ((1, 2.0), (2, -0.5)), ())
    new = written(replace_rows(convert.open(tmp_path / "model"), mixed_rows(mixtures), 3, padded=4), tmp_path / "out")[
        EMBED
    ]
    torch.testing.assert_close(new[:3], torch.stack((old[4], 2 * old[1] - 0.5 * old[2], torch.zeros_like(old[0]))))
    torch.testing.assert_close(new[3], old.mean(0), atol=1e-7, rtol=0)


@pytest.mark.parametrize("options", [{"first": 51}, {"first": 50, "rows": 51}])
def test_rows_that_do_not_fit_are_refused(tmp_path: Path, options: dict[str, int]) -> None:
    llama(tmp_path / "model")
    with pytest.raises(UsageError, match="do not fit"):
        extend_rows(convert.open(tmp_path / "model"), 2, mean_rows, **options)


@given(st.integers(1, 400), st.integers(0, 200))
def test_the_numbers_torch_takes_are_counted(count: int, seed: int) -> None:
    first, second = (torch.Generator().manual_seed(seed) for _ in range(2))
    torch.empty(count).normal_(generator=first)
    if count >= 16:  # fewer are drawn in another way, in pairs
        torch.empty(drawn_numbers(count)).uniform_(generator=second)
        assert torch.equal(torch.rand(4, generator=first), torch.rand(4, generator=second))


@given(st.integers(1, 60), st.integers(1, 40), st.data())
def test_any_block_of_drawn_rows_is_that_of_the_whole(rows: int, width: int, data: st.DataObject) -> None:
    from surgery.gathered import _normal

    first = data.draw(st.integers(0, rows - 1))
    count = data.draw(st.integers(1, rows - first))
    whole = torch.empty(rows, width).normal_(generator=torch.Generator().manual_seed(3))
    block = _normal(((first, count), (0, width)), (rows, width), 3, 0)
    assert torch.equal(block, whole[first : first + count])
