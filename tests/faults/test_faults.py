"""A few bad days of three paths; `make faults` has all of them."""

from __future__ import annotations

import pytest

from tests.faults.modes import MODES
from tests.faults.running import missing_tools
from tests.faults.suite import tried

#: of paths whose runs take no torch
SAMPLE = {
    "bytes": ("baseline", "syscall", "powerloss", "torn", "lostwrite", "mutate"),
    "bin": ("baseline", "kill", "error", "enospc", "signal"),
    "make-delta": ("baseline", "kill", "syscall", "place"),
}


@pytest.mark.slow
@pytest.mark.parametrize("path", SAMPLE)
def test_after_a_bad_day_out_is_absent_or_complete_and_the_command_again_completes_it(path: str):
    missing = missing_tools()
    left_out = {mode: missing[MODES[mode].needs] for mode in SAMPLE[path] if MODES[mode].needs in missing}
    result = tried(path, [mode for mode in SAMPLE[path] if mode not in left_out], points=3)
    assert [str(check) for check in result.failed] == []
    assert {check.mode for check in result.checks} >= set(SAMPLE[path]) - left_out.keys()
    if left_out:
        pytest.skip("; ".join(f"{mode}: {reason}" for mode, reason in left_out.items()))
