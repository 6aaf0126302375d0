"""The golden cases: tiny checkpoints in the vendors' own layout, each with the logits the vendor's own code computed.

All of them lie in ../shared/golden; the dozen that a fresh clone needs are copied to tests/golden.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.shared import SHARED

COPIES = Path(__file__).resolve().parent / "golden"


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


def goldens(*prefixes: str) -> tuple[Golden, ...]:
    """Every case whose name starts with one of `prefixes` (with none: every case), by name.

    A prefix that matches nothing is an error where all the cases are, and says nothing where only the copies are.
    """
    everything = SHARED / "golden"
    root = everything if everything.is_dir() else COPIES
    cases = tuple(
        Golden(folder.name, folder) for folder in sorted(root.iterdir()) if (folder / "provenance.json").is_file()
    )
    unmatched = [prefix for prefix in prefixes if not any(case.name.startswith(prefix) for case in cases)]
    if unmatched and root != COPIES:
        raise LookupError(f"no golden case starts with {', '.join(unmatched)} under {root}")
    return tuple(case for case in cases if not prefixes or case.name.startswith(prefixes))


def golden(name: str) -> Golden:
    """The case of exactly this name: from ../shared when it is there, else its copy."""
    found = [case for case in goldens(name) if case.name == name]
    if not found:
        raise LookupError(f"no golden case is called {name}")
    return found[0]
