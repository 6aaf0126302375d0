"""What the family tables say a repository's tensors should be: names and shapes from config.json alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from convert.checkpoint import Checkpoint, refuse_quantised
from convert.prepare import identify
from mappings.config import read_facts
from mappings.family import Family, Row
from mappings.rows import rows_of, settled
from mappings.slabs import Slabs
from mappings.slots import slots, without_sets
from mappings.solve import solve
from surgery.dtypes import QUANTISED
from surgery.errors import ConversionError, complaint
from surgery.facts import Facts
from surgery.layout import Sizes

Shape = tuple[int, ...]

#: what reading a config raises where a value is of a kind that the tables take for granted
_WRONG_KIND = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


@dataclass(frozen=True)
class Expected:
    """The tables' word on a config; ``problem`` says why they have none, and what else is empty then."""

    problem: str = ""
    quantised: str = ""
    contradiction: str = ""  # what in the config cannot be
    unread: str = ""  # keys that the table does not know
    candidates: tuple[Family, ...] = ()
    facts: Facts | None = None
    sizes: Sizes = field(default_factory=dict)
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    stored: Mapping[str, Slabs] = field(default_factory=dict)
    layers: frozenset[int] = frozenset()  # that tensors are named after
    scaled: frozenset[str] = frozenset()  # scales of quantised weights, expected beside them

    @property
    def family(self) -> Family | None:
        return self.candidates[0] if self.candidates else None

    def row_name(self, role: str) -> str:
        """What the family calls the tensor of a role that has no index, such as ``embed``; empty if it has none."""
        rows = self.family.rows if self.family else ()
        return next((row.name for row in rows if row.roles == role), "")

    @cached_property
    def in_rows(self) -> Mapping[str, str]:
        """What the rows call each stored tensor, where a family's files vary in a prefix."""
        return {header.name: name for name, slabs in self.stored.items() for header in slabs.stored}

    def is_tied_head(self, name: str) -> bool:
        """Whether loaders take the embeddings for a tensor of this name."""
        return self.facts is not None and bool(self.facts["tied"]) and name == self.row_name("head")

    def layer_of(self, name: str) -> int | None:
        """The layer that a tensor's name says it is of."""
        match = _layer_pattern(self.family.rows).match(name) if self.family else None
        return int(match[1]) if match else None

    def left(self, name: str, *, parts: bool = True) -> str:
        """Why nobody reads a tensor of this name, or nothing. ``parts``: the parts of a wrapper count too."""
        for item in self.family.leave if self.family else ():
            if not parts and item.name.endswith("*"):
                continue
            pattern = re.escape(item.name).replace(r"\{layer\}", r"\d+").replace(r"\*", ".*")
            if re.fullmatch(pattern, name):
                return item.why
        return ""


def expect(checkpoint: Checkpoint) -> Expected:
    """Names and shapes for this config; the stored tensors decide only what the config leaves open."""
    try:
        return _expect(checkpoint)
    except _WRONG_KIND as error:
        told = f"{checkpoint.config_name} has a value of the wrong kind (a reader fails: {complaint(error)})"
        return Expected(told, contradiction=told)


def _expect(checkpoint: Checkpoint) -> Expected:
    try:
        candidates = identify(checkpoint.config)
    except ConversionError as error:
        return Expected(problem=str(error))
    try:
        refuse_quantised(checkpoint)
    except ConversionError as error:
        return Expected(problem=str(error), quantised=str(error))
    family, unread = candidates[0], ""
    try:
        facts = read_facts(family, checkpoint.config)
    except ConversionError as error:
        try:
            facts, unread = read_facts(family, checkpoint.config, accept=frozenset(checkpoint.config)), str(error)
        except ConversionError as contradiction:
            return Expected(str(contradiction), contradiction=str(contradiction), candidates=candidates)
    try:
        return _shapes(Expected(unread=unread, candidates=candidates, facts=facts), facts, checkpoint)
    except ConversionError as error:
        return Expected(str(error), unread=unread, candidates=candidates, facts=facts)


def _shapes(known: Expected, facts: Facts, checkpoint: Checkpoint) -> Expected:
    family = known.candidates[0]
    facts, stored = settled(family, facts, checkpoint.tensors)
    layers = frozenset(int(match[1]) for match in map(_layer_pattern(family.rows).match, stored) if match)
    if not facts.knows("layer"):
        facts = facts.with_({"layer": len(layers)}, "the tensors' names")
    if facts["mtp"] and layers and max(layers) < facts["layer"]:
        facts = facts.with_({"mtp": 0}, "the layers that are present")
    rows = tuple(rows_of(family, facts))
    sizes = solve(rows, facts, stored)
    shapes: dict[str, Shape] = {}
    scaled = set()
    for slot, name, _ in slots(rows, facts, sizes):
        shapes[name] = slot.shape
        if slot.row.scale and (found := stored.get(name)) and found.dtype in QUANTISED:
            shapes[name + slot.row.scale] = tuple(-(-n // b) for n, b in zip(slot.shape, slot.row.block, strict=True))
            scaled.add(name + slot.row.scale)
    return Expected("", "", "", known.unread, known.candidates, facts, sizes, shapes, stored, layers, frozenset(scaled))


def _layer_pattern(rows: tuple[Row, ...]) -> re.Pattern[str]:
    beginnings = sorted({without_sets(row.name).partition("{layer}")[0] for row in rows if "{layer" in row.name})
    return re.compile(rf"(?:{'|'.join(map(re.escape, beginnings)) or '(?!)'})(0|[1-9][0-9]{{0,6}})\.")


def dtype_name(config: Mapping[str, Any]) -> str | None:
    """The element type that a config states, as transformers 5 reads it: ``dtype`` before ``torch_dtype``."""
    stated = config.get("dtype", config.get("torch_dtype"))
    return stated.removeprefix("torch.") if isinstance(stated, str) else None
