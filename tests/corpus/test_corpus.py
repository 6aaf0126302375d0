"""What must happen to each bad file happens; a sample always, all of them slowly (`python -m tests.corpus`)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.corpus.case import Case
from tests.corpus.good import HALVES, Good
from tests.corpus.judge import VERIFY, expected, judged, left_out
from tests.corpus.table import GROUPS
from tests.odd.here import in_this_process

CASES = {case.name: case for cases in GROUPS.values() for case in cases}
#: of each group some, and of each way to end
SAMPLE = (
    "st_truncated_at_tensor_edge", "st_dup_key_escaped", "st_shape_wraps_to_size", "st_name_control", "sem_missing_tensor",
    "sem_inf", "idx_traversal", "idx_total_size_wrong", "cfg_deep", "cfg_auto_map_local_code", "fs_tokenizer_symlink_outside",
    "fs_fifo", "fs_unreadable_shard", "bin_stack_global", "bin_two_data_pkl", "bin_expand_bomb",
    "ok_bin_shared_storage",
)  # fmt: skip
PARTS = 3  # of a half and a way to verify, each below a minute on one core


@pytest.fixture(autouse=True)
def here() -> Iterator[None]:
    with in_this_process():
        yield


def faults(cases: list[Case], half: str, verify: str, folder: Path) -> list[str]:
    tried = [case for case in cases if not left_out(case)]
    assert tried
    return [f"{case}: {what}" for case in tried for what in judged(case, half, verify, folder / "case")]


@pytest.mark.parametrize("verify", VERIFY)
def test_a_bad_file_of_each_kind_ends_as_it_must(verify: str, tmp_path: Path) -> None:
    sample = [CASES[name] for name in SAMPLE]
    assert {case.kind for case in sample} == {case.kind for case in CASES.values()}
    assert faults(sample[::2], HALVES[0], verify, tmp_path) == []
    assert faults(sample[1::2], HALVES[1], verify, tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("verify", VERIFY)
@pytest.mark.parametrize("half", HALVES)
def test_every_bad_file_ends_as_it_must(half: str, verify: str, part: int, tmp_path: Path) -> None:
    assert faults(list(CASES.values())[part::PARTS], half, verify, tmp_path) == []


def test_every_case_has_a_name_of_its_own() -> None:
    assert len(CASES) == sum(map(len, GROUPS.values()))
    assert all(re.compile(case.says) for case in CASES.values())


def test_a_head_of_baichuan_2_is_compared_with_rows_of_unit_norm(tmp_path: Path) -> None:
    good = Good(tmp_path / "case", HALVES[0], "head", "baichuan")
    good.write(good.made("F32"))
    head, made = good.kept["lm_head.weight"].tensor(), expected(good)
    torch.testing.assert_close(made["lm_head.weight"].norm(dim=1), torch.ones(len(head)))
    packed = good.kept["model.layers.0.self_attn.W_pack.weight"].tensor()
    assert torch.equal(torch.cat([made[f"model.layers.0.self_attn.{part}_proj.weight"] for part in "qkv"]), packed)


def _without_a_tensor(good: Good) -> None:
    good.kept["model.more.weight"] = good.stored("F32", (2,))


def _other_values(good: Good) -> None:
    good.kept["model.norm.weight"] = good.stored("BF16", (good.hidden,))


def _ran(good: Good) -> None:
    good.canary.touch()


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        ("ok_plain", {"verified": 3, "unverified": 3}, "ended with 0, not 3"),
        ("st_empty_file", {"says": "a word that nobody says"}, "does not say"),
        ("idx_total_size_wrong", {"says": "a word that nobody says"}, "no warning"),
        ("ok_plain", {"change": _without_a_tensor}, "1 tensors are missing"),
        ("ok_plain", {"change": _other_values}, "1 tensors are missing or have other values"),
        ("st_empty_file", {"change": _ran}, "code of the checkpoint ran"),
    ],
)
def test_the_judge_sees_what_is_wrong(
    name: str, changes: dict[str, int | str | Callable[[Good], None]], says: str, tmp_path: Path
) -> None:
    case = replace(CASES[name], **changes)  # type: ignore[arg-type]
    assert any(says in what for what in judged(case, HALVES[0], "off", tmp_path / "case"))
