"""Rows at work: names and shapes that a family's file must have, and both directions between files and roles.

Names are generated from sizes and compared with what the headers hold, so coverage (every tensor used exactly once) and
bijection are proved before a byte is read. Nothing is recognised by guessing at a name.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Protocol

from mappings.family import Family, Row
from surgery.dtypes import FLOATS
from surgery.errors import ConversionError, listed, show
from surgery.facts import Facts
from surgery.layout import Layout, Leaf, Sizes, leaves, parse, width
from surgery.model import Model
from surgery.movement import Piece
from surgery.roles import fields, role
from surgery.values import Expr, Moved


class Header(Protocol):
    """What must be known of a stored tensor: nothing of its bytes."""

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def strides(self) -> tuple[int, ...]: ...


@dataclass(frozen=True)
class Slot:
    """One row for given sizes: every tensor it names has this shape and stores these roles at these leaves."""

    name: str
    roles: tuple[str, ...]
    text: str
    layout: Layout
    shape: tuple[int, ...]
    leaves: tuple[Leaf, ...]


@dataclass(frozen=True)
class Target:
    """One tensor that a family's file holds: where each part of it comes from."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    parts: tuple[tuple[Expr, Leaf], ...]


def rows_of(family: Family, facts: Facts) -> Iterator[Row]:
    """The rows that apply, with the biases spelled out."""
    for row in family.rows:
        if _holds(row.when, facts):
            yield row
            if row.bias and facts[row.bias]:
                yield _bias(row)


@dataclass(frozen=True)
class Decoded:
    """A file's tensors as a model, and what of the file the model does not hold."""

    model: Model
    left: Mapping[str, str]  # tensors that are knowingly not taken, and why
    twin: tuple[str, str] | None  # a stored output projection and the embeddings that it must equal, when tied


def decode(family: Family, facts: Facts, headers: Mapping[str, Header]) -> Decoded:
    """The model that a file's tensors are, or one refusal that names everything that does not fit."""
    facts = _with_tie(family, facts, headers)
    rows = tuple(rows_of(family, facts))
    facts = _with_layers(rows, facts, headers)
    sizes = solve(rows, facts, headers)
    facts = facts.with_({n: sizes[n] for n in sizes if n in facts and not facts.knows(n)}, "the shapes")
    tensors: dict[str, Expr] = {}
    missing, wrong, used = [], [], set()
    for slot, name, roles in slots(rows, sizes):
        found = headers.get(name)
        if found is None:
            missing.append(name)
            continue
        used.add(name)
        if found.shape != slot.shape:
            wrong.append(_wrong_shape(slot, found, sizes))
            continue
        if found.dtype not in FLOATS:
            wrong.append(f"{show(found.name)} has dtype {found.dtype}, not a floating-point type")
            continue
        strided = leaves(slot.layout, sizes, found.strides) if _is_strided(found) else slot.leaves
        for role_name, template, leaf in zip(roles, slot.roles, strided, strict=True):
            tensors[role_name] = _moved(found, template, leaf)
    why = _knowingly_left(family)
    left = {name: reason for name in headers if name not in used and (reason := why(name))}
    twin = _twin(family, facts, headers)
    extra = [name for name in headers if name not in used and name not in left and name not in (twin or ())]
    _report(family, facts, missing, wrong, extra)
    return Decoded(Model(facts, tensors), left, twin)


def encode(family: Family, model: Model) -> Iterator[Target]:
    """Every tensor of the family's file for this model, in the order of the table's rows, layer by layer."""
    sizes = model.sizes
    for slot, name, roles in slots(tuple(rows_of(family, model.facts)), sizes):
        parts = []
        for role_name, template, leaf in zip(roles, slot.roles, slot.leaves, strict=True):
            if 0 in leaf.sizes:
                continue
            expr = model.tensors[role_name]
            assert expr.shape == tuple(sizes[a] for a in role(template).axes), (role_name, expr.shape)
            parts.append((expr, leaf))
        dtypes = {expr.dtype for expr, _ in parts}
        if len(dtypes) > 1:
            raise ConversionError(
                f"{name} is built from tensors of different types ({', '.join(sorted(dtypes))}), and joining them would "
                "round some of them silently. Choose one with --dtype."
            )
        yield Target(name, slot.shape, dtypes.pop() if dtypes else "F32", tuple(parts))


