"""Reading tensors in row blocks: the same numbers as reading them whole, in bounded memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from convert.checkpoint import open_checkpoint
from convert.checkpoint.stored import Stored
from convert.verification.weights import Weights, open_weights
from surgery.errors import ConversionError
from tests.goldens import golden
from tests.verification.decoding import TYPES, held

ROOT = Path(__file__).resolve().parents[2]


@given(
    rows=st.integers(1, 23),
    columns=st.integers(1, 9),
    block=st.integers(1, 400),
    dtype=st.sampled_from(list(TYPES)),
    data=st.data(),
)
def test_a_product_by_row_blocks_is_the_whole_product(rows, columns, block, dtype, data):
    first = data.draw(st.integers(0, rows - 1))
    last = data.draw(st.integers(first + 1, rows))
    matrix, bias, x = torch.randn(rows, columns).to(dtype), torch.randn(rows).to(dtype), torch.randn(2, 3, columns)
    weights = held({"w": matrix, "b": bias}, block_bytes=block)
    whole = x @ matrix[first:last].float().T + bias[first:last].float()
    torch.testing.assert_close(weights.linear(x, "w", "b", (first, last)), whole)


@given(rows=st.integers(1, 23), columns=st.integers(1, 9), count=st.integers(1, 4), block=st.integers(1, 400))
def test_a_product_with_an_in_out_matrix_or_one_of_a_stack_is_the_whole_product(rows, columns, count, block):
    stack, bias, x = torch.randn(count, rows, columns), torch.randn(columns), torch.randn(2, rows)
    weights = held({"stack": stack, "one": stack[0].clone(), "b": bias}, block_bytes=block)
    torch.testing.assert_close(weights.linear_from(x, "one", "b"), x @ stack[0] + bias)
    torch.testing.assert_close(weights.linear_from(x, "stack", at=count - 1), x @ stack[-1])


def test_an_embedding_reads_only_the_rows_it_needs():
    table = torch.randn(1000, 4)
    weights, seen = held({"e": table}), []
    weights._read = lambda what, start, stop, read=weights._read: seen.append((start, stop)) or read(what, start, stop)
    ids = torch.tensor([[7, 999, 7], [0, 8, 0]])
    assert torch.equal(weights.embed(ids, "e"), table[ids])
    assert seen == [(0, 1), (7, 9), (999, 1000)]


@pytest.mark.parametrize("block", [1 << 20, 1000, 1])
def test_block_scaled_fp8_is_what_the_vendors_dequantisation_gives_for_any_row_block(block):
    case = golden("deepseek-v3-fp8")
    weights = open_weights(open_checkpoint(case.checkpoint), block_bytes=block, rounded=torch.bfloat16)
    expected = {name: tensor for name, tensor in load_file(case.logits).items() if name.startswith("dequant_bf16::")}
    assert len(expected) == 4
    for name, tensor in expected.items():
        name = name.removeprefix("dequant_bf16::")
        assert torch.equal(weights.rows(name, 0, tensor.shape[0]), tensor.float())
        middle = tensor.shape[0] // 3
        assert torch.equal(weights.rows(name, middle, 2 * middle), tensor[middle : 2 * middle].float())
        x = torch.randn(3, tensor.shape[1])
        torch.testing.assert_close(weights.linear(x, name), x @ tensor.float().T)


def test_a_tensor_that_the_architecture_needs_and_the_file_lacks_is_named():
    with pytest.raises(ConversionError, match=r"'model\.norm\.weight', and the checkpoint has no such tensor"):
        held({}).vector("model.norm.weight")


def test_an_integer_tensor_is_refused_as_a_weight():
    stored = Stored("w", "memory", "I8", (2, 2), (2, 1), 0)
    with pytest.raises(ConversionError, match="type I8"):
        Weights({"w": stored}, lambda *_: bytearray(4)).rows("w", 0, 2)


def grown(layers: int, vocabulary: int) -> int:
    done = subprocess.run(
        [sys.executable, "-m", "tests.verification.memory", str(layers), str(vocabulary)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": str(4 << 20)},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(json.loads(done.stdout))


def test_the_peak_does_not_grow_with_layers_or_vocabulary():
    small, deep, wide = grown(2, 2_000), grown(12, 2_000), grown(2, 100_000)
    one_layer = 4 * (4 * 512 * 512 + 3 * 512 * 1408)  # 13 MB; ten more layers on two sides would be 256 MB
    assert deep < small + one_layer
    assert wide < small + 4 * 100_000 * 512 // 8  # an eighth of one side's head
