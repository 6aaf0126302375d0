"""Attention, ALiBi and rotation against torch's own and against the definitions written out."""

import json
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from convert.verification import blocks, rope
from surgery.errors import ConversionError
from tests.goldens import GOLDEN


def heads(batch: int, count: int, length: int, dim: int) -> torch.Tensor:
    return torch.randn(batch, count, length, dim, dtype=torch.float64)


@given(
    batch=st.integers(1, 2),
    kv=st.integers(1, 3),
    group=st.integers(1, 3),
    length=st.integers(1, 17),
    window=st.none() | st.integers(1, 20),
    scores=st.integers(1, 300),
)
def test_attention_in_query_blocks_is_scaled_dot_product_attention(batch, kv, group, length, window, scores):
    q, k, v = heads(batch, kv * group, length, 4), heads(batch, kv, length, 4), heads(batch, kv, length, 4)
    query, key = torch.arange(length)[:, None], torch.arange(length)
    visible = (key <= query) & (key > query - (window or length))
    expected = F.scaled_dot_product_attention(
        q, k.repeat_interleave(group, 1), v.repeat_interleave(group, 1), attn_mask=visible
    )
    whole = blocks._SCORES
    try:
        blocks._SCORES = scores
        torch.testing.assert_close(blocks.attend(q, k, v, window=window), expected)
    finally:
        blocks._SCORES = whole


def test_alibi_with_absolute_keys_is_alibi_with_distances():
    q, k, v = heads(1, 3, 9, 4), heads(1, 3, 9, 4), heads(1, 3, 9, 4)
    slopes = torch.tensor([0.5, 0.25, 0.125], dtype=torch.float64)
    distance = (torch.arange(9)[None] - torch.arange(9)[:, None]).double()
    bias = (slopes[:, None, None] * distance).masked_fill(distance > 0, float("-inf"))
    torch.testing.assert_close(
        blocks.attend(q, k, v, slopes=slopes), F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    )


def test_alibi_slopes_are_the_vendors_for_1_to_64_heads():
    recorded = json.loads((GOLDEN / "alibi_slopes.json").read_text())
    recorded = recorded.get("slopes", recorded)
    for count in range(1, 65):
        torch.testing.assert_close(
            blocks.alibi_slopes(count), torch.tensor(recorded[str(count)], dtype=torch.float64), rtol=1e-6, atol=0
        )


def test_a_chunk_hides_keys_of_other_chunks_and_a_prefix_shows_all_of_itself():
    q, k = torch.zeros(1, 1, 4, 2), torch.zeros(1, 1, 4, 2)  # equal scores: the result is the mean of what is visible
    v = torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 4, 1)
    assert blocks.attend(q, k, v, chunk=2).flatten().tolist() == [1.0, 1.5, 3.0, 3.5]
    assert blocks.attend(q, k, v, prefix=torch.tensor([3])).flatten().tolist() == [2.0, 2.0, 2.0, 2.5]


def test_a_soft_cap_bounds_scores_before_the_mask():
    q, k, v = torch.full((1, 1, 2, 1), 100.0), torch.tensor([[[[1.0], [-1.0]]]]), torch.tensor([[[[1.0], [0.0]]]])
    second = 1 / (1 + math.exp(-2 * 5.0))  # tanh saturates: scores are 5 and -5
    torch.testing.assert_close(blocks.attend(q, k, v, softcap=5.0).flatten(), torch.tensor([1.0, second]))


@given(pairs=st.integers(1, 5), rest=st.integers(0, 3), length=st.integers(1, 9))
def test_interleaved_rotation_is_half_split_rotation_of_reordered_dimensions(pairs, rest, length):
    table = rope.plain(100.0, 2 * pairs)
    x = heads(1, 2, length, 2 * pairs + rest)
    order = [*range(0, 2 * pairs, 2), *range(1, 2 * pairs, 2), *range(2 * pairs, 2 * pairs + rest)]
    torch.testing.assert_close(table.rotate(x, interleaved=True)[..., order], table.rotate(x[..., order]))


def test_a_rotation_turns_pairs_by_position_times_frequency_and_keeps_the_rest():
    x = torch.tensor([1.0, 0.0, 7.0], dtype=torch.float64).expand(1, 1, 3, 3)
    turned = rope.plain(10000.0, 2).rotate(x)
    for position in range(3):
        expected = [math.cos(position), math.sin(position), 7.0]
        torch.testing.assert_close(turned[0, 0, position], torch.tensor(expected, dtype=torch.float64))


def test_given_positions_replace_counting():
    table, x = rope.plain(10000.0, 4), heads(1, 2, 3, 4)
    shifted = table.rotate(torch.cat((heads(1, 2, 2, 4), x), 2))[:, :, 2:]
    torch.testing.assert_close(table.rotate(x, positions=torch.tensor([[2, 3, 4]])), shifted)


def test_both_forms_of_rope_keys_mean_the_same():
    old = rope.settings({"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2.0}})
    new = rope.settings({"rope_parameters": {"rope_type": "linear", "rope_theta": 5e5, "factor": 2.0}})
    assert {key: old[key] for key in new} == new


@pytest.mark.parametrize(
    ("keys", "message"),
    [({"rope_type": "spiral"}, "'spiral'"), ({"rope_type": "linear", "partial_rotary_factor": 0.5}, "means nothing")],
)
def test_rope_keys_without_a_meaning_are_refused(keys, message):
    with pytest.raises(ConversionError, match=message):
        rope.table({"rope_theta": 1e4, "factor": 2.0, **keys}, 8, length=4, longest=8, partial=False)


def test_heads_of_another_width_than_the_config_says_are_refused():
    with pytest.raises(ConversionError, match=r"yields 12 values where config\.json asks for 2 heads of 8"):
        blocks.split(torch.zeros(1, 1, 12), 2, 8)


def test_an_unknown_activation_is_refused_by_name():
    with pytest.raises(ConversionError, match="'mystery'"):
        blocks.activation("mystery")
