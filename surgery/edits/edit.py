"""What every edit shares: it takes an artefact, which remembers what was done to it, or a bare model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from surgery.model import Applied, Artefact, Model

S = TypeVar("S", Model, Artefact)


def edited(subject: S, change: Callable[[Model], Model], says: str, *asked: Applied) -> S:
    """``subject`` after ``change``; an artefact gains the line ``says`` and what was ``asked``, unless nothing changed."""
    if isinstance(subject, Artefact):
        return subject.edited(change, says, *asked)  # type: ignore[return-value]  # S is Artefact here
    return change(subject)


def model_of(subject: Model | Artefact) -> Model:
    return subject.model if isinstance(subject, Artefact) else subject
