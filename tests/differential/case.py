"""A case is a frozen value with an id; judging it gives an outcome. Nothing here knows what is converted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from tests.differential.room import Room

Verdict = Literal["same", "refused", "no judge", "failed"]

#: what can be wrong with an accepted case; `refused` is one where there is nothing that could be refused
Kind = Literal["function", "unloadable", "crash", "verify", "inverse", "validate", "itself", "refused"]

_LONGEST = 300


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with what a case wrote."""

    kind: Kind
    words: str


@dataclass(frozen=True)
class Outcome:
    """What became of a case: its faults, or the reason why there was nothing to judge."""

    id: str
    verdict: Verdict
    faults: tuple[Fault, ...] = ()
    because: str = ""
    expected: bool = False

    @property
    def line(self) -> str:
        """The outcome in one line."""
        told = "; ".join(f"{fault.kind}: {fault.words}" for fault in self.faults) or self.because
        return f"{self.id}  {self.verdict}  {told}"


class Case(Protocol):
    """Cases with equal ``source`` are judged one after another by one process, which keeps what they share."""

    @property
    def id(self) -> str: ...
    @property
    def source(self) -> str: ...
    def judged(self, room: Room, /) -> Outcome: ...


def brief(error: BaseException) -> str:
    """An exception in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:_LONGEST]}"


def concluded(name: str, faults: list[Fault]) -> Outcome:
    """The outcome of a case that was accepted."""
    return Outcome(name, "failed" if faults else "same", tuple(faults))


def refused(name: str, why: str) -> Outcome:
    """The outcome of a case that was refused in words."""
    return Outcome(name, "refused", because=" ".join(why.split())[:_LONGEST])


def unjudged(name: str, why: str) -> Outcome:
    """The outcome of a case that nobody outside can judge."""
    return Outcome(name, "no judge", because=why)
