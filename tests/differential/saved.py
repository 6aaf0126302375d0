"""Sweep `saved`: what `save_pretrained` of every stock class writes, in 5.23 and in 4.57. All of it must be read.

What 5.23 writes is written here; the config.json files of 4.57 were recorded once by `python -m tests.differential.record`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.differential import product
from tests.differential.case import Fault, Outcome, concluded
from tests.differential.keys import targets
from tests.differential.native import native, natives
from tests.differential.room import Room
from tests.differential.sources import source_of

RECORDED = Path(__file__).with_name("saved_by_4_57.json")
#: name -> what is otherwise than in the tiny config
CHANGES: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "tied": {"tie_word_embeddings": True},
    "untied": {"tie_word_embeddings": False},
    "one-layer": {"num_hidden_layers": 1},
}


@dataclass(frozen=True)
class SavedCase:
    """A checkpoint as a version saves it, towards a family."""

    version: str
    family: str
    change: str
    target: str

    @property
    def id(self) -> str:
        return f"{self.source}->{self.target}"

    @property
    def source(self) -> str:
        return f"saved/{self.version}/{self.family}/{self.change}"

    def judged(self, room: Room) -> Outcome:
        found = source_of(self.family, self.source, _config(self.version, self.family, self.change), room, own=True)
        outcome = product.conversion(self.id, found, self.target, room, verify=True)
        if outcome.verdict == "refused" and self.target == self.family:
            return concluded(self.id, [Fault("refused", f"what the class itself saves: {outcome.because}")])
        return outcome


def cases() -> Iterator[SavedCase]:
    """Both versions."""
    for version in ("5.23", "4.57"):
        for one in natives():
            if version == "5.23" or one.family in _recorded():
                for change in CHANGES:
                    yield from (SavedCase(version, one.family, change, target) for target in targets(one.family))


def _config(version: str, family: str, change: str) -> dict[str, Any]:
    """The config.json that this version writes."""
    if version == "4.57":
        return dict(_recorded()[family][change])
    return native(family).saved(**CHANGES[change])


@cache
def _recorded() -> Mapping[str, Mapping[str, dict[str, Any]]]:
    told: Mapping[str, Mapping[str, dict[str, Any]]] = json.loads(RECORDED.read_text(encoding="utf-8"))
    return told
