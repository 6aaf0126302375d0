"""Mistakes in tables and passes: the conversion runs through them, reads and writes consistently, and is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from unittest import mock

import convert.prepare
from mappings import families
from mappings.family import Family, Fixed, Row
from surgery.legalise import legalise
from surgery.model import Model
from surgery.passes import PASSES, Pass
from surgery.passes.pass_ import Apply

R = "layer.{layer}."

ROLES: dict[str, tuple[str, str]] = {
    "q and k": (R + "q", R + "k"),
    "k and v": (R + "k", R + "v"),
    "gate and up": (R + "gate", R + "up"),
    "two norms": (R + "attention_norm", R + "mlp_norm"),
    "embedding and head": ("embed", "head"),
}
#: layout words read in another order, in rows that hold these roles
LAYOUTS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "rotation of q and k interleaved": ("two pair", "pair two", (R + "q", R + "k")),
    "rotation of q and k halved": ("pair two", "two pair", (R + "q", R + "k")),
    "heads of o by dimension": ("group head)", "head group)", (R + "o",)),
    "values by dimension": ("(kv head)", "(head kv)", (R + "v",)),
    "query heads in another order": ("(kv group", "(group kv", (R + "q",)),
    "axes of o exchanged": ("hidden (kv group head)", "(kv group head) hidden", (R + "o",)),
}
FACTS = {"norm.eps": 1.1e-4, "rope.theta": 20000.0, "activation": "relu", "rope.share": 1.0, "head.unit_rows": False,
         "norm.offset": 0.0, "embed.scale": None, "residual.depth": None, "logits.base": None, "rope.scaling": None}  # fmt: skip


@dataclass(frozen=True)
class Mistake:
    """A name, and a context in which conversions make it."""

    name: str
    made: Callable[[], object]


def mistakes(family: str) -> Iterator[Mistake]:
    """Every mistake that a family's tables, or a pass, can have."""
    for name, (one, other) in ROLES.items():
        yield Mistake(f"table: {name} exchanged", partial(_tables, family, partial(_exchanged, one=one, other=other)))
    for name, (old, new, roles) in LAYOUTS.items():
        yield Mistake(f"table: {name}", partial(_tables, family, partial(_relaid, old=old, new=new, roles=roles)))
    for fact, value in FACTS.items():
        yield Mistake(f"table: {fact} is {value}", partial(_tables, family, partial(_fixed, fact=fact, value=value)))
    for one in PASSES:
        yield Mistake(f"pass: {one.name} only claims", partial(_passes, one, _claims))
        yield Mistake(f"pass: {one.name} is done twice", partial(_passes, one, _twice))


def _exchanged(row: Row, one: str, other: str) -> Row:
    """Roles under each other's names; in a fused row their parts of the layout go along where they are as wide."""
    swap = {one: other, other: one}
    return replace(row, roles=" ".join(swap.get(role, role) for role in row.roles.split()))


def _relaid(row: Row, old: str, new: str, roles: tuple[str, ...]) -> Row:
    return replace(row, layout=row.layout.replace(old, new)) if set(roles) & set(row.roles.split()) else row


def _fixed(family: Family, fact: str, value: object) -> Family:
    """The family with a fact hard-wired that its config states, or hard-wired otherwise."""
    changed = []
    for setting in family.settings:
        facts = setting.fact.split()
        if fact in facts and len(facts) == 1 and getattr(setting, "value", None) != value:
            changed.append(Fixed(fact, value, "a mistake"))
        else:
            changed.append(setting)
    return replace(family, settings=tuple(changed))


@contextmanager
def _tables(name: str, change: Callable[..., object]) -> Iterator[bool]:
    """Conversions read the family of this name through a wrong table; yields whether the table has such a thing."""
    wrong = []
    for family in families():
        if family.name != name:
            wrong.append(family)
        elif getattr(change, "func", None) is _fixed:
            wrong.append(change(family))
        else:
            wrong.append(replace(family, rows=tuple(change(row) for row in family.rows)))
    with mock.patch.object(convert.prepare, "families", lambda: tuple(wrong)):
        yield tuple(wrong) != families()


def _claims(real: Apply, model: Model, refused: frozenset[str]) -> Model:
    """The facts as the pass leaves them, the tensors as they were, but for those that it adds or removes."""
    done = real(model, refused)
    kept = {name: model.tensors.get(name, expr) for name, expr in done.tensors.items()}
    return Model(done.facts, kept)


def _twice(real: Apply, model: Model, refused: frozenset[str]) -> Model:
    """What the pass does, done twice: a mend on top of a mend."""
    done = real(model, refused)
    again = real(Model(model.facts, done.tensors), refused)
    return Model(done.facts, again.tensors)


@contextmanager
def _passes(real: Pass, how: Callable[..., Model]) -> Iterator[bool]:
    """Conversions run with one pass replaced; yields True, for only a conversion shows whether it is used."""
    other = real.otherwise and partial(how, real.otherwise)
    damaged = replace(real, apply=partial(how, real.apply), otherwise=other)
    wrong = tuple(damaged if p.name == real.name else p for p in PASSES)
    with mock.patch.object(convert.prepare, "legalise", partial(legalise, passes=wrong)):
        yield True
