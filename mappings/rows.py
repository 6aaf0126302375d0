"""Rows at work: names and shapes that a family's file must have, and both directions between files and roles.

Names are generated from sizes and compared with what the headers hold, so coverage (every tensor used exactly once) and
bijection are proved before a byte is read. Nothing is recognised by guessing at a name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from mappings.family import Family, Row
from mappings.slabs import Header, Slabs, assembled, cut, pieces
from mappings.slots import Slot, slots, without_sets
from mappings.solve import solve
from mappings.wrapping import wrappers
from surgery.dtypes import FLOATS, QUANTISED
from surgery.errors import ConversionError, UsageError, listed, show
from surgery.facts import Facts
from surgery.layout import Leaf, Sizes, parse, row_major
from surgery.model import Model
from surgery.movement import Piece
from surgery.roles import fields, role
from surgery.values import Expr, Moved, dequantised, narrowed


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
class Alike:
    """Two stored tensors that must hold the same values, since only the second is read, and why."""

    name: str
    other: str
    why: str


@dataclass(frozen=True)
class Decoded:
    """A file's tensors as a model, and what of the file the model does not hold."""

    model: Model
    left: Mapping[str, str]  # tensors that are knowingly not taken, and why
    alike: tuple[Alike, ...]
    notes: tuple[str, ...] = ()  # what is unusual about the names


def decode(family: Family, facts: Facts, headers: Mapping[str, Header]) -> Decoded:
    """The model that a file's tensors are, or one refusal that names everything that does not fit."""
    stored = assembled(family, headers, wrapped=True)
    facts = _with_tie(family, facts, stored)
    stored = _with_embeddings(family, facts, stored)
    rows = tuple(rows_of(family, facts))
    facts = _with_layers(rows, facts, stored)
    sizes = solve(rows, facts, stored)
    facts = facts.with_({n: sizes[n] for n in sizes if n in facts and not facts.knows(n)}, "the shapes")
    tensors: dict[str, Expr] = {}
    held: dict[str, str] = {}
    missing, wrong, used, alike = [], [], set(), []
    named = list(slots(rows, facts, sizes))
    _check_names(family, named)
    for slot, name, roles in named:
        found = stored.get(name)
        if found is None:
            missing += [] if slot.row.spare else [name]
            continue
        used.add(name)
        scaled = found.dtype in QUANTISED and bool(slot.row.scale)
        scale = stored.get(name + slot.row.scale) if scaled else None
        if scaled and scale is None:
            missing.append(name + slot.row.scale)
            continue
        if fault := _fault(slot, found, sizes) or (scale and _wrong_scale(slot, found, scale)):
            wrong.append(fault)
            continue
        both = "every file must hold the same" if family.stored == "consolidated" else f"both are {name}"
        alike += [Alike(copy.name, found.stored[0].name, both) for copy in found.copies]
        if roles[0] in tensors:
            alike.append(Alike(found.stored[0].name, held[roles[0]], f"{slot.row.roles} is stored twice"))
            continue
        for role_name, part, lying in zip(roles, slot.parts, pieces(slot, found), strict=True):
            expr = Moved(part.axes, part.leaf.sizes, found.dtype, lying)
            tensors[role_name] = expr
            held[role_name] = found.stored[0].name
        if scale is not None:
            used.add(scale.name)
            for at, role_name in enumerate(roles):
                tensors[role_name] = _scaled(slot, at, tensors[role_name], scale)
    why = _knowingly_left(family)
    unused = {one.name: name for name, whole in stored.items() if name not in used for one in whole.stored}
    left = {name: reason for name, named in unused.items() if (reason := why(named))}
    if (twin := _twin(family, facts, stored)) is not None:
        left[twin.name] = f"tied: it equals {twin.other}"
        alike.append(twin)
    _report(family, facts, missing, wrong, [name for name in unused if name not in left])
    return Decoded(Model(facts, tensors), left, tuple(alike), tuple(_told(family, headers)))


def encode(family: Family, model: Model, files: int = 1) -> Iterator[Target]:
    """Every tensor of the family's file for this model, in the order of the table's rows, layer by layer.

    Families kept in model-parallel files get their tensors cut for ``files`` of them, named ``<file number>/<name>``.
    """
    sizes = model.sizes
    rows = tuple(rows_of(family, model.facts))
    if family.stored == "consolidated":
        _check_cuts(rows, sizes, files)
    # told anew each time: a mixture of experts has so many names that a list of them is large
    _check_names(family, slots(rows, model.facts, sizes))
    _check_roles(family, model, slots(rows, model.facts, sizes))
    for slot, name, roles in slots(rows, model.facts, sizes):
        parts = []
        for role_name, part in zip(roles, slot.parts, strict=True):
            if 0 not in part.leaf.sizes:
                expr = model.tensors[role_name]
                assert expr.shape == part.leaf.sizes, (name, role_name, expr.shape, part.leaf.sizes)
                parts.append((expr, part.leaf))
        dtypes = {expr.dtype for expr, _ in parts}
        if len(dtypes) > 1:
            raise ConversionError(
                f"{name} is built from tensors of different types ({', '.join(sorted(dtypes))}), and joining them "
                "would round some of them silently. Choose one with --dtype."
            )
        dtype = dtypes.pop() if dtypes else "F32"
        if family.stored != "consolidated":
            yield Target(name, slot.shape, dtype, tuple(parts))
            continue
        for file in range(files):
            yield _shard(slot, f"{file}/{name}", dtype, parts, file, files)


