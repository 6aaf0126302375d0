"""README.md as the Hub reads it: a block of YAML between two lines of dashes, then Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from convert.checkpoint.documents import DEEPEST
from surgery.errors import show

#: the cards of embedding models list some thousand results, in a few hundred kilobytes
LARGEST_BLOCK, MOST_VALUES = 2 << 20, 200_000
_BLOCK = re.compile(r"\A\ufeff?\s*---[ \t]*\r?\n(.*?)^---[ \t]*\r?$\n?", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Card:
    """A model card; ``data`` is empty where there is no block or it is damaged."""

    present: bool
    data: Mapping[str, Any] = field(default_factory=dict)
    body: str = ""
    has_block: bool = False
    fault: str = ""

    def texts(self, key: str) -> tuple[str, ...]:
        """The strings under a key that may hold one or several."""
        value = self.data.get(key)
        values = value if isinstance(value, list) else [value]
        return tuple(one for one in values if isinstance(one, str))

    @property
    def title(self) -> str:
        """The first heading, or the name that the block gives."""
        named = self.data.get("model_name")
        match = re.search(r"^#\s+(.+?)\s*#*$", self.body, re.MULTILINE)
        return named if isinstance(named, str) else match[1] if match else ""


def read_card(text: str | None) -> Card:
    """The card in a README's text."""
    if text is None:
        return Card(present=False)
    block = _BLOCK.match(text)
    if block is None:
        return Card(True, body=text)
    body = text[block.end() :]
    try:
        data = _loaded(block[1])
    except ValueError as fault:
        return Card(True, {}, body, True, str(fault))
    if not isinstance(data, dict):
        return Card(True, {}, body, True, "" if data is None else "the YAML block is not a table of keys")
    return Card(True, data, body, True)


def _loaded(text: str) -> Any:
    """The value of a YAML block, or ValueError. Its size with all aliases spelled out is known before it is built."""
    import yaml  # type: ignore[import-untyped]

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    if len(text) > LARGEST_BLOCK:
        raise ValueError(f"the YAML block has {len(text):,} characters; no card needs more than {LARGEST_BLOCK:,}")
    try:
        _measured(yaml.parse(text, loader))
        return yaml.load(text, loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        told = show(" ".join(str(error).split()), 200)
        raise ValueError(f"the YAML block does not parse: {told}") from None


def _measured(events: Iterable[Any]) -> None:
    """ValueError where the values nest too deeply, are too many with every alias counted, or hold themselves.

    Events come one by one from a parser that does not recurse, so that nothing is built before this has passed.
    """
    sizes: dict[str, int] = {}
    open_: list[tuple[str | None, int]] = []  # the anchor of every collection around, and what was counted before it
    total = 0
    for event in events:
        kind = type(event).__name__
        if kind in ("MappingStartEvent", "SequenceStartEvent"):
            open_.append((event.anchor, total))
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            anchor, before = open_.pop()
            if anchor is not None:
                sizes[anchor] = total + 1 - before
        elif kind == "AliasEvent":
            if event.anchor in {anchor for anchor, _ in open_}:
                raise ValueError(f"*{event.anchor} is part of what it stands for")
            total += sizes.get(event.anchor, 1)
        elif kind == "ScalarEvent" and event.anchor is not None:
            sizes[event.anchor] = 1
        total += 1
        if total > MOST_VALUES or len(open_) > DEEPEST:
            raise ValueError(f"it has more than {MOST_VALUES:,} values or {DEEPEST} levels once its aliases are spelled out")
