"""Partial rotary: a head of which a part is rotated, as one that is rotated whole with frequencies of zero, and back.

transformers' ``longrope`` divides every frequency by a factor of its own. Where a table over the rotated part alone
is meant, the factors are its frequencies' ratio to those over the whole head; for what stands still the factor is so
large that the angle is nothing at any length. transformers 5 says the same with ``proportional``.
"""

from __future__ import annotations

from math import nextafter
from typing import Any

from surgery.model import Model
from surgery.passes.pass_ import Pass
from surgery.values import Exactness, Region, joined, narrowed, renamed, scaled

#: large enough that a million tokens turn by 1e-10; 1e30 overflows float32 where theta is large
FILLER = 1e16
_LAYER = "layer.{layer}."
_TURNED = ("q", "k", "q.bias", "k.bias")

Scaling = tuple[tuple[str, Any], ...] | None
Said = tuple[float, Scaling]  # theta with it


def turn_whole_heads(model: Model, kind: str = "longrope") -> Model:
    """The model whose heads are rotated whole, as a rope scaling of this kind says.

    Returned as it is where no such scaling says it: another one is there already, or nothing says how long a text may
    be.
    """
    facts, sizes = model.facts, model.sizes
    head, pair = facts["head"], sizes.get("pair", 0)
    if facts["rope.share"] == 1.0 or facts["norm.qk"] is not None or pair == 0:
        return model
    ways = {"longrope": _longrope, "proportional": _proportional}
    said = ways[kind](facts["rope.theta"], facts["rope.scaling"], head, facts.rotated, facts["context"])
    if said is None:
        return model
    theta, scaling = said
    # longrope's attention factor multiplies what is rotated, which now is all of a head
    grows = dict(scaling or ()).get("attention_factor", 1.0)
    tensors = dict(model.tensors)
    for layer in range(sizes["layer"]):
        for name in _TURNED:
            turned, still = (f"{_LAYER}{n}".format(layer=layer) for n in (name, _still(name)))
            if turned in tensors:
                tensors[turned] = joined(tensors[turned], scaled(tensors.pop(still), 1.0 / grows), "pair")
    turned_whole = {"rope__share": 1.0, "rope__theta": theta, "rope__scaling": scaling}
    return Model(facts, tensors).having(f"rotated whole, {kind}", **turned_whole)


