"""A model in the hub's words: facts, and an expression for every role."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

from surgery.facts import Facts
from surgery.roles import role
from surgery.values import Expr


@dataclass(frozen=True)
class Model:
    """What is computed (``facts``) from what (``tensors``: role name, indices filled in -> expression)."""

    facts: Facts
    tensors: Mapping[str, Expr]

    @property
    def sizes(self) -> dict[str, int]:
        return self.facts.sizes()

    def having(self, origin: str, **facts: Any) -> Model:
        """The model with some facts changed; dots in names are written as double underscores."""
        return replace(self, facts=self.facts.with_({k.replace("__", "."): v for k, v in facts.items()}, origin))

    def using(self, tensors: Mapping[str, Expr | None]) -> Model:
        """The model with some tensors replaced; None removes one."""
        merged = {**self.tensors, **tensors}
        return replace(self, tensors={name: expr for name, expr in merged.items() if expr is not None})

    def mapped(self, template: str, change: Callable[[Expr], Expr]) -> Model:
        """The model with ``change`` applied to a role in every layer where it is present."""
        names = (
            [template.format(layer=layer) for layer in range(self.sizes["layer"])] if "{" in template else [template]
        )
        return self.using({name: change(self.tensors[name]) for name in names if name in self.tensors})

    def shape(self, template: str) -> tuple[int, ...]:
        """The shape that a role has in this model."""
        sizes = self.sizes
        return tuple(sizes[axis] for axis in role(template).axes)

    @property
    def parameters(self) -> int:
        """How many numbers compute a token: each once, without the layers behind the last, which only draft further ones."""
        return sum(prod(expr.shape) for name, expr in self.tensors.items() if _layer(name) < self.facts["layer"])


def _layer(name: str) -> int:
    """The layer that a role is of; -1 where it is of none."""
    first, _, rest = name.partition(".")
    return int(rest.partition(".")[0]) if first == "layer" else -1


@dataclass(frozen=True)
class Applied:
    """An edit as it was asked for: its name, as commands and recipes say it, and its function's arguments (JSON values)."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Artefact:
    """A model with what came along: where its bytes lie, which family stored it, and what was done to it since."""

    model: Model
    family: str  # name of the family that stored it
    variant: str
    origin: Any  # the checkpoint; opaque here, since this package opens nothing
    steps: tuple[str, ...] = ()  # edits, in words
    notes: tuple[str, ...] = ()
    left: Mapping[str, str] = field(default_factory=dict)  # stored tensors that the model does not hold, and why
    accepted: tuple[str, ...] = ()  # config keys that the user knows to be harmless
    edits: tuple[Applied, ...] = ()  # the edits again, so that they can be done to another model of the family

    @property
    def label(self) -> str:
        return f"{self.family}-{self.variant}" if self.variant else self.family

    def edited(self, change: Callable[[Model], Model], says: str, *asked: Applied) -> Artefact:
        """The artefact with its model changed, and a line that says so; an edit that changes nothing says nothing."""
        model = change(self.model)
        if model is self.model:
            return self
        return replace(self, model=model, steps=(*self.steps, says), edits=(*self.edits, *asked))
