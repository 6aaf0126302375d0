"""Translation validation: where a plan says that output elements come from, against the formulas of both families.

No weight is read. For every output tensor, addresses are followed backwards through the plan's boxes (or the
expressions of what is computed) to an address of the source, and forwards through `placement`: both must name the same
element. Small tensors are followed whole, large ones at every kind of boundary and at addresses drawn at random.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from convert.verification.addresses import Address, Unfollowed, origins, said
from convert.verification.meaning import Meaning, read
from convert.verification.names import Names
from convert.verification.placement import FORMULAS, LAYERED, Formula, Shape, nested
from convert.verification.twins import Twins
from surgery.errors import listed

_ZERO: Address = (None, 0)  # a written zero
_TIED = {"head": "embed", "embed": "head"}  # of a tied model one is stored, and stands for both
_MANY = 5000  # tensors, as mixtures of experts have: then few elements of each, since seconds are what this may take


class Header(Protocol):
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def strides(self) -> tuple[int, ...]: ...


class Checkpoint(Protocol):
    @property
    def config(self) -> Mapping[str, Any]: ...
    @property
    def tensors(self) -> Mapping[str, Any]: ...


class Plan(Protocol):
    """What is needed of a plan: `files` hold `outputs` with name, shape, numel, boxes, parts and reads."""

    @property
    def checkpoint(self) -> Any: ...
    @property
    def files(self) -> Sequence[Any]: ...
    @property
    def documents(self) -> Mapping[str, bytes]: ...


@dataclass(frozen=True)
class Lineage:
    """What was proved about where output elements come from."""

    tensors: int
    addresses: int  # followed
    complete: bool  # every element, not a sample
    faults: tuple[str, ...]
    how: str  # what the addresses were held against
    unfollowed: tuple[str, ...] = ()  # outputs of which nothing was proved, and why: made of several, named by no formula
    unproved: str = ""  # why nothing at all was followed

    @property
    def passed(self) -> bool:
        return not self.faults

    @property
    def sentence(self) -> str:
        """The proof in one line for a person."""
        if not self.passed:
            return f"lineage is WRONG: {listed(self.faults, 3)}"
        if self.unproved:
            return f"lineage not proved: {self.unproved}"
        kind = "every element" if self.complete else f"{self.addresses:,} addresses"
        return f"lineage of {self.which} proved, {kind} held against {self.how}"

    @property
    def which(self) -> str:
        """How many tensors were followed."""
        if not self.unfollowed:
            return f"all {self.tensors} tensors"
        return f"{self.tensors - len(self.unfollowed)} of {self.tensors} tensors (not of {listed(self.unfollowed, 3)})"

    @property
    def record(self) -> str:
        """What was proved, without a word on how much was followed."""
        return f"not proved: {self.unproved}" if self.unproved else f"{self.which}, against {self.how}"


#: families whose files are each other's but for what `Twins` knows
_TWINS = ({"gpt2", "nanogpt"}, {"llama4", "llama4_text"})


def prove(plan: Plan, *, most: int = 200, variant: str | None = None) -> Lineage | None:
    """Follow the addresses of every output tensor; up to ``most`` elements of each are all followed, else a sample.

    None where the plan edits the model: other layers, widths or tokens have no formula. Two families of which one has no
    formula are not compared by the names that they happen to share.
    """
    outputs = {_numbered(file.name, output.name): output for file in plan.files for output in file.outputs}
    source, target = read(plan.checkpoint.config, variant), _target(plan)
    faults = [fault for name, output in outputs.items() for fault in _gaps(name, output)]
    if source is None:
        return _unproved(outputs, faults, str(plan.checkpoint.config.get("model_type")))
    if target is not None and _sizes(source) != _sizes(target):
        return None
    one, other = _side(source, plan.checkpoint.tensors), _side(target, outputs)
    if one is None or other is None:
        if target is None or source.family == target.family or any({source.family, target.family} <= two for two in _TWINS):
            return _as_named(outputs, plan.checkpoint.tensors, faults, most)
        return _unproved(outputs, faults, (source if one is None else target).family)
    if one.vocab != other.vocab:
        return None
    found = _Followed(outputs, one, other, most)
    found.all()
    how = f"the formulas of {one.family} and {other.family}"
    return Lineage(
        len(outputs), found.addresses, found.complete, (*faults, *found.faults), how, tuple(found.unfollowed)
    )


@dataclass(frozen=True)
class _Side:
    """One side's formula with what it needs: sizes, and what its tensors are called and shaped."""

    family: str
    formula: Formula
    shape: Shape
    layers: int
    vocab: int
    headers: Mapping[str, Header]
    ranks: int  # 0 where files are not numbered
    called: Names  # what the files call what the formula names
    tied: bool  # whether its config says that both ends are one matrix, which files may store twice

    def at(self, role: str, layer: int, row: int, column: int) -> tuple[str, int, int]:
        """The tensor, row and column, in the right file where ranks share a tensor."""
        name, row, column = self.formula.place(self.shape, role, row, column)
        name = name.format(layer=layer)
        if not self.ranks:
            return self.called.of(name), row, column
        header = self.headers[f"0/{name}"]
        axis = self.formula.ranked.get(role)
        if role == "embed" and header.shape[1] == self.shape.hidden:
            axis = 0  # Llama 3 divides the embedding by rows
        if axis is None:
            return f"0/{name}", row, column
        part = header.shape[axis]
        rank = (row, column)[axis] // part
        return f"{rank}/{name}", row - rank * part * (axis == 0), column - rank * part * (axis == 1)

    def has(self, role: str) -> bool:
        name = self.formula.place(self.shape, role, 0, 0)[0].format(layer=0)
        return (f"0/{name}" if self.ranks else self.called.of(name)) in self.headers

    def named(self) -> frozenset[str]:
        """Every stored tensor that the formula names."""
        roles = [f"{role}{bias}" for role in _ROLES for bias in ("", ".bias") if self.has(f"{role}{bias}")]
        return frozenset(self.at(role, layer, 0, 0)[0] for layer in range(self.layers) for role in roles)

    def size(self, role: str) -> tuple[int, int]:
        """Rows and columns in Llama's numbering; vectors have one column."""
        s = self.shape
        rows = {
            "embed": self.vocab, "head": self.vocab, "q": s.heads * s.dim, "k": s.kv * s.dim, "v": s.kv * s.dim,
            "gate": s.ffn, "up": s.ffn,
        }.get(role.removesuffix(".bias"), s.hidden)  # fmt: skip
        if role.endswith(".bias") or role.startswith("norm"):
            return rows, 1
        return rows, {"o": s.heads * s.dim, "down": s.ffn}.get(role, s.hidden)

    def offset(self, name: str, row: int, column: int) -> int:
        """The element's offset in storage."""
        strides = self.headers[name].strides
        return row * strides[0] + (column * strides[1] if len(strides) > 1 else 0)


