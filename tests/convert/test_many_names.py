"""A checkpoint of very many tensors: what reads headers stays small. Times are the benchmark's to tell."""

from pathlib import Path

import pytest

from benchmarks.many_names import COMMANDS, measured, write
from convert.checkpoint import open_checkpoint

MOST = 300_000_000  # bytes


def test_the_benchmarks_checkpoint_is_one_that_converts(tmp_path: Path) -> None:
    count = write(tmp_path, 2_000, 7)
    assert len(open_checkpoint(tmp_path).tensors) == count
    status, _, _, said = measured(COMMANDS["plan"], tmp_path)
    assert status == 0, said


@pytest.mark.slow
def test_200_000_tensors_in_300_shards_take_little_memory(tmp_path: Path) -> None:
    assert write(tmp_path, 200_000, 300) > 199_000
    for name, arguments in COMMANDS.items():
        status, _, peak, said = measured(arguments, tmp_path)
        assert status == 0, said
        assert peak <= MOST, f"{name}: {peak:,} bytes"
