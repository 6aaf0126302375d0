"""What a plan or a user allows an output, beside what its source is: said beforehand, and never by the output itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

#: (row, weight) of each part of a row, and the ways to make one row that are all as good
Ways = Sequence[Sequence[tuple[int, float]]]


@dataclass(frozen=True)
class Made:
    """How an edit says that rows begin, so that they can be made again of the output's rows before ``old``."""

    how: Literal["mean", "mean-cov", "zero", "normal", "mixed"]
    first: int
    count: int
    old: int
    deviation: float = 1.0  # of normal ones
    seed: int = 0
    ways: Sequence[Ways] = ()  # of mixed ones, for each row


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
    made: Sequence[Made] = ()  # rows of the output that only it has, and how they are made

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Asked:
        return cls(**{**told, "made": tuple(Made(**one) for one in told["made"])})

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


NOTHING = Asked()  # in particular