@dataclass(frozen=True)
class _Stored:
    shape: tuple[int, ...]
    strides: tuple[int, ...]


_ROLES = ("embed", "head", "norm", *LAYERED)


def _side(m: Meaning | None, headers: Mapping[str, Any]) -> _Side | None:
    if m is None or m.family not in FORMULAS:
        return None
    formula = FORMULAS[m.family]
    prefix = "model.language_model."
    if any(name.startswith(prefix) for name in headers):
        formula = nested(formula, prefix)
    ranks = sum(name.endswith("/norm.weight") for name in headers)
    stored = {
        name: _Stored(tuple(h.shape), tuple(h.strides) if hasattr(h, "strides") else _row_major(h.shape))
        for name, h in headers.items()
    }
    vocab, ffn = m.vocab, m.ffn
    if ranks:  # params.json may state neither: output and w1 are cut by rows
        vocab = vocab or stored["0/output.weight"].shape[0] * ranks
        ffn = stored["0/layers.0.feed_forward.w1.weight"].shape[0] * ranks
    assert vocab is not None and ffn is not None, m
    return _Side(m.family, formula, Shape.of(m, ffn), m.layers, vocab, stored, ranks, Names(stored, wrapped=True), bool(m.tied))


class _Followed:
    """The addresses followed so far, and what was wrong with them."""

    def __init__(self, outputs: Mapping[str, Any], one: _Side, other: _Side, most: int) -> None:
        self.one, self.other, self.outputs, self.most = one, other, outputs, most
        self.addresses, self.complete = 0, True
        self.faults: list[str] = []
        self.unfollowed: list[str] = []
        self._known = {None, *one.named()}
        self._reached: set[str] = set()
        self._elements = 0

    def all(self) -> None:
        """Every role that the output has; then that no output is left over."""
        for role in ("embed", "head", "norm", "norm.bias"):
            if self.other.has(role):
                self._role(role, 0)
        roles = [name for role in LAYERED for name in (role, f"{role}.bias") if self.other.has(name)]
        for layer in range(self.other.layers):
            for role in roles:
                self._role(role, layer)
        if self.other.ranks:
            self._copies()
        elif self.one.family == self.other.family:
            self._namesakes()
        unreached = sorted(self.outputs.keys() - self._reached)
        self.unfollowed += [f"{name}: no formula of {self.other.family} names it" for name in unreached]
        total = sum(output.numel for name, output in self.outputs.items() if name in self._reached)
        if not unreached and total != self._elements:
            self.faults.append(f"the outputs have {total} elements, the formulas {self._elements}")

    def _role(self, role: str, layer: int) -> None:
        rows, columns = self.other.size(role)
        self._elements += rows * columns
        whole = rows * columns <= self.most
        self.complete = self.complete and whole
        for row, column in _sample(rows, columns, self.other.shape.dim, self.most, f"{role} {layer}"):
            name, at_row, at_column = self.other.at(role, layer, row, column)
            output = self.outputs.get(name)
            if output is None:
                self.faults.append(f"{name} is missing")
                return
            self._reached.add(name)
            try:
                found = list(origins(output, self.other.offset(name, at_row, at_column)))
            except Unfollowed as how:
                self.unfollowed.append(f"{name}: {how}")
                return
            expected = self._expected(role, layer, row, column)
            if expected == _ZERO and not {tensor for tensor, _ in found} <= self._known:
                self.unfollowed.append(f"{name}: no formula of {self.one.family} names {said(found[0])}")
                return
            self.addresses += 1
            if found != [expected] and not (self._ends(role) and found == [self._expected(_TIED[role], layer, row, column)]):
                here = " and ".join(said(address) for address in found) or "nothing"
                self.faults.append(f"{name}[{at_row}, {at_column}] comes from {here}, not from {said(expected)}")
                return

    def _ends(self, role: str) -> bool:
        """Whether the source stores this role twice, as both ends of a tied model: then either is where it comes from."""
        return role in _TIED and self.one.tied and self.one.has("embed") and self.one.has("head")

    def _expected(self, role: str, layer: int, row: int, column: int) -> Address:
        """Where the element is in the source; a written zero where the source's formula names no such tensor."""
        source = self.one
        if role in _TIED and not source.has(role):
            role = _TIED[role]
        if not source.has(role):
            return _ZERO
        if role.removesuffix(".bias") in ("k", "v") and source.shape.kv != self.other.shape.kv:
            head, d = divmod(row, source.shape.dim)
            row = head * source.shape.kv // self.other.shape.kv * source.shape.dim + d
        name, row, column = source.at(role, layer, row, column)
        return name, source.offset(name, row, column)

    def _copies(self) -> None:
        """Norms are in every rank's file; those behind the first must come from where the first one's do."""
        for name in sorted(self.outputs.keys() - self._reached):
            first = self.outputs.get(f"0/{name.partition('/')[2]}")
            output = self.outputs[name]
            same = ("boxes", "parts", "numel")
            if first is not None and all(getattr(first, field) == getattr(output, field) for field in same):
                self._reached.add(name)
                self._elements += output.numel


    def _namesakes(self) -> None:
        """What Llama has no role for, as StableLM's norm of each head: within a family, the tensor of the same name."""
        for name in sorted((self.outputs.keys() & self.one.headers.keys()) - self._reached):
            output, header = self.outputs[name], self.one.headers[name]
            if tuple(output.shape) != header.shape:
                continue
            self._reached.add(name)
            self._elements += output.numel
            self.complete = self.complete and output.numel <= self.most
            for element in _elements(name, output.numel, self.most, 62):
                expected = name, sum(i * s for i, s in zip(_index(element, output.shape), header.strides, strict=True))
                self.addresses += 1
                if (found := list(origins(output, element))) != [expected]:
                    here = " and ".join(map(said, found)) or "nothing"
                    self.faults.append(f"element {element} of {name} comes from {here}, not from {said(expected)}")
                    break


