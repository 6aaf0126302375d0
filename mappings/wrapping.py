"""What training programs put into the names of tensors: each of it wraps a module, and changes nothing it computes.

transformers reads none of these names (5.23: every tensor missing, every one unexpected), so that whoever judges what a
library makes of a folder must not take them away.
"""

from __future__ import annotations

from collections.abc import Iterable

#: segments that stand anywhere in a name, and what puts them there
INSIDE = {
    "_orig_mod": "torch.compile",
    "_fsdp_wrapped_module": "FSDP",
    "_checkpoint_wrapped_module": "activation checkpointing",
}
#: segments that stand before all others
BEFORE = {"module": "DataParallel", "language_model": "a multimodal model", "base_model": "peft"}


def unwrapped(name: str) -> str:
    """The name without the segments of wrappers; peft's second one, ``model``, goes with its first.

    >>> unwrapped("module._orig_mod.model.norm.weight"), unwrapped("base_model.model.model.norm.weight")
    ('model.norm.weight', 'model.norm.weight')
    """
    number, slash, rest = name.rpartition("/")
    parts = [part for part in rest.split(".") if part not in INSIDE]
    while len(parts) > 1 and parts[0] in BEFORE:
        del parts[: 2 if parts[:2] == ["base_model", "model"] else 1]
    return number + slash + ".".join(parts)


def wrappers(names: Iterable[str]) -> str:
    """Which wrappers these names speak of, in words; empty where they speak of none."""
    found = {part: why for name in names if unwrapped(name) != name for part, why in _wrapping(name)}
    return ", ".join(f"{part}. ({why})" for part, why in sorted(found.items()))


def _wrapping(name: str) -> Iterable[tuple[str, str]]:
    known = {**INSIDE, **BEFORE}
    return ((part, known[part]) for part in name.rpartition("/")[2].split(".") if part in known)
