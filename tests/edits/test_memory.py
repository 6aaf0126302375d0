"""What merging a LoRA needs: bounded memory, at any size of the base."""

import pytest

from benchmarks.synthetic import Synthetic
from convert.checkpoint import open_checkpoint
from convert.edits.lossless import plan_lossless
from tests.convert.test_memory import MB
from tests.edits.measured import peak


@pytest.mark.slow
def test_merging_rank_64_into_every_linear_layer_stays_below_500_megabytes(tmp_path):
    peaks = []
    for gigabytes in (0.4, 2.0):
        made = Synthetic(1, gigabytes, 3, "safetensors")
        source, adapter, out = (tmp_path / f"{name}-{gigabytes}" for name in ("source", "adapter", "out"))
        made.write(source)
        made.write_adapter(adapter, 64)
        peaks.append(peak("merge-lora", source, out, "--variant", "7b", "--adapter", adapter, "--verify", "off"))
        assert peaks[-1] <= 500 * MB
    assert peaks[1] <= peaks[0] * 1.15


@pytest.mark.slow
def test_a_lossless_delta_is_made_and_applied_in_little_memory(tmp_path):
    base, target = tmp_path / "base", tmp_path / "target"
    for folder in (base, target):
        Synthetic(1, 0.5, 2, "safetensors").write(folder)
    assert peak("make-delta", base, target, tmp_path / "delta", "--lossless") <= 200 * MB
    planned = plan_lossless(open_checkpoint(base), tmp_path / "delta").writer_peak
    assert planned <= 200 * MB
    assert peak("apply-delta", base, tmp_path / "out", "--delta", tmp_path / "delta") <= planned
    for file in target.iterdir():
        assert (tmp_path / "out" / file.name).read_bytes() == file.read_bytes()
