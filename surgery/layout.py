"""The layout notation: how a tensor in a file is built from the named axes of the roles it stores.

``(kv group two pair) hidden`` is a matrix whose rows are flattened from four axes. ``+`` concatenates, and may nest:
``(kv ((group two pair) + (two pair) + head)) hidden`` holds, for every key-value head, its queries, its key and its
value. Every alternative of a sum is one *leaf*; the leaves of a layout, in reading order, are the roles of its row.

The whole notation is affine: within a leaf, element ``(i, j, ...)`` of a role lies at ``offset + i*stride_i + j*stride_j
+ ...`` of the file tensor. So a leaf *is* an offset and one stride per axis, and nothing else in this package ever needs
to view, permute, narrow or concatenate.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import prod

Sizes = Mapping[str, int]

_TOKEN = re.compile(r"\s*([A-Za-z_]\w*|[()+]|1)")


@dataclass(frozen=True)
class Sum:
    """Alternatives laid one after another."""

    parts: tuple[tuple[str | Sum, ...], ...]


@dataclass(frozen=True)
class Layout:
    """A parsed layout: one product of factors per axis of the file tensor."""

    axes: tuple[tuple[str | Sum, ...], ...]

    def shape(self, sizes: Sizes) -> tuple[int, ...]:
        return tuple(width(axis, sizes) for axis in self.axes)

    def atoms(self) -> frozenset[str]:
        """Every axis name that occurs."""
        return frozenset(itertools.chain.from_iterable(_atoms(axis) for axis in self.axes))


@dataclass(frozen=True, slots=True)
class Leaf:
    """Where one role lies in a file tensor: element 0 and, per axis, how many there are and how far apart (in elements)."""

    offset: int
    axes: tuple[str, ...]
    sizes: tuple[int, ...]
    strides: tuple[int, ...]


@cache
def parse(text: str) -> Layout:
    """The layout that ``text`` denotes; ``ValueError`` names what cannot be read.

    >>> parse("(n (a + b)) h").shape({"n": 2, "a": 3, "b": 4, "h": 5})
    (14, 5)
    """
    tokens = _tokens(text)
    axes: list[tuple[str | Sum, ...]] = []
    at = 0
    while at < len(tokens):
        if tokens[at] == "(":
            alternatives, at = _group(tokens, at + 1, text)
            axes.append(alternatives[0] if len(alternatives) == 1 else (Sum(alternatives),))
        elif tokens[at] in ")+":
            raise ValueError(f"layout {text!r}: {tokens[at]!r} outside parentheses")
        else:
            axes.append(() if tokens[at] == "1" else (tokens[at],))
            at += 1
    return Layout(tuple(axes))


def width(term: Sequence[str | Sum], sizes: Sizes) -> int:
    """How many elements a product of factors spans."""
    return prod(_width(factor, sizes) for factor in term)


def leaves(layout: Layout, sizes: Sizes, strides: Sequence[int] | None = None) -> tuple[Leaf, ...]:
    """Where each leaf lies, in reading order; ``strides`` (elements per file axis) default to row-major.

    >>> leaves(parse("(a + b) h"), {"a": 2, "b": 3, "h": 4})[1]
    Leaf(offset=8, axes=('b', 'h'), sizes=(3, 4), strides=(4, 1))
    """
    if strides is None:
        strides = row_major(layout.shape(sizes))
    found = []
    for path in itertools.product(
        *(tuple(_spread(axis, stride, sizes)) for axis, stride in zip(layout.axes, strides, strict=True))
    ):
        placed = tuple(itertools.chain.from_iterable(atoms for _, atoms in path))
        names = tuple(name for name, _ in placed)
        if len(set(names)) != len(names):
            raise ValueError(f"layout {layout}: an axis occurs twice in one leaf: {names}")
        found.append(
            Leaf(sum(offset for offset, _ in path), names, tuple(sizes[n] for n in names), tuple(s for _, s in placed))
        )
    return tuple(found)


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides, in elements, of a contiguous tensor.

    >>> row_major((2, 3, 4))
    (12, 4, 1)
    """
    strides = [1] * len(shape)
    for axis in range(len(shape) - 2, -1, -1):
        strides[axis] = strides[axis + 1] * shape[axis + 1]
    return tuple(strides)


def _tokens(text: str) -> list[str]:
    tokens, at = [], 0
    while at < len(text.rstrip()):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"layout {text!r}: cannot read {text[at:]!r}")
        tokens.append(match[1])
        at = match.end()
    return tokens


def _group(tokens: list[str], at: int, text: str) -> tuple[tuple[tuple[str | Sum, ...], ...], int]:
    """The alternatives up to the closing parenthesis, and the position after it."""
    alternatives: list[list[str | Sum]] = [[]]
    while at < len(tokens) and tokens[at] != ")":
        token = tokens[at]
        at += 1
        if token == "+":
            alternatives.append([])
        elif token == "(":
            inner, at = _group(tokens, at, text)
            alternatives[-1].extend(inner[0] if len(inner) == 1 else (Sum(inner),))
        elif token != "1":
            alternatives[-1].append(token)
    if at >= len(tokens):
        raise ValueError(f"layout {text!r}: a parenthesis is not closed")
    return tuple(tuple(a) for a in alternatives), at + 1


def _width(factor: str | Sum, sizes: Sizes) -> int:
    return sizes[factor] if isinstance(factor, str) else sum(width(part, sizes) for part in factor.parts)


def _atoms(term: Sequence[str | Sum]) -> Iterator[str]:
    for factor in term:
        if isinstance(factor, str):
            yield factor
        else:
            for part in factor.parts:
                yield from _atoms(part)


def _spread(term: Sequence[str | Sum], unit: int, sizes: Sizes) -> Iterator[tuple[int, tuple[tuple[str, int], ...]]]:
    """Every way through the sums of one axis: (offset, ((atom, stride), ...))."""
    if not term:
        yield 0, ()
        return
    first, rest = term[0], term[1:]
    stride = unit * width(rest, sizes)
    if isinstance(first, str):
        for offset, atoms in _spread(rest, unit, sizes):
            yield offset, ((first, stride), *atoms)
        return
    at = 0
    for part in first.parts:
        for inner_offset, inner in _spread(part, stride, sizes):
            for offset, atoms in _spread(rest, unit, sizes):
                yield at * stride + inner_offset + offset, (*inner, *atoms)
        at += width(part, sizes)