def slots(rows: Sequence[Row], sizes: Sizes) -> Iterator[tuple[Slot, str, tuple[str, ...]]]:
    """Every tensor name of a file with its slot and role names; neighbouring rows of one index go layer by layer."""
    placed = [_slot(row, sizes) for row in rows]
    for indices, group in itertools.groupby(placed, lambda s: fields(s.name)):
        kept = tuple(group)
        for at in itertools.product(*(range(sizes[index]) for index in indices)):
            env = dict(zip(indices, at, strict=True))
            for slot in kept:
                yield slot, slot.name.format(**env), tuple(name.format(**env) for name in slot.roles)


def solve(rows: Sequence[Row], facts: Facts, headers: Mapping[str, Header]) -> dict[str, int]:
    """Sizes of all axes: those the config states, and the rest from the shapes of the first layer's tensors."""
    sizes = facts.sizes()
    first = [(parse(row.layout), headers.get(row.name.format(**dict.fromkeys(fields(row.name), 0)))) for row in rows]
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
    needed = set().union(*(parse(row.layout).atoms() for row in rows))
    if unsolved := sorted(needed - sizes.keys()):
        raise ConversionError(
            f"the sizes {listed(unsolved)} are stated by no key of config.json and by no tensor that is present; "
            "the checkpoint is incomplete or of another family."
        )
    return sizes


def _solve_one(axis: Sequence[Any], unknown: str, length: int, sizes: Sizes) -> int | None:
    at_zero, at_one = (width(axis, {**sizes, unknown: value}) for value in (0, 1))
    step = at_one - at_zero
    if step <= 0 or (length - at_zero) % step or length < at_zero:
        return None
    return (length - at_zero) // step


def _slot(row: Row, sizes: Sizes) -> Slot:
    layout = parse(row.layout)
    roles = tuple(row.roles.split())
    placed = leaves(layout, sizes)
    assert len(placed) == len(roles), f"{row.name}: {len(placed)} leaves for {len(roles)} roles"
    for template, leaf in zip(roles, placed, strict=True):
        assert set(leaf.axes) == set(role(template).axes), f"{row.name}: {template} has axes {role(template).axes}, not {leaf.axes}"
    return Slot(row.name, roles, row.layout, layout, layout.shape(sizes), placed)


def _bias(row: Row) -> Row:
    """A weight's row as its bias's: without the axes that the weight is multiplied over."""
    roles = tuple(f"{name}.bias" for name in row.roles.split())
    over = frozenset(axis for name in row.roles.split() for axis in role(name).over)
    shared = frozenset(axis for name in roles for axis in role(name).axes)
    dropped = _text_without(row.layout, over - shared)
    return replace(row, name=row.name.removesuffix(".weight") + ".bias", roles=" ".join(roles), layout=dropped, bias="")


@cache
def _text_without(text: str, names: frozenset[str]) -> str:
    """The layout text with some axes gone, and the parentheses that held nothing else."""
    words = re.findall(r"[A-Za-z_]\w*|[()+]|1", text)
    kept = " ".join(word for word in words if word not in names)
    previous = ""
    while previous != kept:
        previous, kept = kept, re.sub(r"\(\s*\)", "", kept)
    kept = re.sub(r"\s+", " ", kept).strip()
    return kept.replace("( ", "(").replace(" )", ")")


def _moved(found: Header, template: str, leaf: Leaf) -> Moved:
    axes = role(template).axes
    order = [leaf.axes.index(axis) for axis in axes]
    shape = tuple(leaf.sizes[i] for i in order)
    piece = Piece(found.name, leaf.offset, (0,) * len(axes), shape, tuple(leaf.strides[i] for i in order))
    return Moved(axes, shape, found.dtype, (piece,))


def _is_strided(found: Header) -> bool:
    step = 1
    for size, stride in zip(reversed(found.shape), reversed(found.strides), strict=True):
        if size != 1 and stride != step:
            return True
        step *= size
    return False


def _with_tie(family: Family, facts: Facts, headers: Mapping[str, Header]) -> Facts:
    """A tie that the config does not state is decided by whether the file has an output projection."""
    if facts.knows("tied"):
        return facts
    head = next((row.name for row in family.rows if row.roles == "head"), "")
    return facts.with_({"tied": head not in headers}, f"{head} is {'present' if head in headers else 'absent'}")