def _check_names(family: Family, named: Iterable[tuple[Slot, str, tuple[str, ...]]]) -> None:
    """No two rows name one tensor: a fault of the table, by which a file would hold the name twice or lose one of the two."""
    rows: dict[str, str] = {}
    for slot, name, _ in named:
        if name in rows:
            raise AssertionError(f"{family.label}: two rows name {name}, for {rows[name]} and for {slot.row.roles}")
        rows[name] = slot.row.roles


def _check_roles(family: Family, model: Model, named: Iterable[tuple[Slot, str, tuple[str, ...]]]) -> None:
    """Every tensor of the model has its place in the family's files, and every place has its tensor."""
    places = (pair for slot, _, roles in named for pair in zip(roles, slot.parts, strict=True))
    wanted = {role for role, part in places if 0 not in part.leaf.sizes}
    held = {role for role, expr in model.tensors.items() if 0 not in expr.shape}
    if wanted == held:
        return
    faults = [(held - wanted, "has no place for"), (wanted - held, "needs, and this model lacks,")]
    said = "; ".join(f"{what} {listed(sorted(roles))}" for roles, what in faults if roles)
    raise ConversionError(
        f"{family.label} {said}: the facts of both agree, and yet the tensors do not, so writing the rest would make "
        "another model. Nothing was written. `convert explain` of this pair says what the two families hold."
    )


def _shard(slot: Slot, name: str, dtype: str, parts: Sequence[tuple[Expr, Leaf]], file: int, files: int) -> Target:
    """What one of several model-parallel files holds of a tensor."""
    axis = slot.row.split
    if axis is None or files == 1:
        return Target(name, slot.shape, dtype, tuple(parts))
    length = slot.shape[axis] // files
    shape = (*slot.shape[:axis], length, *slot.shape[axis + 1 :])
    cuts = cut(slot, axis, file * length, (file + 1) * length, row_major(shape))
    return Target(name, shape, dtype, tuple((narrowed(parts[at][0], region), leaf) for at, region, leaf in cuts))


def _check_cuts(rows: Iterable[Row], sizes: Sizes, files: int) -> None:
    """Every axis that is cut must divide by the number of files, and whole key-value heads must fall to each."""
    cut_ = {parse(row.layout).axes[row.split][0] for row in rows if row.split is not None}
    uneven = sorted(f"{axis} {sizes[axis]}" for axis in cut_ if isinstance(axis, str) and sizes[axis] % files)
    if uneven:
        raise UsageError(
            f"--tensor-parallel {files}: {', '.join(uneven)} cannot be divided evenly among {files} files, and the "
            "code that reads them has no other way. Choose a number that divides all of them."
        )


def _scaled(slot: Slot, at: int, expr: Expr, scale: Slabs) -> Expr:
    """A block-scaled part of a matrix as numbers: which row and column of it each element is decides its factor."""
    axes = ("row block", "column block")
    header = scale.stored[0]
    factors = Moved(axes, header.shape, header.dtype, (Piece(header.name, 0, (0, 0), header.shape, header.strides),))
    rows, columns = (along[at].leaf for along in slot.by_axis)
    return dequantised(expr, factors, rows, columns, slot.row.block)


def _bias(row: Row) -> Row:
    """A weight's row as its bias's: without the axes that the weight is multiplied over."""
    roles = tuple(f"{name}.bias" for name in row.roles.split())
    over = frozenset(axis for name in row.roles.split() for axis in role(name).over)
    shared = frozenset(axis for name in roles for axis in role(name).axes)
    dropped = _text_without(row.layout, over - shared)
    name = row.name.removesuffix(".weight") + ".bias"
    return replace(row, name=name, roles=" ".join(roles), layout=dropped, bias="", scale="")


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


def _with_tie(family: Family, facts: Facts, stored: Mapping[str, Slabs]) -> Facts:
    """A tie that the config does not state is decided by whether the file has an output projection."""
    if facts.knows("tied"):
        return facts
    head = next((row.name for row in family.rows if row.roles == "head"), "")
    return facts.with_({"tied": head not in stored}, f"{head} is {'present' if head in stored else 'absent'}")


def _with_embeddings(family: Family, facts: Facts, stored: dict[str, Slabs]) -> dict[str, Slabs]:
    """The tensors of a tied model that stores its one matrix as the output projection, with that as the embeddings.

    transformers 5.23 ties either way (modeling_utils.py tie_weights: whichever of the two is there).
    """
    rows = {row.roles: row for row in family.rows if row.roles in ("embed", "head")}
    if not facts["tied"] or len(rows) < 2 or rows["embed"].layout != rows["head"].layout:
        return stored
    embed, head = rows["embed"].name, rows["head"].name
    if embed in stored or head not in stored:
        return stored
    return {**{name: slabs for name, slabs in stored.items() if name != head}, embed: replace(stored[head], name=embed)}


