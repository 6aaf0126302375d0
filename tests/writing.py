"""Writing a plan in a test: the one way that tests write, verified unless a test says why not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import convert.writing
from convert.checkpoint import open_checkpoint
from convert.planning import Plan
from convert.verification import run
from convert.verification.verdict import Verdict
from convert.verified import verifier
from convert.writing import Written

Check = Callable[[Path], convert.writing.Verdict]
#: what only a process of its own can be given
OF_A_CHILD = ("memory", "threads")


def write(plan: Plan, out: Path | str, *, verify: str | Check = "full", **options: Any) -> Written:
    """``plan`` carried out under the name ``out``, verified as ``convert.write`` would, in this process: no child to start.

    A child costs seconds of imports, a golden case milliseconds; tests/verification/test_child.py is about the child.
    """
    check = verifier(plan, verify) if isinstance(verify, str) else verify
    with mock.patch("convert.verification.child.run_child", _here):
        return convert.writing.write(plan, out, verify=check, **options)


def _here(source: Path | str, output: Path | str, **options: Any) -> Verdict:
    for name in OF_A_CHILD:
        options.pop(name, None)
    return run.verify(open_checkpoint(source), open_checkpoint(output), **options)
