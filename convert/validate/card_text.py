"""README.md as the Hub reads it: a block of YAML between two lines of dashes, then Markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from surgery.errors import show

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
    import yaml  # type: ignore[import-untyped]

    body = text[block.end() :]
    try:
        data = yaml.safe_load(block[1])
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        return Card(True, {}, body, True, f"the YAML block does not parse: {show(' '.join(str(error).split()), 200)}")
    if not isinstance(data, dict):
        return Card(True, {}, body, True, "" if data is None else "the YAML block is not a table of keys")
    return Card(True, data, body, True)
