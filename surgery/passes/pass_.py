"""What a pass is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from surgery.model import Model
from surgery.values import Exactness

#: a model, and which of the facts that a pass mends the target refuses -> the model without them
Apply = Callable[[Model, frozenset[str]], Model]


@dataclass(frozen=True)
class Pass:
    """A pure function from model to model that keeps what the model computes."""

    name: str
    mends: tuple[str, ...]  # the facts that it can change to what a target expresses
    says: str  # what it does, for plans
    exactness: Exactness
    apply: Apply
    introduces: tuple[str, ...] = ()  # facts that it moves away from neutral
    asked: bool = False  # only when named: it costs the user something
    consent: str = ""  # the pass that costs the same: who asks for that one has asked for this one too
    costs: str = ""  # what it costs, where asked
    instead_of: str = ""  # the pass that does the same otherwise; this one is to be preferred by name, or comes last
    otherwise: Apply | None = None  # the same towards another value, for targets that refuse what ``apply`` leads to
    wants: str = ""  # element type that its values need, unless the user names one
    why_wants: str = ""
    up_to_context: bool = False  # whether it keeps the function only up to the context that the model then states

    @property
    def ways(self) -> tuple[Apply, ...]:
        """What it can do, in the order in which that is tried."""
        return (self.apply,) if self.otherwise is None else (self.apply, self.otherwise)
