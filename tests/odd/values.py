"""Values that a key may hold although nobody meant it to, and where the keys of a document are."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

Place = tuple[str | int, ...]

#: of every kind that JSON has, and of every size that numbers, texts and lists come in; each is told by its number
ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 1.5, 1e308, float("nan"), float("inf"), 10**30, "", "x", "NaN", "\x1b[31m\n\u202e\0",
    "~nobody/x", "x" * 70_000, [], [[]], [None], [1, "a"], [-1, 1e308], ["x", "x"], {}, {"": {}}, {"x": [{}]},
    [[["x"]], {"a": None}],
)  # fmt: skip
_ALIKE = 3  # entries of a table or list of many alike that are looked into: the first ones
_MANY = 40


def places(value: Any, within: Place = ()) -> Iterator[Place]:
    """Where a document says something, tables and lists within included; of many entries alike, the first few."""
    if isinstance(value, dict):
        entries: list[tuple[str | int, Any]] = list(value.items())
    elif isinstance(value, list):
        entries = list(enumerate(value))[:_ALIKE]
    else:
        return
    for key, inner in entries if len(entries) <= _MANY else entries[:_ALIKE]:
        yield (*within, key)
        yield from places(inner, (*within, key))


def saying(document: Any, place: Place, value: Any) -> Any:
    """The document with one value of its own exchanged."""
    if not place:
        return value
    changed = copy.deepcopy(document)
    table = changed
    for key in place[:-1]:
        table = table[key]
    table[place[-1]] = copy.deepcopy(value)
    return changed