def _with_layers(rows: Sequence[Row], facts: Facts, headers: Mapping[str, Header]) -> Facts:
    """The number of layers from the names found, which must be what the config says."""
    layered = [row.name for row in rows if "layer" in fields(row.name)]
    patterns = [_pattern(name) for name in layered]
    found = {int(m["layer"]) for name in headers for p in patterns if (m := p.fullmatch(name)) is not None}
    if patterns and not found:
        raise ConversionError(
            f"no tensor is named as a layer of this family would be (such as {layered[0]}); the first names "
            f"present are {listed(map(show, headers))}."
        )
    if found != set(range(len(found))):
        gaps = sorted(set(range(max(found) + 1)) - found)
        raise ConversionError(f"the tensors of layer {listed(gaps)} are missing, though layer {max(found)} is there.")
    if facts.knows("layer") and facts["layer"] != len(found):
        raise ConversionError(
            f"config.json: {facts.origins['layer']} = {show(facts['layer'])}, but layers 0..{len(found) - 1} are present. "
            "Either tensors are missing (an incomplete download), or the config belongs to another model."
        )
    return facts.with_({"layer": len(found)}, facts.origins.get("layer", "the tensors' names"))


@cache
def _pattern(template: str) -> re.Pattern[str]:
    """A template as a pattern with one named number per index."""
    text = re.escape(template).replace(r"\{", "{").replace(r"\}", "}")
    for name in fields(template):
        text = text.replace("{" + name + "}", f"(?P<{name}>0|[1-9][0-9]{{0,6}})", 1)
    return re.compile(text)


def _knowingly_left(family: Family) -> Callable[[str], str]:
    """Why a tensor of this name is not taken; empty when nothing says so."""
    prefixes = [(item.name[:-1], item.why) for item in family.leave if item.name.endswith("*")]
    patterns = [(_pattern(item.name), item.why) for item in family.leave if not item.name.endswith("*")]

    def why(name: str) -> str:
        reasons = [reason for prefix, reason in prefixes if name.startswith(prefix)]
        reasons += [reason for pattern, reason in patterns if pattern.fullmatch(name)]
        return reasons[0] if reasons else ""

    return why


def _twin(family: Family, facts: Facts, headers: Mapping[str, Header]) -> tuple[str, str] | None:
    """(output projection, embeddings) when a tied checkpoint stores both."""
    names = {row.roles: row.name for row in family.rows}
    head, embed = names.get("head", ""), names.get("embed", "")
    return (head, embed) if facts["tied"] and head in headers and embed in headers else None


def _holds(when: str, facts: Facts) -> bool:
    return not when or (not facts[when[1:]] if when.startswith("!") else bool(facts[when]))


def _wrong_shape(slot: Slot, found: Header, sizes: Sizes) -> str:
    named = ", ".join(f"{a} {sizes[a]}" for a in sorted(slot.layout.atoms()) if a != "two")
    return f"{show(found.name)} has shape {_by(found.shape)}, expected {_by(slot.shape)} = {slot.text} with {named}"


def _by(shape: Iterable[int]) -> str:
    return " x ".join(map(str, shape)) or "scalar"


def _report(family: Family, facts: Facts, missing: list[str], wrong: list[str], unexpected: list[str]) -> None:
    """All that does not fit, in one refusal."""
    told = []
    if missing:
        told.append(f"{len(missing)} missing ({listed(missing)})")
    if unexpected:
        told.append(f"{len(unexpected)} unexpected ({listed(_suspicious(name) for name in unexpected)})")
    if wrong:
        told.append(f"{len(wrong)} of the wrong shape or dtype ({'; '.join(wrong[:3])}{' and more' if len(wrong) > 3 else ''})")
    if told:
        raise ConversionError(
            f"the tensors are not those of {family.title} with {facts['layer']} layers: {'; '.join(told)}. Every tensor must be "
            "accounted for, because a missing one would be initialised at random by whoever loads the output."
        )


def _suspicious(name: str) -> str:
    strange = sorted({f"U+{ord(c):04X}" for c in name if not c.isascii()})
    return show(name) + (f" with {', '.join(strange)}" if strange else "")