def turn_part_of_heads(model: Model) -> Model:
    """The inverse: the model that rotates only what its rope scaling lets turn, and has no scaling."""
    facts, head = model.facts, model.facts["head"]
    if head is None or facts["rope.share"] != 1.0 or facts["norm.qk"] is not None:
        return model
    found = still_part(facts["rope.theta"], facts["rope.scaling"], head, facts["context"])
    if found is None:
        return model
    theta, pair = found
    tensors = dict(model.tensors)
    for layer in range(facts["layer"]):
        for name in _TURNED:
            turned, still = (f"{_LAYER}{n}".format(layer=layer) for n in (name, _still(name)))
            if turned in tensors:
                whole = tensors[turned]
                at = whole.axes.index("pair")
                regions: list[Region] = [
                    (*whole.whole[:at], span, *whole.whole[at + 1 :]) for span in ((0, pair), (pair, head // 2 - pair))
                ]
                tensors[turned], rest = (narrowed(whole, region) for region in regions)
                tensors[still] = renamed(rest, "pair", "half")
    part = {"rope__share": share_of(2 * pair, head), "rope__theta": theta, "rope__scaling": None}
    return Model(facts, tensors).having("rotated in part", **part)


def share_of(rotated: int, head: int) -> float:
    """The share of a head that is so many of its elements, whose product with the head's width is not cut to one less.

    >>> int(94 * (6 / 94)), int(94 * share_of(6, 94))
    (5, 6)
    """
    share = rotated / head
    return share if int(head * share) == rotated else nextafter(share, 1.0)


def still_part(theta: float, scaling: Scaling, head: int, context: int | None) -> tuple[float, int] | None:
    """(theta, turning pairs) of the table over a part of the head that a scaling spells; None for any other scaling."""
    table = dict(scaling or ())
    kind = table.pop("rope_type", None)
    if kind == "proportional" and table.pop("factor", 1.0) == 1.0 and table.keys() <= {"partial_rotary_factor"}:
        pair = int(table.get("partial_rotary_factor", 1.0) * head // 2)
        return (_near_whole(theta ** (2 * pair / head)), pair) if 0 < pair < head // 2 else None
    if kind != "longrope" or table.get("short_factor") != table.get("long_factor"):
        return None
    factors = tuple(table.get("short_factor", ()))
    pair = sum(factor < FILLER / 10 for factor in factors)
    said = _longrope(theta, None, head, 2 * pair, context) if 0 < pair < head // 2 == len(factors) else None
    if said is None:
        return None
    ours = dict(said[1] or ())
    same = all(ours.get(key) == value for key, value in table.items() if key not in _LISTS)
    near = all(abs(a / b - 1) < 1e-9 for a, b in zip(ours["short_factor"][:pair], factors, strict=False))
    return (theta, pair) if same and near else None


_LISTS = ("short_factor", "long_factor")


def _longrope(theta: float, scaling: Scaling, head: int, rotated: int, context: int | None) -> Said | None:
    """The same frequencies over the whole head; the factors of a longrope over the part are kept in them."""
    table, pair = dict(scaling or ()), (rotated + 1) // 2
    if context is None or (table and (table["rope_type"] != "longrope" or table.get("attention_factor") is None)):
        return None
    # Both lengths are the same, or vLLM would derive an attention factor from their ratio and ignore the one given.
    plain: dict[str, Any] = {"factor": 1.0, "attention_factor": 1.0, "original_max_position_embeddings": context}
    ratios = [theta ** (2 * i / rotated - 2 * i / head) for i in range(pair)]
    filler = (FILLER,) * (head // 2 - pair)
    for key in _LISTS:
        own = table.get(key, (1.0,) * pair)
        plain[key] = (*(a * b for a, b in zip(ratios, own, strict=True)), *filler)
    kept = {key: value for key, value in table.items() if key not in (*_LISTS, "rope_type")}
    return theta, (("rope_type", "longrope"), *sorted({**plain, **kept}.items()))


def _proportional(theta: float, scaling: Scaling, head: int, rotated: int, context: int | None) -> Said | None:
    pair = (rotated + 1) // 2
    share = share_of(2 * pair, head)
    if scaling is not None or int(share * head // 2) != pair:
        return None
    return theta ** (head / rotated), (("rope_type", "proportional"), ("partial_rotary_factor", share))


def _still(name: str) -> str:
    """The role beside ``name`` that holds what of the heads stands still."""
    weight, dot, bias = name.partition(".")
    return f"{weight}_still{dot}{bias}"


def _near_whole(number: float) -> float:
    """A root that ought to be whole."""
    return float(round(number)) if abs(number / round(number) - 1) < 1e-12 else number


_SAYS = "heads of which a part is rotated are said to be rotated whole, with frequencies of zero for the rest"

LONGROPE = Pass(
    name="longrope",
    mends=("rope.share",),
    says=f"{_SAYS} (factors of longrope)",
    exactness=Exactness.ALGEBRAIC,  # the weights only move, but each frequency is computed as another product
    apply=lambda model, refused: turn_whole_heads(model),
    introduces=("rope.scaling",),
)

PROPORTIONAL = Pass(
    name="proportional",
    mends=("rope.share",),
    says=f"{_SAYS} (proportional, which needs transformers 5)",
    exactness=Exactness.ALGEBRAIC,
    apply=lambda model, refused: turn_whole_heads(model, "proportional"),
    introduces=("rope.scaling", "rope.theta"),
    instead_of=LONGROPE.name,
)

PART = Pass(
    name="partial-rotary",
    mends=("rope.scaling",),
    says="frequencies of zero are said as heads of which a part is rotated",
    exactness=Exactness.ALGEBRAIC,
    apply=lambda model, refused: turn_part_of_heads(model),
    introduces=("rope.share",),
)