def _told(family: Family, headers: Mapping[str, Header]) -> Iterator[str]:
    """What a user should know of names that are not the family's own."""
    if not any(name.startswith(prefix) for prefix, _ in family.prefixes for name in headers) and (found := wrappers(headers)):
        yield (
            f"names were read without {found}, which no library that loads {family.title} takes away; the output has the "
            "family's own names"
        )


def _with_layers(rows: Sequence[Row], facts: Facts, stored: Mapping[str, Slabs]) -> Facts:
    """The number of layers from the names found, which must be what the config says."""
    beginnings = sorted({row.name.partition("{layer")[0] for row in rows if "{layer" in row.name})
    pattern = re.compile(rf"(?:{'|'.join(map(re.escape, beginnings))})(0|[1-9][0-9]{{0,6}})\.")
    found = {int(match[1]) for name in stored if (match := pattern.match(name)) is not None} if beginnings else set()
    if beginnings and not found:
        example = next(row.name for row in rows if "{layer" in row.name)
        raise ConversionError(
            f"no tensor is named as a layer of this family would be (such as {without_sets(example)}); the first names "
            f"present are {listed(map(show, stored))}."
        )
    if found != set(range(len(found))):
        gaps = sorted(set(range(max(found) + 1)) - found)
        raise ConversionError(f"the tensors of layer {listed(gaps)} are missing, though layer {max(found)} is there.")
    layers = len(found) - facts["mtp"]
    if facts["mtp"] and facts.knows("layer") and facts["layer"] == len(found):
        experts = tuple(layer for layer in facts["layers.moe"] if layer < facts["layer"])
        return facts.with_({"mtp": 0, "layers.moe": experts}, "the layers that are present")
    if facts.knows("layer") and facts["layer"] != layers:
        raise ConversionError(
            f"config.json: {facts.origins['layer']} = {show(facts['layer'])}, but layers 0..{len(found) - 1} are "
            "present. Either tensors are missing (an incomplete download), or the config belongs to another model."
        )
    return facts.with_({"layer": layers}, facts.origins.get("layer", "the tensors' names"))


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


def _twin(family: Family, facts: Facts, stored: Mapping[str, Slabs]) -> Alike | None:
    """The output projection, when a tied checkpoint stores it beside the embeddings that it must equal."""
    names = {row.roles: row.name for row in family.rows}
    head, embed = stored.get(names.get("head", "")), stored.get(names.get("embed", ""))
    if not facts["tied"] or head is None or embed is None:
        return None
    return Alike(head.stored[0].name, embed.stored[0].name, "tie_word_embeddings is true")


def _holds(when: str, facts: Facts) -> bool:
    return not when or (not facts[when[1:]] if when.startswith("!") else bool(facts[when]))


def _fault(slot: Slot, found: Slabs, sizes: Sizes) -> str:
    """What is wrong with a tensor's shape or type; empty when nothing is."""
    if found.shape != slot.shape:
        named = ", ".join(f"{a} {sizes[a]}" for a in sorted(slot.layout.atoms()) if a != "two")
        return f"{show(found.name)} has shape {_by(found.shape)}, expected {_by(slot.shape)} = {slot.text} with {named}"
    if found.dtype not in FLOATS and not (found.dtype in QUANTISED and slot.row.scale):
        return f"{show(found.name)} has dtype {found.dtype}, not a floating-point type"
    return ""


def _wrong_scale(slot: Slot, found: Slabs, scale: Slabs) -> str:
    expected = tuple(-(-n // b) for n, b in zip(slot.shape, slot.row.block, strict=True))
    if (scale.dtype, scale.shape) == ("F32", expected):
        return ""
    wanted = f"F32 {_by(expected)} for blocks of {_by(slot.row.block)}"
    return f"{show(scale.name)} is {scale.dtype} {_by(scale.shape)}, expected {wanted}"


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
        more = " and more" if len(wrong) > 3 else ""
        told.append(f"{len(wrong)} of the wrong shape or dtype ({'; '.join(wrong[:3])}{more})")
    if told:
        raise ConversionError(
            f"the tensors are not those of {family.title} with {facts['layer']} layers: {'; '.join(told)}. Every "
            "tensor must be accounted for, because a missing one would be initialised at random by whoever loads the "
            "output."
        )


def _suspicious(name: str) -> str:
    strange = sorted({f"U+{ord(c):04X}" for c in name if not c.isascii()})
    return show(name) + (f" with {', '.join(strange)}" if strange else "")


def settled(
    family: Family, facts: Facts, headers: Mapping[str, Header], *, wrapped: bool = False
) -> tuple[Facts, dict[str, Slabs]]:
    """What the names decide where the config leaves it open: the tie, and which tensors the rows speak of.

    Without ``wrapped`` names are read as the libraries read them.
    """
    stored = assembled(family, headers, wrapped=wrapped)
    facts = _with_tie(family, facts, stored)
    return facts, _with_embeddings(family, facts, stored)
