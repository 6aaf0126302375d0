"""The YAML of cards as the Hub reads it, and written so that Python's readers find the same.

The Hub has js-yaml, which follows YAML 1.2: `no`, `off` and `1:30` are texts there, and PyYAML, which follows 1.1, takes them
for false and for 90. What stood in a card is written as it stood; where the two would read a text and something else, in quotes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from convert.checkpoint.documents import DEEPEST

#: the cards of embedding models list some thousand results, in a few hundred kilobytes
MOST_VALUES = 200_000
_MOST_DIGITS = 1000
_TAG = "tag:yaml.org,2002:"
#: js-yaml 4.1 lib/type/*.js: what a scalar without quotes is, with the characters that it may begin with
_DIGITS = "[0-9](?:[0-9_]*[0-9])?"
_EXPONENT = "(?:[eE][-+]?[0-9]+)?"
_DAY = "[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}"
_PLAIN: tuple[tuple[str, str, str], ...] = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", "[-+]?(?:0b[01](?:[01_]*[01])?|0o[0-7](?:[0-7_]*[0-7])?|0x[0-9a-fA-F](?:[0-9a-fA-F_]*[0-9a-fA-F])?|"
     f"{_DIGITS})", "-+0123456789"),
    ("float", rf"[-+]?{_DIGITS}(?:\.(?:[0-9_]*[0-9])?)?{_EXPONENT}|\.{_DIGITS}{_EXPONENT}|[-+]?\.(?:inf|Inf|INF)|"
     r"\.(?:nan|NaN|NAN)", "-+0123456789."),
    ("merge", r"<<", "<"),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("timestamp", "[0-9]{4}-[0-9]{2}-[0-9]{2}|" rf"{_DAY}(?:[Tt]|[ \t]+)[0-9]{{1,2}}:[0-9]{{2}}:[0-9]{{2}}(?:\.[0-9]*)?"
     r"(?:[ \t]*(?:Z|[-+][0-9]{1,2}(?::?[0-9]{2})?))?", "0123456789"),
)  # fmt: skip


def composed(text: str) -> Any:
    """The nodes of a block, None where it has none; raises yaml's errors or ValueError.

    Its size with all aliases spelled out is known before anything is built.
    """
    import yaml  # type: ignore[import-untyped]

    _measured(yaml.parse(text, _hub()))
    return yaml.compose(text, _hub())


def constructed(node: Any) -> Any:
    """The value of nodes, as the Hub has it."""
    loader = _hub()("")
    try:
        return loader.construct_document(node)
    finally:
        loader.dispose()


def nodes_of(node: Any) -> dict[str, tuple[Any, Any]]:
    """The nodes of every key of a table and of its value, by the key's text."""
    import yaml

    pairs = node.value if isinstance(node, yaml.MappingNode) else ()
    return {key.value: (key, value) for key, value in pairs if isinstance(key, yaml.ScalarNode)}


def written(table: Mapping[str, Any], cards: Iterable[tuple[Mapping[str, Any], Mapping[str, tuple[Any, Any]]]]) -> str:
    """A block for ``table``: what is a value of one of the ``cards`` (data and nodes) stands as it stood there."""
    import yaml

    cards = list(cards)
    dumper = _dumping()
    represented = dumper("")
    pairs = []
    for key, value in table.items():
        stood = next((nodes[key] for data, nodes in cards if key in nodes and data.get(key, nodes) is value), None)
        pairs.append(stood or (represented.represent_data(key), represented.represent_data(value)))
    whole = yaml.MappingNode(f"{_TAG}map", pairs, flow_style=False)
    for node in list(_all(whole)):
        _quote(node)
    text: str = yaml.serialize(whole, Dumper=dumper, allow_unicode=True, width=1 << 20)
    return text.rstrip("\n")


def _quote(node: Any) -> None:
    """Quotes around a text that readers of YAML 1.1 would take for something else, and around no other that needs none."""
    import yaml

    if isinstance(node, yaml.ScalarNode) and node.style in (None, "", "'", '"') and node.tag == f"{_TAG}str":
        plain = _older().resolve(yaml.ScalarNode, node.value, (True, False)) == node.tag
        node.style = None if plain else "'"


def _all(node: Any) -> Iterator[Any]:
    """Every node once."""
    seen: set[int] = set()
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        if isinstance(one.value, list):
            waiting += [part for each in one.value for part in (each if isinstance(each, tuple) else (each,))]


@cache
def _hub() -> Any:
    """A loader of plain values that takes scalars for what the Hub takes them for."""
    import yaml

    class Hub(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (yaml's own)

    _resolve_as_the_hub(Hub)
    Hub.add_constructor(f"{_TAG}int", lambda loader, node: _whole(loader.construct_scalar(node)))
    Hub.add_constructor(f"{_TAG}float", lambda loader, node: _real(loader.construct_scalar(node)))
    return Hub


@cache
def _dumping() -> Any:
    import yaml

    class Dumping(yaml.SafeDumper):  # type: ignore[misc]
        yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (yaml's own)

    _resolve_as_the_hub(Dumping)
    return Dumping


@cache
def _older() -> Any:
    """What YAML 1.1 takes a scalar for."""
    import yaml

    return yaml.resolver.Resolver()


def _resolve_as_the_hub(kind: Any) -> None:
    for tag, pattern, first in _PLAIN:
        kind.add_implicit_resolver(f"{_TAG}{tag}", re.compile(f"(?:{pattern})\\Z"), ["" if one == "\0" else one for one in first])


def _whole(text: str) -> int:
    plain = text.replace("_", "")
    if len(plain) > _MOST_DIGITS:  # which could be read, and not be written again
        raise ValueError(f"a whole number has {len(plain):,} digits")
    sign, digits = (-1 if plain.startswith("-") else 1), plain.lstrip("+-")
    bases = {"0b": 2, "0o": 8, "0x": 16}
    return sign * (int(digits[2:], bases[digits[:2]]) if digits[:2] in bases else int(digits))


def _real(text: str) -> float:
    plain = text.replace("_", "").lower()
    return float(plain.replace(".inf", "inf").replace(".nan", "nan")) if plain.endswith((".inf", ".nan")) else float(plain)


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
