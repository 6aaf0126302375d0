"""The sweeps by name, and all their cases."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

from tests.differential.case import Case

#: the first word of a case's id -> the module whose `cases` gives it, and what it sweeps over
SWEEPS = {
    "key": ("keys", "each config key of each stock class, absent or with each kind of value"),
    "absent": ("absent", "each optional key left out: of what every stock class saves, and of the vendors' own configs"),
    "cell": ("cells", "each cell that `convert families` prints, on every golden: converted, verified, turned back"),
    "adapter": ("adapters", "each kind of adapter x tied or not x grown, same, shrunk x one, two in turn"),
    "saved": ("saved", "what `save_pretrained` of each stock class writes, in 5.23 and in 4.57"),
    "random": ("sizes", "random checkpoints: sizes, ties, biases, types, one layer, one kv head, no experts, odd vocabularies"),
}


def cases(*names: str) -> Iterator[Case]:
    """Every case of these sweeps, of all of them where none is named."""
    for name in names or SWEEPS:
        yield from importlib.import_module(f"tests.differential.{SWEEPS[name][0]}").cases()
