"""Changes of single tensors of a family's file, carried into the roles that the tensor stores.

An adapter or a delta speaks of the file's own tensors: ``W_pack`` gets one product of low rank, whatever it holds.
Each role takes its share by the same row that reads the tensor, so that fused, grouped and transposed layouts need no
code of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mappings.family import Family
from mappings.rows import rows_of
from mappings.slabs import Header
from mappings.slots import Part, Slot, slots
from surgery.additions import RANK, added, low_rank, renormed, with_rows
from surgery.errors import ConversionError, show
from surgery.model import Model
from surgery.movement import Piece
from surgery.roles import role
from surgery.values import Expr, Moved


@dataclass(frozen=True)
class Place:
    """A tensor of a family's file: its name, its slot, and the roles it stores."""

    name: str
    slot: Slot
    roles: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.slot.shape

    @property
    def inputs(self) -> int:
        """The axis of the file's matrix that is multiplied over: 1, or 0 where it is stored transposed (Conv1D)."""
        over = {axis for name in self.slot.row.roles.split() for axis in role(name).over}
        crossing = [{a for p in along for a, s in zip(p.axes, p.leaf.strides, strict=True) if s} for along in self.slot.by_axis]
        return 1 if crossing[1] <= over else 0


@dataclass(frozen=True)
class Product:
    """``factor * up @ down``, to be added to a matrix: ``down`` is rank x inputs, ``up`` outputs x rank.

    ``embedding``: the inputs are tokens, so the product is stored transposed beside a linear one of the same shape.
    ``magnitude``: the L2 norm that each output of the sum then gets (DoRA), one number an output.
    """

    down: Header
    up: Header
    factor: float
    embedding: bool = False
    magnitude: Header | None = None


def places(family: Family, model: Model) -> Mapping[str, Place]:
    """Every tensor of the family's file for this model, by the name that the family's rows give it."""
    rows = tuple(rows_of(family, model.facts))
    return {name: Place(name, slot, roles) for slot, name, roles in slots(rows, model.facts, model.sizes)}


def with_product(model: Model, place: Place, product: Product) -> Model:
    """The model with a product of low rank added to one tensor of its file."""
    if len(place.shape) != 2:
        raise ConversionError(f"{show(place.name)} is a tensor of shape {place.shape}, not the matrix of a linear layer.")
    inputs = place.inputs if not product.embedding else 1 - place.inputs
    rank = product.down.shape[0] if product.down.shape else 0
    wanted = ((rank, place.shape[inputs]), (place.shape[1 - inputs], rank))
    if (product.down.shape, product.up.shape) != wanted:
        raise ConversionError(
            f"{show(product.down.name)} and {show(product.up.name)} have the shapes {product.down.shape} and "
            f"{product.up.shape}, but {place.name} of this base is {place.shape[1 - inputs]} x {place.shape[inputs]}: "
            "the adapter was trained on another base, of other sizes."
        )
    norms = product.magnitude
    if norms is not None and norms.shape != (place.shape[1 - inputs],):
        raise ConversionError(
            f"{show(norms.name)} has the shape {norms.shape}, but {place.name} of this base has {place.shape[1 - inputs]} "
            "outputs: the adapter was trained on another base, of other sizes."
        )
    changed: dict[str, Expr | None] = {}
    for name, over, out in zip(place.roles, place.slot.by_axis[inputs], place.slot.by_axis[1 - inputs], strict=True):
        left, right = _factor(product.up, out, 0), _factor(product.down, over, 1)
        changed[name] = summed = low_rank(model.tensors[name], left, right, product.factor)
        if norms is not None:
            changed[name] = renormed(summed, _along(norms, out))
    return model.using(changed)


def with_sum(model: Model, place: Place, other: Header, factor: float) -> Model:
    """The model with ``factor`` times another tensor added to one tensor of its file."""
    return model.using({name: added(model.tensors[name], expr, factor) for name, expr in _read(place, other).items()})


