"""The language of weights: roles, layouts, movement, values, traits, passes, edits. Opens nothing, imports no torch.

    import surgery
    artefact = surgery.untie(artefact)      # every edit takes and returns an Artefact, or a Model

Edits are loaded when they are first named.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from surgery.edits.dtype import cast
    from surgery.edits.heads import repeat_kv
    from surgery.edits.tie import tie, untie

#: edit -> the module that has it
_EDITS = {
    "cast": "surgery.edits.dtype",
    "repeat_kv": "surgery.edits.heads",
    "tie": "surgery.edits.tie",
    "untie": "surgery.edits.tie",
}

__all__ = ["cast", "repeat_kv", "tie", "untie"]


def __getattr__(name: str) -> Any:
    if name in _EDITS:
        return getattr(importlib.import_module(_EDITS[name]), name)
    raise AttributeError(f"module 'surgery' has no attribute {name!r}")
