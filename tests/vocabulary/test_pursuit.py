"""Orthogonal matching pursuit: sums that were made are found again, and no fit is worse than a smaller one."""

from itertools import pairwise

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from surgery.gathered import Mixture
from surgery.pursuit import pursue


def summed(mixture: Mixture, dictionary: torch.Tensor) -> torch.Tensor:
    return sum((weight * dictionary[row] for row, weight in mixture), torch.zeros(dictionary.shape[1]))


@given(st.integers(0, 1000))
@settings(max_examples=20)
def test_a_sum_of_rows_at_right_angles_is_found_with_its_weights(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    dictionary, _ = torch.linalg.qr(torch.randn(12, 12, generator=random))
    weights = torch.randn(3, generator=random)
    rows = torch.randperm(12, generator=random)[:3]
    (mixture,) = pursue((weights[:, None] * dictionary[rows]).sum(0)[None], dictionary, 5)
    found = {row: weight for row, weight in mixture if abs(weight) > 1e-5}
    wanted = {int(row): float(weight) for row, weight in zip(rows, weights, strict=True) if abs(weight) > 1e-4}
    assert all(abs(found[row] - weight) < 1e-4 for row, weight in wanted.items())


@given(st.integers(0, 1000))
@settings(max_examples=20)
def test_more_rows_come_closer(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    dictionary, targets = torch.randn(40, 16, generator=random), torch.randn(5, 16, generator=random)
    errors = [
        torch.stack(
            [
                (target - summed(m, dictionary)).norm()
                for target, m in zip(targets, pursue(targets, dictionary, k), strict=True)
            ]
        )
        for k in (1, 2, 4, 8)
    ]
    assert all((after <= before + 1e-5).all() for before, after in pairwise(errors))
    best = torch.stack(
        [dictionary[i] * (dictionary[i] @ targets[0]) / (dictionary[i] @ dictionary[i]) for i in range(40)]
    )
    torch.testing.assert_close(errors[0][0], (targets[0] - best).norm(dim=1).min())


def test_a_target_that_is_a_row_is_that_row_even_among_doubles() -> None:
    dictionary = torch.eye(6).repeat(2, 1)
    (mixture,) = pursue(dictionary[3][None] * 2.0, dictionary, 4)
    torch.testing.assert_close(summed(mixture, dictionary), dictionary[3] * 2.0, atol=1e-5, rtol=0)


def test_a_target_of_zeros_is_nothing() -> None:
    (mixture,) = pursue(torch.zeros(1, 4), torch.eye(4), 2)
    assert not summed(mixture, torch.eye(4)).any()
