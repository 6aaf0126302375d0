"""The golden cases: tiny checkpoints in the vendors' own layout, each with the logits the vendor's own code computed.

All of them lie in tests/golden, whose README.md tells the format; `python -m tests.check_golden` checks a folder of it.
Cases that lie only in ../shared/golden are taken along where that is.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from tests.shared import SHARED

GOLDEN = Path(__file__).resolve().parent / "golden"

#: where cases lie; of two that have one name, the later root's counts
ROOTS = (SHARED / "golden", GOLDEN)


@dataclass(frozen=True)
class Golden:
    """One case; the file `logits` holds `input_ids` [2, T], `logits` [2, T, V], `hidden_states` [L + 1, 2, T, H]."""

    name: str
    folder: Path

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint"

    @property
    def logits(self) -> Path:
        return self.folder / "golden.safetensors"

    @cached_property
    def provenance(self) -> Mapping[str, Any]:
        """Whose code computed it, with what, and by how much each possible mistake moves the logits."""
        loaded: dict[str, Any] = json.loads((self.folder / "provenance.json").read_text(encoding="utf-8"))
        return loaded

    def __str__(self) -> str:
        return self.name


@cache
def _union() -> tuple[Golden, ...]:
    """Every case of every root, by name."""
    folders = {
        folder.name: folder
        for root in ROOTS
        if root.is_dir()
        for folder in root.iterdir()
        if (folder / "provenance.json").is_file()
    }
    return tuple(Golden(name, folders[name]) for name in sorted(folders))


def goldens(*prefixes: str) -> tuple[Golden, ...]:
    """Every case whose name starts with one of `prefixes` (with none: every case), by name.

    A prefix that matches nothing is an error: a test must not run on nothing.
    """
    cases = _union()
    unmatched = [prefix for prefix in prefixes if not any(case.name.startswith(prefix) for case in cases)]
    if unmatched:
        raise LookupError(f"no golden case starts with {', '.join(unmatched)}")
    return tuple(case for case in cases if not prefixes or case.name.startswith(prefixes))


def golden(name: str) -> Golden:
    """The case of exactly this name."""
    found = [case for case in _union() if case.name == name]
    if not found:
        raise LookupError(f"no golden case is called {name}")
    return found[0]
