"""The deep pass, against numpy's own opinion of what is no number."""

import tracemalloc
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from convert.checkpoint.files import list_folder
from convert.validate.scan import BLOCK, Seen, scan
from convert.validate.weights import read_weights
from tests.validate.repository import CODES, safetensors

KINDS = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16,
    "F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E5M2": ml_dtypes.float8_e5m2,
}  # fmt: skip
CODES.update({np.dtype(kind).name: code for code, kind in KINDS.items()})


def seen(path: Path, value: np.ndarray, **more: np.ndarray) -> Seen:
    (path / "model.safetensors").write_bytes(safetensors({"w": value, **more}, {"format": "pt"}))
    return scan(read_weights(list_folder(path))).tensors["model.safetensors", "w"]


@pytest.mark.parametrize("code", KINDS)
@given(pattern=st.binary(min_size=64, max_size=512))
def test_nan_and_infinities_are_counted_as_numpy_counts_them(
    code: str, pattern: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    kind = np.dtype(KINDS[code])
    value = np.frombuffer(pattern[: len(pattern) // kind.itemsize * kind.itemsize], kind)
    with np.errstate(all="ignore"):
        wide = value.astype(np.float64)
        zero = not (wide != 0).any()
    told = seen(tmp_path_factory.mktemp("scan"), value)
    assert (told.nan, told.inf) == (int(np.isnan(wide).sum()), int(np.isinf(wide).sum()))
    assert told.zero == zero


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("code", KINDS)
def test_a_single_one_is_found_anywhere(code: str, number: float, tmp_path: Path) -> None:
    number = np.nan if code == "F8_E4M3" else number  # this type has no infinity
    for place in (0, 4095, 8191):
        value = np.ones(8192, KINDS[code])
        value[place] = number
        told = seen(tmp_path, value)
        assert told.nan + told.inf == 1 and bool(told.nan) == bool(np.isnan(number))


def test_what_lies_in_a_later_block_is_found(tmp_path: Path) -> None:
    rows = 3 * BLOCK // (1000 * 4) + 17
    value = np.random.default_rng(0).normal(size=(rows, 1000)).astype(np.float32)
    value[-1, -1], value[rows // 2] = np.nan, 0.125
    told = seen(tmp_path, value)
    assert (told.nan, told.inf, told.constant, told.rows) == (1, 0, 1, rows)


@given(constant=st.sets(st.integers(0, 19), max_size=5), width=st.integers(8, 40))
def test_constant_rows_are_counted(constant: set[int], width: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    value = np.random.default_rng(width).normal(size=(20, width)).astype(np.float32)
    value[:, 1] = value[:, 0]  # rows that look constant at first
    for row in constant:
        value[row] = row
    assert seen(tmp_path_factory.mktemp("scan"), value).constant == len(constant)


def test_negative_zero_is_zero(tmp_path: Path) -> None:
    assert seen(tmp_path, np.array([[0.0, -0.0] * 8] * 2, np.float32)).zero


def test_equal_bytes_of_another_shape_or_type_have_another_digest(tmp_path: Path) -> None:
    value = np.arange(1, 65, dtype=np.float32)
    digests = {
        seen(tmp_path, value).digest,
        seen(tmp_path, value.reshape(8, 8)).digest,
        seen(tmp_path, value.view(np.int64)).digest,
    }
    assert len(digests) == 3
    assert seen(tmp_path, value.copy()).digest == seen(tmp_path, value, other=value).digest


def test_the_hash_of_a_file_is_that_of_all_its_bytes(tmp_path: Path) -> None:
    content = safetensors({"w": np.ones((5, 9), np.float32), "v": np.ones(3, np.float16)}, {"format": "pt"})
    (tmp_path / "model.safetensors").write_bytes(content)
    found = scan(read_weights(list_folder(tmp_path)), sha256=True)
    assert found.hashes == {"model.safetensors": xxhash.xxh3_128(content).hexdigest()}
    import hashlib

    assert found.sha256 == {"model.safetensors": hashlib.sha256(content).hexdigest()}


def test_tensors_of_torch_files_are_looked_at_in_their_own_order(tmp_path: Path) -> None:
    import torch

    value = torch.ones(9, 12)
    value[2, 3] = float("nan")
    torch.save({"w": value.t()}, tmp_path / "pytorch_model.bin")
    told = scan(read_weights(list_folder(tmp_path))).tensors["pytorch_model.bin", "w"]
    assert (told.nan, told.constant, told.rows) == (1, 11, 12)


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    with open(tmp_path / "model.safetensors", "wb") as out:
        rows = 200_000
        text = b'{"w":{"dtype":"BF16","shape":[%d,512],"data_offsets":[0,%d]}}' % (rows, rows * 1024)
        out.write(len(text).to_bytes(8, "little") + text)
        out.truncate(8 + len(text) + rows * 1024)
    weights = read_weights(list_folder(tmp_path))
    scan(weights)  # imports
    tracemalloc.start()
    scan(weights)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * BLOCK
