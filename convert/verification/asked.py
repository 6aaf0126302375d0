"""What a plan or a user allows an output, beside what its source is: said beforehand, and never by the output itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Asked:
    """Reasons are words for a person; empty where nothing asked."""

    narrower: bool = True  # whether the output may store narrower types than the source does
    shorter: bool = False  # whether the function is kept only up to the context that the output states
    gone: str = ""  # why tokens of the source are gone
    further: str = ""  # why the output has further ones
    claimed: str = ""  # who says so of further ones, where nobody can make it again
    parts: str = ""  # why other tokens begin and end texts
    idle: tuple[Sequence[int], int] | None = None  # the source's ids that may go: some between, and all from the second on
    idle_because: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


NOTHING = Asked()  # in particular
