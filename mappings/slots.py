"""Slots: a row for given sizes. Which tensors it names, what shape they have, and where in them each role lies.

The indices of a name are filled in one by one, layer by layer; ``{layer:moe}`` runs over a set of layers that a fact
names. An index that the roles have and the name lacks is an axis of the file tensor: experts stacked in one.
"""

from __future__ import annotations

import itertools
import string
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from math import prod

from mappings.family import Row
from surgery.errors import ConversionError
from surgery.facts import Facts
from surgery.layout import Layout, Leaf, Sizes, leaves, parse
from surgery.roles import fields, role

MOST_ROLES = 4_000_000  # DeepSeek-V3 has 46,000


@dataclass(frozen=True, slots=True)
class Part:
    """One role in a file tensor: its name with the file's indices open, its axes, and where it lies."""

    role: str
    axes: tuple[str, ...]
    leaf: Leaf  # over the same axes in the same order


@dataclass(frozen=True)
class Slot:
    """One row for given sizes: every tensor it names has this shape and stores these parts."""

    row: Row
    name: str  # with the indices open, without their sets
    indices: tuple[tuple[str, str], ...]  # (index, set) pairs of the name, in order
    layout: Layout
    sizes: Sizes
    shape: tuple[int, ...]
    parts: tuple[Part, ...]

    def lying(self, strides: Sequence[int]) -> tuple[Part, ...]:
        """The same parts in a tensor whose axes have these strides, in elements."""
        return _parts(self.row, self.layout, self.sizes, strides)

    @cached_property
    def by_axis(self) -> tuple[tuple[Part, ...], ...]:
        """For each file axis the parts as they lie along it: strides in its units, 0 for what does not move along."""
        return tuple(self.lying([int(i == axis) for i in range(len(self.shape))]) for axis in range(len(self.shape)))

    @property
    def text(self) -> str:
        return self.row.layout


def slot(row: Row, sizes: Sizes) -> Slot:
    """The slot of a row."""
    layout = parse(row.layout)
    return Slot(
        row, without_sets(row.name), indices(row.name), layout, sizes, layout.shape(sizes), _parts(row, layout, sizes)
    )


def slots(rows: Iterable[Row], facts: Facts, sizes: Sizes) -> Iterator[tuple[Slot, str, tuple[str, ...]]]:
    """Every tensor name of a file with its slot and role names; neighbouring rows of one index go layer by layer."""
    present = [row for row in rows if somewhere(row, facts)]
    if (count := sum(_roles(row, facts, sizes) for row in present)) > MOST_ROLES:
        raise ConversionError(
            f"config.json asks for a model of {count:,} matrices; more than {MOST_ROLES:,} are not believed. A number "
            "of layers, heads or experts in it is wrong."
        )
    return _filled([slot(row, sizes) for row in present], facts, {})


def _roles(row: Row, facts: Facts, sizes: Sizes) -> int:
    """How many roles the row's tensors hold, counted without naming them."""
    named = dict(indices(row.name))
    tensors = prod(len(facts.run(index, which)) for index, which in named.items())
    return tensors * sum(prod(sizes[i] for i in fields(role) if i not in named) for role in row.roles.split())


def somewhere(row: Row, facts: Facts) -> bool:
    """Whether every index of the row takes a value: in a model without experts, rows of experts are nowhere."""
    return all(facts.run(index, which) for index, which in indices(row.name) if facts.knows(index))


def _filled(
    placed: Iterable[Slot], facts: Facts, filled: Mapping[str, int]
) -> Iterator[tuple[Slot, str, tuple[str, ...]]]:
    """The slots by the first index that is still open, each value of it in turn."""
    depth = len(filled)
    for index, group in itertools.groupby(placed, lambda s: s.indices[depth][0] if depth < len(s.indices) else ""):
        kept = tuple(group)
        if not index:
            for one in kept:
                # a name is asked for on both sides of a conversion, and is most often the stored one: one object for all
                roles = tuple(sys.intern(part.role.format_map(filled)) for part in one.parts)
                yield one, sys.intern(one.name.format_map(filled)), roles
            continue
        runs = {one.indices[depth][1]: facts.run(*one.indices[depth]) for one in kept}
        for value in sorted(set().union(*runs.values())):
            here = [one for one in kept if value in runs[one.indices[depth][1]]]
            yield from _filled(here, facts, {**filled, index: value})


@cache
def indices(template: str) -> tuple[tuple[str, str], ...]:
    """The open indices of a file's name, each with the set it runs over.

    >>> indices("layers.{layer:moe}.experts.{expert}.up")
    (('layer', 'moe'), ('expert', ''))
    """
    return tuple((name, kind or "") for _, name, kind, _ in string.Formatter().parse(template) if name)


@cache
def without_sets(template: str) -> str:
    """The template with every index named alone.

    >>> without_sets("layers.{layer:moe}.up")
    'layers.{layer}.up'
    """
    for name, kind in indices(template):
        template = template.replace(f"{{{name}:{kind}}}", f"{{{name}}}")
    return template


def _parts(row: Row, layout: Layout, sizes: Sizes, strides: Sequence[int] | None = None) -> tuple[Part, ...]:
    templates = row.roles.split()
    placed = leaves(layout, sizes, strides)
    assert len(placed) == len(templates), f"{row.name}: {len(placed)} leaves for {len(templates)} roles"
    named = {name for name, _ in indices(row.name)}
    found: list[Part] = []
    for template, leaf in zip(templates, placed, strict=True):
        stacked = tuple(index for index in fields(template) if index not in named)
        axes = role(template).axes
        assert set(leaf.axes) == {*axes, *stacked}, f"{row.name}: {template} has axes {axes}, not {leaf.axes}"
        of = {axis: (size, stride) for axis, size, stride in zip(leaf.axes, leaf.sizes, leaf.strides, strict=True)}
        counts, steps = tuple(of[axis][0] for axis in axes), tuple(of[axis][1] for axis in axes)
        for at in itertools.product(*(range(of[index][0]) for index in stacked)):
            offset = leaf.offset + sum(i * of[index][1] for i, index in zip(at, stacked, strict=True))
            name = template
            for value, index in zip(at, stacked, strict=True):
                name = name.replace(f"{{{index}}}", str(value))
            found.append(Part(name, axes, Leaf(offset, axes, counts, steps)))
    return tuple(found)