def _unproved(outputs: Mapping[str, Any], faults: Sequence[str], family: str) -> Lineage:
    return Lineage(len(outputs), 0, False, tuple(faults), "nothing", unproved=f"no formula of {family}")


def _as_named(outputs: Mapping[str, Any], sources: Mapping[str, Any], faults: Sequence[str], most: int) -> Lineage:
    """Without a formula for both sides: every tensor against the one that is called the same, or as a twin says."""
    found = [*faults]
    unfollowed: list[str] = []
    addresses, complete = 0, True
    twin = Twins(outputs, sources)
    few = len(outputs) >= _MANY
    most, some = (8, 6) if few else (most, 62)
    for name, output in outputs.items():
        complete = complete and output.numel <= most
        for element in _elements(name, output.numel, most, some):
            index = _index(element, output.shape)
            place, origin = twin.of(name, index), list(origins(output, element))
            if place is None and not (name.endswith(".bias") and origin == [_ZERO]):
                unfollowed.append(f"{name}: the source has no tensor of this name")
                break
            expected = _ZERO
            if place is not None:
                strides = sources[place.tensor].strides
                expected = place.tensor, sum(i * s for i, s in zip(place.index, strides, strict=True))
            addresses += 1
            if origin != [expected]:
                here = " and ".join(map(said, origin)) or "nothing"
                found.append(f"element {element} of {name} comes from {here}, not from {said(expected)}")
                break
    how = "the same tensors of the source" + (", experts by number" if twin.experts else "")
    return Lineage(len(outputs), addresses, complete, tuple(found), how, tuple(unfollowed))


