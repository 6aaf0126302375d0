"""No pattern that strangers' text is put to can be tried in exponentially many ways: a repetition within another is looked at."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import convert
import mappings
import surgery

#: what repeats a repetition, and why that is one way alone: each turn begins with a sign that the inner one cannot take
_ONE_WAY = {
    "convert.cli.main._PAIR": "a dash",
    "convert.edits.adapter_config._NAME": "a dot",
    "convert.validate.rules.secrets._ANY_PATH": "a slash ends each",
    "convert.validate.rules.secrets._ADDRESS": "a dot",
}
_MANY = 1000  # turns of a repetition that counts as without end


def _nested(tree: Any, inside: bool = False) -> bool:
    """Whether a repetition without end is within another."""
    for operation, told in tree:
        match str(operation):
            case "MAX_REPEAT" | "MIN_REPEAT":
                endless = told[1] > _MANY
                if (endless and inside) or _nested(told[2], inside or endless):
                    return True
            case "SUBPATTERN":
                if _nested(told[3], inside):
                    return True
            case "BRANCH":
                if any(_nested(branch, inside) for branch in told[1]):
                    return True
            case "ASSERT" | "ASSERT_NOT":
                if _nested(told[1], inside):
                    return True
    return False


def _patterns() -> Iterator[tuple[str, re.Pattern[Any]]]:
    for package in (convert, mappings, surgery):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.endswith("__main__"):
                module = importlib.import_module(found.name)
                yield from ((f"{found.name}.{name}", one) for name, one in vars(module).items() if isinstance(one, re.Pattern))


def test_a_repetition_within_another_is_one_way_alone() -> None:
    every = dict(_patterns())
    assert len(every) > 50
    assert {name for name, one in every.items() if _nested(parser.parse(one.pattern, 0))} == _ONE_WAY.keys()


def test_the_kind_is_told() -> None:
    assert _nested(parser.parse(r"(?:[-._](?:q\d(?:_\w+)?|gguf))+$")) and _nested(parser.parse(r"(a|(b*))*"))
    assert not _nested(parser.parse(r"a+b*(c|d){2,5}")) and not _nested(parser.parse(r"(?:[-._]q\d(?:_\w+)?)$"))
