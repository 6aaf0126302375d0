"""Mutations: of bytes anywhere, and of a JSON document's values, keys and nesting."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Sequence
from typing import Any, Literal

Shape = Literal["bytes", "json"]

#: values that are of another kind, too large, or not numbers at all
ODD: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 1.5, 1e308, float("nan"), float("inf"), 2**31, 10**9, 10**18, 10**30, "", "x", "NaN", "\x1b[31m",
    "../../etc/passwd", "~nosuchuser", "a" * 4000, [], [[]], [None], [1, "a"], {}, {"": None}, {"a": {"b": [{}]}},
)  # fmt: skip
_TELLING = (
    b"\0", b"\xff" * 8, b"\x7f" + b"\xff" * 7, b"{", b"[" * 3000, b"]", b'"', b"&a [*a]", b"\n---\n", b"\xef\xbb\xbf",
)  # fmt: skip
_STACKED = 4  # mutations of one case, at most


def mutated(seeds: Sequence[bytes], shape: Shape, chance: random.Random) -> bytes:
    """One of the seeds, changed."""
    data = chance.choice(seeds)
    if shape == "json" and chance.random() < 0.8:
        try:
            value = json.loads(data)
            for _ in range(chance.randint(1, _STACKED)):
                value = _value(value, chance)
            return json.dumps(value).encode(errors="surrogatepass")
        except (ValueError, RecursionError):  # no JSON, or nested deeper than this interpreter copies
            return _bytes(data, seeds, chance)
    for _ in range(chance.randint(1, _STACKED)):
        data = _bytes(data, seeds, chance)
    return data


def _bytes(data: bytes, seeds: Sequence[bytes], chance: random.Random) -> bytes:
    start, stop = sorted(chance.randint(0, len(data)) for _ in "12")
    stop = min(stop, start + 64) if chance.random() < 0.7 else stop
    match chance.randrange(6):
        case 0:
            return data[:start] + bytes(chance.randrange(256) for _ in range(min(stop - start, 16))) + data[stop:]
        case 1:
            return data[:start] + data[stop:]
        case 2:
            return data[:stop] + data[start:stop] * chance.choice((1, 2, 50)) + data[stop:]
        case 3:
            return data[:start] + chance.choice(_TELLING) + data[start:]
        case 4:
            other = chance.choice(seeds)
            return data[:start] + other[chance.randint(0, len(other)) :]
        case _:
            flipped = bytearray(data)
            for _ in range(chance.randint(1, 8)):
                if flipped:
                    flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
            return bytes(flipped)


def _value(value: Any, chance: random.Random) -> Any:
    """The document with a value elsewhere, of another kind, gone, twice, or nested deeper."""
    places = _places(value)
    place = chance.choice(places)
    match chance.randrange(5):
        case 0 | 1:
            return _put(value, place, copy.deepcopy(chance.choice(ODD)))
        case 2:
            return _put(value, place, copy.deepcopy(_at(value, chance.choice(places))))
        case 3:
            deep = _at(value, place)
            for _ in range(chance.choice((1, 3, 200))):
                deep = [deep] if chance.random() < 0.5 else {"a": deep}
            return _put(value, place, deep)
        case _:
            return _without(value, place)


def _places(value: Any, path: tuple[Any, ...] = (), depth: int = 40) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [path]
    for key, one in list(inner)[:50] if depth else ():
        found += _places(one, (*path, key), depth - 1)
    return found


def _at(value: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        value = value[key]
    return value


def _put(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    if not place:
        return new
    changed = copy.copy(value)
    changed[place[0]] = _put(value[place[0]], place[1:], new)
    return changed


def _without(value: Any, place: tuple[Any, ...]) -> Any:
    if not place:
        return value
    holder = copy.copy(_at(value, place[:-1]))
    del holder[place[-1]]
    return _put(value, place[:-1], holder)
