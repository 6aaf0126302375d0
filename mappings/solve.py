"""Solving for sizes: layouts unified with the shapes in the headers, beside what the config states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mappings.family import Row
from mappings.slabs import Slabs
from mappings.slots import indices, somewhere, without_sets
from surgery.errors import ConversionError, listed
from surgery.facts import Facts
from surgery.layout import Layout, Sizes, parse, width


def solve(rows: Sequence[Row], facts: Facts, tensors: Mapping[str, Slabs]) -> dict[str, int]:
    """Sizes of all axes: those the config states, and the rest from the shapes of each row's first tensor."""
    sizes = facts.sizes()
    first = [(parse(row.layout), tensors.get(_first_name(row, facts))) for row in rows]
    known = [(layout, found.shape) for layout, found in first if found and len(found.shape) == len(layout.axes)]
    progress = True
    while progress:
        progress = False
        for layout, shape in known:
            for axis, length in zip(layout.axes, shape, strict=True):
                unknown = [a for a in Layout((axis,)).atoms() if a not in sizes]
                if len(unknown) == 1 and (value := _solve_one(axis, unknown[0], length, sizes)) is not None:
                    sizes[unknown[0]] = value
                    progress = True
    needed = set().union(*(parse(row.layout).atoms() for row in rows if somewhere(row, facts)))
    if unsolved := sorted(needed - sizes.keys()):
        raise ConversionError(
            f"the sizes {listed(unsolved)} are stated by no key of config.json and by no tensor that is present; "
            "the checkpoint is incomplete or of another family."
        )
    return sizes


def _first_name(row: Row, facts: Facts) -> str:
    """The row's name with every index at the first value it takes."""
    first = {}
    for index, which in indices(row.name):
        run = facts.run(index, which) if facts.knows(index) else ()
        first[index] = run[0] if run else 0
    return without_sets(row.name).format_map(first)


def _solve_one(axis: Sequence[Any], unknown: str, length: int, sizes: Sizes) -> int | None:
    at_zero, at_one = (width(axis, {**sizes, unknown: value}) for value in (0, 1))
    step = at_one - at_zero
    if step <= 0 or (length - at_zero) % step or length < at_zero:
        return None
    return (length - at_zero) // step
