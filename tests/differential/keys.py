"""Sweep `key`: every config key of every stock class with every kind of value, one at a time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.differential import judge, product
from tests.differential.case import Outcome
from tests.differential.native import Native, native, natives
from tests.differential.room import Room, memory
from tests.differential.sources import source_of, write_config

ABSENT = "absent"
VALUES: Mapping[str, Any] = {
    ABSENT: ABSENT, "false": False, "true": True, "null": None, "0": 0, "2": 2, "list": [1, 2],
}  # fmt: skip
#: for keys that the class never asks for: it cannot be told by them, but this project can
OURS = ("false", "true", "2")
#: what the types of rope scaling need beside their name, all at once: each type reads its own
_ROPE = {
    "factor": 2.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
    "mrope_section": [2, 2, 2],
}
#: names of rope types that were written into configs and that 5.23 has no function for
_OLD_NAMES = ("su", "mrope", "ntk", "dynamic_ntk", "none")
_OTHERS = 1  # targets beside the family itself


@dataclass(frozen=True)
class KeyCase:
    """One key of one class changed, towards one target."""

    family: str
    key: str
    value: str
    target: str

    @property
    def id(self) -> str:
        return f"key/{self.family}/{self.key}={self.value}->{self.target}"

    @property
    def source(self) -> str:
        return f"key/{self.family}/{self.key}"

    def judged(self, room: Room) -> Outcome:
        changed = changed_config(self.family, self.key, self.value)
        found = source_of(self.family, self.source + self.value, changed, room)
        return product.conversion(self.id, found, self.target, room, nonsense=self.value in VALUES)


def cases() -> Iterator[KeyCase]:
    """Every case; keys that the plain config has not cannot be absent from it."""
    for one in natives():
        plain = one.lean()
        theirs, ours = one.keys_of_class(), one.keys_of_tables()
        for key, values in {**dict.fromkeys(ours, OURS), **dict.fromkeys(theirs, tuple(VALUES))}.items():
            for value in values:
                if value != ABSENT or key in plain:
                    yield from _towards(one, key, value)
        for form, kind in itertools.product(("rope_scaling", "rope_parameters"), rope_types()):
            if "rope_parameters" in one.defaults:
                yield from _towards(one, form, kind)


def rope_types() -> tuple[str, ...]:
    """Every type of rope that transformers computes, and names that it does not know."""
    known = judge.library().modeling_rope_utils.ROPE_INIT_FUNCTIONS
    return ("default", *sorted(known), *_OLD_NAMES)


def changed_config(family: str, key: str, value: str) -> dict[str, Any]:
    """The tiny config with one key changed."""
    config = native(family).lean()
    if value == ABSENT:
        config.pop(key, None)
    elif value in VALUES:
        config[key] = VALUES[value]
    else:
        slow = [1.0, 1.5, 2.0, 3.0, 1e3, 1e16][: native(family).pairs]
        name = "type" if key == "rope_scaling" else "rope_type"
        own = config.get("rope_parameters") or {}  # the share of a head that turns is no part of what is changed
        share = {"partial_rotary_factor": own["partial_rotary_factor"]} if "partial_rotary_factor" in own else {}
        config[key] = {name: value, "rope_theta": 5000.0, "short_factor": slow, "long_factor": slow[::-1], **_ROPE, **share}
    return config


@cache
def targets(family: str) -> tuple[str, ...]:
    """The family itself, and the first others with a class that take its plain checkpoint."""
    others = sorted((one.family for one in natives() if one.family != family), key=lambda name: (name != "llama", name))
    with TemporaryDirectory(dir=memory()) as folder:
        plain = Path(folder) / "plain"
        native(family).make(plain)
        write_config(plain, native(family).lean())
        takes = (name for name in others if product.takes(plain, name))
        return (family, *islice(takes, _OTHERS))


def _towards(one: Native, key: str, value: str) -> Iterator[KeyCase]:
    for target in targets(one.family):
        yield KeyCase(one.family, key, value, target)
