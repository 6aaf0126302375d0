"""One path through some modes, in a folder that is removed afterwards."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.bench import Bench, Check
from tests.faults.modes import MODES
from tests.faults.paths import case
from tests.faults.running import missing_tools
from tests.faults.state import tree


@dataclass(frozen=True)
class Result:
    """Every check of a path, and the modes that were left out, with the reason."""

    checks: tuple[Check, ...]
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def failed(self) -> list[Check]:
        return [check for check in self.checks if not check.passed]


def tried(
    path: str, modes: Sequence[str], *, points: int, seed: int = 0, told: Callable[[Check], None] = lambda check: None
) -> Result:
    """The path of this name without a fault, and then through these modes, ``points`` times each where chance chooses."""
    missing = dict(missing_tools())
    skipped = {mode: missing[MODES[mode].needs] for mode in modes if MODES[mode].needs in missing}
    with tempfile.TemporaryDirectory(prefix="faults-") as room:
        bench = Bench(case(path, Path(room) / "in"), Path(room) / "trials", points, random.Random(f"{path} {seed}"), missing)
        bench.told = told
        before = tree(bench.case.folder)
        bench.baseline()
        for mode in modes:
            if mode != "baseline" and mode not in skipped:
                MODES[mode].apply(bench)
        bench.note("baseline", "the input is untouched by all of it", [] if tree(bench.case.folder) == before else ["it changed"])
        return Result(tuple(bench.checks), skipped)
