"""Bytes of tensors and rows, from windows written out by hand."""

from pathlib import Path

import pytest

from convert.checkpoint import Sources, Stored, read_rows, read_tensor, row_major
from convert.checkpoint.files import list_folder
from convert.checkpoint.reading import same_values


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    (tmp_path / "x").write_bytes(bytes(range(64)))
    return Sources({"x": list_folder(tmp_path).find("x")})


def window(shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0, dtype: str = "U8") -> Stored:
    return Stored("w", "x", dtype, shape, strides, offset)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (window((2, 3), (3, 1), 10), [10, 11, 12, 13, 14, 15]),
        (window((2, 3), (1, 2), 10), [10, 12, 14, 11, 13, 15]),
        (window((2, 2), (8, 1), 4), [4, 5, 12, 13]),
        (window((3,), (2,), 1), [1, 3, 5]),
        (window((), (), 7), [7]),
        (window((0, 3), (3, 1), 64), []),
        (window((3, 0), (1, 1), 64), []),
        (window((1, 3), (99, 1), 61), [61, 62, 63]),
        (window((2, 2), (1, 2), 2, "U16"), [2, 3, 6, 7, 4, 5, 8, 9]),
        (window((2, 1), (3, 1), 60), [60, 63]),
    ],
)
def test_a_window_reads_row_major(sources: Sources, stored: Stored, expected: list[int]) -> None:
    assert read_tensor(sources, stored) == bytes(expected)


def test_rows_are_a_part_of_the_first_axis(sources: Sources) -> None:
    plain, transposed = window((4, 3), (3, 1), 10), window((4, 3), (1, 4), 10)
    assert read_rows(sources, plain, 1, 3) == bytes(range(13, 19))
    assert read_rows(sources, transposed, 1, 3) == bytes([11, 15, 19, 12, 16, 20])
    assert read_rows(sources, plain, 2, 2) == b""
    assert read_rows(sources, transposed, 4, 4) == b""
    for start, stop in ((-1, 2), (3, 5), (3, 2)):
        with pytest.raises(IndexError):
            read_rows(sources, plain, start, stop)
    with pytest.raises(IndexError):
        read_rows(sources, window((), (), 0), 0, 0)


def test_values_are_compared_bit_for_bit_and_never_across_dtypes(sources: Sources) -> None:
    assert same_values(sources, window((2, 2), (2, 1), 0), window((2, 2), (2, 1), 0))
    assert not same_values(sources, window((2, 2), (2, 1), 0), window((2, 2), (2, 1), 1))
    assert not same_values(sources, window((2, 2), (2, 1), 0), window((4,), (1,), 0))
    assert not same_values(sources, window((2,), (1,), 0), window((2,), (1,), 0, "I8"))
    assert same_values(sources, window((0,), (1,), 0), window((0,), (1,), 9))
    assert not same_values(sources, window((), (), 0), window((), (), 9))


def test_contiguity_ignores_axes_of_size_one_and_empty_tensors() -> None:
    assert window((2, 1, 3), (3, 77, 1)).contiguous
    assert window((0, 5), (1, 1)).contiguous
    assert not window((2, 3), (1, 2)).contiguous
    assert row_major((2, 0, 3)) == (3, 3, 1)
