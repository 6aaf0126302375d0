"""How what a card states as its licence stands to the licences that hold for the model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum, auto
from typing import TYPE_CHECKING

from convert.validate.hub_names import LICENCES
from convert.validate.names import bare, plain_model
from convert.validate.terms import TERMS, Strictness, Terms, is_known
from convert.validate.under import Under, texts

if TYPE_CHECKING:
    from convert.validate.subject import Subject

#: terms that anyone may choose for a work of one's own and that allow no commercial use
_NON_COMMERCIAL = frozenset(name for name in LICENCES if "-nc-" in name) | {"fair-noncommercial-research-license"}
_TUNED = frozenset({"adapter", "merge", "finetune"})  # values of base_model_relation


class Stands(Enum):
    """What the statement is, seen from the licences that hold."""

    THE_SAME = auto()  # or nothing to compare
    UNKNOWN = auto()  # a base model of which nothing is known may be under what is stated
    THE_PUBLISHERS = auto()  # what the base models' publishers state too, though they were made from something stricter
    THEIR_OWN = auto()  # terms that the author of a derived model may have
    UNHEARD_OF = auto()  # a license_name that is of no known licence
    CHANGED = auto()


def stands(subject: Subject) -> Stands:
    found = subject.under
    if not found.bases or states(subject, found.holding_terms):
        return Stands.THE_SAME
    if found.unknown and not _loose(subject):
        return Stands.UNKNOWN
    if states_what_publishers_do(subject, found) and all(terms.strictness < Strictness.RESEARCH for terms in found.terms):
        return Stands.THE_PUBLISHERS
    copy = is_copy(subject)
    if not copy and _may_be_own(subject, found.holding_terms):
        return Stands.THEIR_OWN
    unheard = "other" in ids(subject) and name(subject) and not is_known(name(subject))
    if unheard and (not copy or any("other" in terms.ids for terms in found.holding_terms)):
        return Stands.UNHEARD_OF
    return Stands.CHANGED


def ids(subject: Subject) -> tuple[str, ...]:
    """The card's `license`, in the case that the Hub has."""
    return tuple(one.lower() for one in subject.card.texts("license"))


def name(subject: Subject) -> str:
    """The card's license_name."""
    return next(iter(subject.card.texts("license_name")), "")


def states(subject: Subject, licences: Iterable[Terms]) -> bool:
    """Whether the card states one of these licences; true as well where it states nothing, or there are none."""
    licences, stated = tuple(licences), ids(subject)
    return not licences or not stated or any(terms.accepts(one, name(subject)) for one in stated for terms in licences)


def states_what_publishers_do(subject: Subject, found: Under) -> bool:
    """Whether the card states what the base models' own publishers state, though they were made from something stricter."""
    theirs = [found.publishers(part.base) for part in found.holding]
    return all(terms is not None and states(subject, [terms]) for terms in theirs)


def is_copy(subject: Subject) -> bool:
    """Whether the repository holds the base model's own weights in another form, by what it says or is called."""
    bases = subject.card.texts("base_model")
    relations = subject.card.texts("base_model_relation")
    if len(bases) != 1 or _TUNED & {*relations}:
        return False
    if "quantized" in relations:
        return True
    if subject.provenance:
        return not _came_tuned(subject, bases[0])
    called = subject.name or subject.card.title.replace(" ", "-")
    return bool(called) and _same_weights(called, bases[0])


def _came_tuned(subject: Subject, base: str) -> bool:
    """Whether what was converted says itself that it was made from the base model."""
    source = subject.provenance.get("source")
    told = source.get("card") if isinstance(source, Mapping) else None
    return isinstance(told, Mapping) and base in texts(told.get("base_model"))


def _same_weights(one: str, other: str) -> bool:
    plain = plain_model(other)
    owned = f"{bare(other).rpartition('/')[0]}_{plain}"
    return plain_model(one) in (plain, owned)


def _may_be_own(subject: Subject, holding: tuple[Terms, ...]) -> bool:
    """Whether terms of one's own are lawful: any beside permissive licences, stricter ones beside most others."""
    if not any(terms.binds for terms in holding):
        return "unknown" not in ids(subject)
    return _NON_COMMERCIAL.issuperset(ids(subject)) and not any(terms.alike for terms in holding)


def _loose(subject: Subject) -> bool:
    """Whether all that the card states is permissive."""
    return {*ids(subject)} <= {key for terms in TERMS.values() if not terms.binds for key in terms.ids}
