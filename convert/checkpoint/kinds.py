"""Which kind of value a key of a document must hold: JSON knows six, and says nothing about which was meant.

Plain questions of plain values: readers of documents share them, the verifier's too, and nobody's tables are asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from surgery.errors import ConversionError, show

LARGEST = 1 << 40  # of any count or length; an id that means "no limit" may be larger than a model is
_WIDEST, _HIGHEST = (1 << 63) - 1, 1e300  # what torch can multiply by


@dataclass(frozen=True)
class Kind:
    """Values of one kind, in words and as a question; null is a value of its own where that says "none"."""

    words: str
    fits: Callable[[Any], bool]
    null: bool = False

    def holds(self, value: Any) -> bool:
        """Whether a value is of this kind."""
        return self.null if value is None else self.fits(value)


def is_number(value: Any) -> bool:
    """A number that arithmetic takes; JSON's true is none, nor is NaN."""
    most = _WIDEST if isinstance(value, int) else _HIGHEST
    return isinstance(value, int | float) and not isinstance(value, bool) and -most <= value <= most


def is_whole(value: Any, least: int = 0, most: int = LARGEST) -> bool:
    """A whole number within bounds; 1.0 is none."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def items(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """A list of values that fit."""
    return lambda value: isinstance(value, list) and all(map(fits, value))


TEXT = Kind("a text", lambda value: isinstance(value, str))
TEXTS = Kind("a list of texts", items(lambda value: isinstance(value, str)))
FLAG = Kind("true or false", lambda value: isinstance(value, bool))
TABLE = Kind("a table", lambda value: isinstance(value, dict))
TABLES = Kind("a list of tables", items(lambda value: isinstance(value, dict)))
COUNT = Kind("a whole number from 1 on", lambda value: is_whole(value, 1))
WHOLE = Kind("a whole number from 0 on", is_whole)
WHOLES = Kind("a list of whole numbers from 0 on", items(is_whole))


def optional(kind: Kind) -> Kind:
    """The kind, or null."""
    return Kind(f"{kind.words} or null", kind.fits, null=True)


def read(table: Mapping[str, Any], key: str, kind: Kind, where: str) -> Any:
    """The value of a key, held to its kind; ``ConversionError`` names ``where`` (file and table) and the key."""
    if key not in table:
        raise ConversionError(f"{where}: the key {key} is missing, and {kind.words} should be there. Get the file again.")
    if not kind.holds(value := table[key]):
        raise ConversionError(f"{where}: {key} is {show(value)} where {kind.words} should be. Get the file again.")
    return value
