"""README.md as the Hub reads it: a block of YAML between two lines of dashes, then Markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from convert.validate.card_yaml import MOST_VALUES, composed, constructed, nodes_of, written
from surgery.errors import show

__all__ = ["LARGEST_BLOCK", "MOST_VALUES", "TOLD", "Card", "block", "read_card"]

LARGEST_BLOCK = 2 << 20
#: what a card says of licences and origin
TOLD = ("license", "license_name", "base_model")
_OPENED = re.compile(r"\A\ufeff?\s*---[ \t]*\r?\n")
_BLOCK = re.compile(r"\A\ufeff?\s*---[ \t]*\r?\n(.*?)^---[ \t]*\r?$\n?", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Card:
    """A model card; ``data`` is empty where there is no block or it is damaged."""

    present: bool
    data: Mapping[str, Any] = field(default_factory=dict)
    body: str = ""
    has_block: bool = False
    fault: str = ""
    nodes: Mapping[str, tuple[Any, Any]] = field(default_factory=dict, repr=False, compare=False)  # keys and values as written
    unclosed: bool = False  # whether the text begins as a block does, and goes on without an end

    def texts(self, key: str) -> tuple[str, ...]:
        """The strings under a key that may hold one or several."""
        value = self.data.get(key)
        values = value if isinstance(value, list) else [value]
        return tuple(one for one in values if isinstance(one, str))

    @property
    def title(self) -> str:
        """The first heading, or the name that the block gives."""
        named = self.data.get("model_name")
        return named if isinstance(named, str) else next(filter(None, map(_heading, self.body.splitlines())), "")


def _heading(line: str) -> str:
    """What a line says that is a first-level heading; by no pattern, since a stranger chooses how many signs it has."""
    return line[1:].rstrip().rstrip("#").strip() if line[:1] == "#" and line[1:2].isspace() else ""


def read_card(text: str | None) -> Card:
    """The card in a README's text."""
    if text is None:
        return Card(present=False)
    found = _BLOCK.match(text)
    if found is None:
        return Card(True, body=text, unclosed=_OPENED.match(text) is not None)
    body = text[found.end() :]
    try:
        data, nodes = _loaded(found[1])
    except ValueError as fault:
        return Card(True, {}, body, True, str(fault))
    if data is None and found[1].strip():  # headings between two rules are comments to YAML, and somebody's words
        return Card(True, body=text)
    if not isinstance(data, dict):
        return Card(True, {}, body, True, "" if data is None else "the YAML block is not a table of keys")
    return Card(True, data, body, True, nodes=nodes)


def block(table: Mapping[str, Any], *cards: Card) -> str:
    """The YAML for ``table``; what one of the ``cards`` has stands as it stands there, and means what it meant to the Hub."""
    return written(table, [(card.data, card.nodes) for card in cards])


def _loaded(text: str) -> tuple[Any, Mapping[str, tuple[Any, Any]]]:
    """The value of a YAML block and the nodes that it was written with, or ValueError."""
    import yaml  # type: ignore[import-untyped]

    if len(text) > LARGEST_BLOCK:
        raise ValueError(f"the YAML block has {len(text):,} characters; no card needs more than {LARGEST_BLOCK:,}")
    try:
        node = composed(text)
        return (constructed(node), nodes_of(node)) if node is not None else (None, {})
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        told = show(" ".join(str(error).split()), 200)
        raise ValueError(f"the YAML block does not parse: {told}") from None
