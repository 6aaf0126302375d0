"""``--for``: whether the programs that a user names would serve an output as it is meant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mappings import families
from mappings.config import read_facts, recognise
from mappings.consumers import CONSUMERS, Misserved, misserved
from mappings.family import Family
from surgery.errors import ConversionError, UsageError, listed, show
from surgery.facts import Facts


def served(family: Family, facts: Facts, consumers: Iterable[str]) -> tuple[str, ...]:
    """Warnings about what ``consumers`` do with such an output; ``ConversionError`` where one would mis-serve it."""
    found = misserved(family, facts, known(consumers))
    if refused := [one for one in found if one.rule.effect == "refuse"]:
        named = listed(sorted({one.rule.consumer for one in refused}))
        lines = "\n".join(f"  {one}" for one in refused)
        raise ConversionError(
            f"{named} would not serve this {family.name} as it is meant, and --for asks for that:\n{lines}\n"
            "Nothing was written. Without --for the output is written; it is right, and other programs may serve it."
        )
    return tuple(f"for {one}" for one in found)


def misserved_config(config: Mapping[str, Any], consumers: Iterable[str]) -> tuple[Misserved, ...]:
    """The same for a checkpoint that is there, by its config.json; nothing where no one family recognises it."""
    found = recognise(families(), config)
    if len(found) != 1:
        return ()
    return misserved(found[0], read_facts(found[0], config), known(consumers))


def known(consumers: Iterable[str]) -> tuple[str, ...]:
    """The names, each one that we know of."""
    names = tuple(consumers)
    if unknown := sorted(set(names) - set(CONSUMERS)):
        raise UsageError(f"--for {show(unknown[0])}: there is no such program; known are {listed(CONSUMERS)}.")
    return names
