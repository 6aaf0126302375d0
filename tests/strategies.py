"""Hypothesis strategies shared by the property tests, and an independent evaluation of movement in numpy."""

from __future__ import annotations

import itertools
from math import prod

import numpy as np
from hypothesis import strategies as st

from surgery.layout import parse

ATOMS = ("a", "b", "c", "d", "e", "f")


@st.composite
def layouts(draw: st.DrawFn) -> tuple[str, dict[str, int], tuple[tuple[str, ...], ...]]:
    """A layout text, sizes (zero and one included), and the axes of each of its leaves in a canonical order of its own."""
    sizes = {name: draw(st.integers(0, 4)) for name in ATOMS}

    def term(pool: list[str], depth: int) -> str:
        """A product that uses every atom of the pool exactly once in each alternative."""
        pool = draw(st.permutations(pool))
        cut = draw(st.integers(0, len(pool)))
        outside, inside = list(pool[:cut]), list(pool[cut:])
        if not inside or depth == 0:
            return " ".join(pool) or "1"
        parts = []
        for _ in range(draw(st.integers(1, 3))):
            kept = [name for name in inside if draw(st.booleans())]
            parts.append(term(kept, depth - 1))
        group = "(" + " + ".join(f"({p})" for p in parts) + ")"
        where = draw(st.integers(0, len(outside)))
        return " ".join([*outside[:where], group, *outside[where:]])

    pool = list(draw(st.permutations(ATOMS)))
    cuts = sorted(draw(st.lists(st.integers(0, len(pool)), min_size=1, max_size=2)))
    sections = [pool[i:j] for i, j in itertools.pairwise([0, *cuts, len(pool)])]
    summed = draw(st.integers(0, len(sections) - 1))
    axes = [
        "(" + (term(section, 2) if index == summed else (" ".join(section) or "1")) + ")"
        for index, section in enumerate(sections)
    ]
    text = " ".join(axes)
    from surgery.layout import leaves

    canonical = tuple(tuple(draw(st.permutations(leaf.axes))) for leaf in leaves(parse(text), sizes))
    return text, sizes, canonical


def unpack(array: np.ndarray, text: str, sizes: dict[str, int]) -> list[tuple[tuple[str, ...], np.ndarray]]:
    """Every leaf of a file tensor as (axes, array), by numpy reshapes and slices only: the independent evaluation."""
    layout = parse(text)
    factors = list(itertools.chain.from_iterable(layout.axes))
    return list(_open(array, factors, sizes))


def _width(factor, sizes) -> int:
    return sizes[factor] if isinstance(factor, str) else sum(prod(_width(f, sizes) for f in p) for p in factor.parts)


def _open(array, factors, sizes):
    array = array.reshape([_width(f, sizes) for f in factors])
    for axis, factor in enumerate(factors):
        if not isinstance(factor, str):
            widths = [prod(_width(f, sizes) for f in part) for part in factor.parts]
            for part, piece in zip(factor.parts, np.split(array, np.cumsum(widths)[:-1], axis=axis), strict=True):
                yield from _open(piece, [*factors[:axis], *part, *factors[axis + 1 :]], sizes)
            return
    yield tuple(factors), array


def run(boxes, numel: int, sources: dict[str, np.ndarray]) -> np.ndarray:
    """What boxes write, element by element."""
    out = np.full(numel, -1.0)
    for b in boxes:
        for index in itertools.product(*(range(n) for n, _, _ in b.dims)):
            at = b.target + sum(i * t for i, (_, _, t) in zip(index, b.dims, strict=True))
            value = (
                0.0
                if b.source is None
                else sources[b.source][b.start + sum(i * s for i, (_, s, _) in zip(index, b.dims, strict=True))]
            )
            assert out[at] == -1.0, "an element is written twice"
            out[at] = value
    return out
