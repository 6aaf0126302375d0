"""What a pass is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from surgery.model import Model
from surgery.values import Exactness


@dataclass(frozen=True)
class Pass:
    """A pure function from model to model that keeps what the model computes."""

    name: str
    mends: tuple[str, ...]  # the facts that it can change to what a target expresses
    says: str  # what it does, for plans
    exactness: Exactness
    apply: Callable[[Model, frozenset[str]], Model]  # the model, and which of ``mends`` the target refuses
    introduces: tuple[str, ...] = ()  # facts that it moves away from neutral
    asked: bool = False  # only when named: it costs the user something
    consent: str = ""  # the pass that costs the same: who asks for that one has asked for this one too
    costs: str = ""  # what it costs, where asked
    instead_of: str = ""  # the pass that does the same otherwise; this one runs only where it is preferred by name
    up_to_context: bool = False  # only up to the context that the model then states
    wants: str = ""  # element type that its values need, unless the user names one
    why_wants: str = ""
