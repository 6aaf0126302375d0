"""A 70B model's shape in full under 8 GB: what is proved is the memory, on files that are mostly holes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.verification.seventy import VOCAB, build

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 8_000_000_000  # bytes of address space, torch included


@pytest.mark.slow
@pytest.mark.skipif(os.environ.get("WEIGHTSMITH_70B") is None, reason="reads 282 GB of holes: minutes; set WEIGHTSMITH_70B=1")
def test_a_checkpoint_of_a_70b_shape_is_verified_in_full_under_8_gb(tmp_path, capsys):
    build(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "tests.verification.seventy", str(tmp_path), str(LIMIT), str(os.cpu_count() or 1)],
        cwd=ROOT,
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": str(4 << 20)},
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(done.stdout)
    with capsys.disabled():
        print(f"\npeak {told['peak'] / 1e9:.2f} GB, {told['seconds']} s")
    assert told["passed"] and told["peak"] < LIMIT
    assert told["proved"].startswith(f"all 80 layers, 8 positions, the whole vocabulary of {VOCAB}")
