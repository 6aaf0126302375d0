"""What a case is: a good checkpoint, a change, and how a conversion of the changed one must end.

There are six ways to end well, which the tables of cases name:

| | verified | not verified |
|---|---|---|
| `refused` | 3, in words | 3, in words |
| `unsafe` | 4: it would run code, or lead outside | 4 |
| `unreadable` | 6: the operating system refuses, as it does not to root | 6 |
| `taken` | 0, with the weights of the good files | 0, the same |
| `warned` | the same, and a warning that says what is odd | the same |
| `uncomputable` | 5: weights with which the model computes no numbers | 0: nobody reads values where nothing is verified |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.corpus.good import Good

Change = Callable[[Good], object]


@dataclass(frozen=True)
class Case:
    """`says` is a pattern that what is printed must have; where `warning`, in a warning."""

    name: str
    what: str
    change: Change
    kind: str
    verified: int
    unverified: int
    says: str = ""
    family: str | None = None  # the one that the trick is about

    def status(self, verify: str) -> int:
        return self.unverified if verify == "off" else self.verified

    def __str__(self) -> str:
        return self.name


def refused(name: str, what: str, change: Change, says: str = "", family: str | None = None) -> Case:
    return Case(name, what, change, "refused", 3, 3, says, family)


def unsafe(name: str, what: str, change: Change, says: str) -> Case:
    return Case(name, what, change, "unsafe", 4, 4, says)


def unreadable(name: str, what: str, change: Change, says: str) -> Case:
    return Case(name, what, change, "unreadable", 6, 6, says)


def taken(name: str, what: str, change: Change = lambda good: None, family: str | None = None) -> Case:
    return Case(name, what, change, "taken", 0, 0, family=family)


def warned(name: str, what: str, change: Change, says: str, family: str | None = None) -> Case:
    return Case(name, what, change, "warned", 0, 0, says, family)


def uncomputable(name: str, what: str, change: Change) -> Case:
    return Case(name, what, change, "uncomputable", 5, 0, "no numbers|NaN")