def with_tensor(model: Model, place: Place, other: Header) -> Model:
    """The model with one tensor of its file replaced."""
    return model.using(_read(place, other))


def with_rows_of(model: Model, place: Place, rows: Sequence[int], other: Header) -> Model:
    """The model with some rows of one tensor of its file replaced by those of another, stored in the type of the old ones."""
    if max(rows, default=0) >= place.shape[0]:
        raise ConversionError(
            f"{show(other.name)} is to be row {max(rows)} of {place.name}, and this base has {place.shape[0]}: the adapter was "
            "trained on a base with more tokens, and does not bring them."
        )
    if len(other.shape) != 2 or (len(rows), place.shape[1]) != other.shape or len(place.roles) != 1:
        raise ConversionError(
            f"{show(other.name)} has shape {other.shape}, which are no {len(rows)} rows of {place.name}, {place.shape}: it "
            "belongs to another base, of other sizes."
        )
    (name,) = place.roles
    expr = model.tensors[name]
    piece = Piece(other.name, 0, (0, 0), other.shape, other.strides)
    return model.using({name: with_rows(expr, rows, Moved(expr.axes, other.shape, other.dtype, (piece,)))})


def read_as(family: Family, model: Model, name: str, header: Header) -> list[tuple[Expr, Moved]] | None:
    """Each role that a tensor of the family's file holds, as the model has it and as it is read from another such tensor.

    Of embeddings with other rows, only those that both have; None where the model has no such tensor, or of another shape.
    """
    known = places(family, model)
    if name not in known or len(header.shape) != len(known[name].shape):
        return None
    place, rows = known[name], min(known[name].shape[0], header.shape[0])
    if {"embed", "head"} & set(place.roles):
        place = places(family, model.having("rows that both have", vocab=rows))[name]
    if place.shape[1:] != header.shape[1:] or place.shape[0] > header.shape[0]:
        return None
    return [(model.tensors[role], expr) for role, expr in _roles(place, header).items()]


def _read(place: Place, header: Header) -> dict[str, Moved]:
    """What the roles are when ``header`` is the file's tensor."""
    if header.shape != place.shape:
        raise ConversionError(
            f"{show(header.name)} has shape {header.shape}, but {place.name} of this base has {place.shape}: it "
            "belongs to another base, of other sizes."
        )
    return _roles(place, header)


def _roles(place: Place, header: Header) -> dict[str, Moved]:
    found = {}
    for name, part in zip(place.roles, place.slot.lying(header.strides), strict=True):
        piece = Piece(header.name, part.leaf.offset, (0,) * len(part.axes), part.leaf.sizes, part.leaf.strides)
        found[name] = Moved(part.axes, part.leaf.sizes, header.dtype, (piece,))
    return found


def _along(header: Header, part: Part) -> Moved:
    """What of a vector along one axis of the file belongs to a role, as the role's axes that run along it."""
    (step,) = header.strides
    dims = [(a, n, s * step) for a, n, s in zip(part.axes, part.leaf.sizes, part.leaf.strides, strict=True) if s]
    names, sizes, strides = zip(*dims, strict=True)
    piece = Piece(header.name, part.leaf.offset * step, (0,) * len(dims), sizes, strides)
    return Moved(names, sizes, header.dtype, (piece,))


def _factor(header: Header, part: Part, axis: int) -> Moved:
    """What of a factor belongs to a role: ``axis`` as those axes of the role that run along it, the other as rank."""
    dims: list[tuple[str, int, int]] = []
    for name, size, stride in zip(part.axes, part.leaf.sizes, part.leaf.strides, strict=True):
        if stride:
            dims.append((name, size, stride * header.strides[axis]))
    dims.insert(0 if axis else len(dims), (RANK, header.shape[1 - axis], header.strides[1 - axis]))
    names, sizes, strides = zip(*dims, strict=True)
    piece = Piece(header.name, part.leaf.offset * header.strides[axis], (0,) * len(dims), sizes, strides)
    return Moved(names, sizes, header.dtype, (piece,))
