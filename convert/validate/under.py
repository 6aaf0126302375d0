"""Under which licences a repository is: by its base models, by what those were made from, and by its own card."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from convert.validate.published import lineage
from convert.validate.terms import Strictness, Terms, by_statement, strictest

if TYPE_CHECKING:
    from convert.validate.subject import Subject


#: as peft writes it; a path of the machine that trained is none
REPOSITORY = re.compile(r"(?!\.)[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Part:
    """A licence, and the repository that brought it; none where only the card itself speaks of it."""

    terms: Terms
    repository: str = ""
    base: str = ""  # the base model on the card that leads to it
    source: str = ""  # where that was read


@dataclass(frozen=True)
class Under:
    """Every licence that meets in a model, in the order from the base models to what those were made from."""

    parts: tuple[Part, ...] = ()
    unknown: tuple[str, ...] = ()  # base models of which nothing is known
    bases: tuple[str, ...] = ()

    @property
    def terms(self) -> tuple[Terms, ...]:
        return tuple(dict.fromkeys(part.terms for part in self.parts))

    @property
    def holding(self) -> tuple[Part, ...]:
        """The parts whose licence holds for all of the model, each licence once."""
        most = strictest(self.terms)
        return tuple(next(part for part in self.parts if part.terms == terms) for terms in most)

    @property
    def holding_terms(self) -> tuple[Terms, ...]:
        return tuple(part.terms for part in self.holding)

    def publishers(self, base: str) -> Terms | None:
        """The licence under which a base model's own publisher put it."""
        return next((part.terms for part in self.parts if part.base == base and part.repository == base), None)


def under(bases: Iterable[str], licence: str, name: str, cards: Mapping[str, Mapping[str, Any]]) -> Under:
    """By base models as far as tables and ``cards`` at hand tell; where neither names any, by the card's own statement.

    ``cards`` are what the cards of base models say, by the models' ids.
    """
    bases = tuple(bases)
    parts: list[Part] = []
    unknown: list[str] = []
    for base in bases:
        found = tuple(_of(base, base, cards))
        parts += found
        if not any(part.repository == base for part in found):
            unknown.append(base)
    stated = by_statement(licence, name) if not parts else None
    if stated is not None and (bases or stated.strictness > Strictness.PERMISSIVE):  # of oneself one's own model asks nothing
        parts.append(Part(stated))
    return Under(tuple(parts), tuple(unknown), bases)


def _of(name: str, base: str, cards: Mapping[str, Mapping[str, Any]]) -> Iterator[Part]:
    rows = lineage(name)
    yield from (Part(row.terms, known, base, row.source) for known, row in rows)
    card = cards.get(name, {})
    if not rows and (stated := by_statement(_text(card, "license"), _text(card, "license_name"))) is not None:
        yield Part(stated, name, base, "the card that the source came with")
    rest = {known: told for known, told in cards.items() if known != name}
    for older in texts(card.get("base_model")):
        if older not in [known for known, _ in rows] and older != name:
            yield from _of(older, base, rest)


def of_subject(subject: Subject) -> Under:
    """The licences that a repository's card speaks of; a manifest of ours tells what the source's card said."""
    card = subject.card
    licence, name = (next(iter(card.texts(key)), "") for key in ("license", "license_name"))
    bases = card.texts("base_model") or _of_adapter(subject)
    source = subject.provenance.get("source")
    told = source.get("card") if isinstance(source, Mapping) else None
    return under(bases, licence, name, of_source(bases, told if isinstance(told, Mapping) else {}))


def _of_adapter(subject: Subject) -> tuple[str, ...]:
    """The model that an adapter says it is for, where that is a repository: without it the adapter is nothing."""
    base = subject.config.get("base_model_name_or_path") if subject.kind == "adapter" else None
    return (base,) if isinstance(base, str) and REPOSITORY.fullmatch(base) else ()


def of_source(bases: tuple[str, ...], told: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """What the source's card says, by the id of the base model that is the source.

    Where the base model is one that the source's card names itself, the source has no id, and its card is nobody's.
    """
    return {bases[0]: told} if len(bases) == 1 and told and bases[0] not in texts(told.get("base_model")) else {}


def texts(value: object) -> tuple[str, ...]:
    """The strings of a key that may hold one or several."""
    return tuple(one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str))


def _text(card: Mapping[str, Any], key: str) -> str:
    return next(iter(texts(card.get(key))), "")