def _elements(name: str, count: int, most: int, some: int) -> Sequence[int]:
    """All elements of a small tensor, some of a large one."""
    drawn = random.Random(name)
    return range(count) if count <= most else [0, count - 1, *(drawn.randrange(count) for _ in range(some))]


def _index(element: int, shape: Sequence[int]) -> tuple[int, ...]:
    index = []
    for size in reversed(shape):
        element, i = divmod(element, size)
        index.append(i)
    return tuple(reversed(index))


def _gaps(name: str, output: Any) -> Iterator[str]:
    """Boxes or parts that do not add up to the tensor, or leave it."""
    counts = [math.prod(n for n, _, _ in part.dims) for part in output.boxes]
    counts += [math.prod(leaf.sizes) for _, leaf in output.parts]
    if sum(counts) != output.numel:
        yield f"{name} has {output.numel} elements and {sum(counts)} are written"


def _sample(rows: int, columns: int, dim: int, most: int, seed: str) -> Iterator[tuple[int, int]]:
    """All elements of a small tensor; of a large one boundaries of heads and halves, and some drawn at random."""
    if rows * columns <= most:
        yield from ((row, column) for row in range(rows) for column in range(columns))
        return
    drawn = random.Random(seed)
    step = max(1, rows // dim // 4) * dim
    inside = (0, 1, dim // 4, dim // 2 - 1, dim // 2, dim - 1)
    edges = {first + at for first in range(0, rows, step) for at in inside}
    chosen = {row for row in edges if row < rows} | {rows - 1, *(drawn.randrange(rows) for _ in range(12))}
    for row in sorted(chosen):
        yield from ((row, column) for column in {0, columns - 1, columns // 2, drawn.randrange(columns)})


def _sizes(m: Meaning) -> tuple[int | None, ...]:
    """What a conversion keeps; Meta's vocabulary may be left to the tensors."""
    return m.layers, m.hidden, m.heads, m.dim


def _target(plan: Plan) -> Meaning | None:
    document = plan.documents.get("config.json") or plan.documents.get("params.json")
    return read(json.loads(document)) if document is not None else None


def _numbered(file: str, name: str) -> str:
    """An output's name as checkpoints have it: with the rank where files are ranks."""
    return f"{int(file.split('.')[1])}/{name.partition('/')[2] or name}" if file.startswith("consolidated.") else name


def _row_major(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
