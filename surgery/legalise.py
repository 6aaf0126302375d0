"""Making a model what a target can express: mend what has a mend, refuse the rest, everything at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from surgery.errors import ConversionError
from surgery.facts import Facts
from surgery.model import Model
from surgery.passes import PASSES, Pass


@dataclass(frozen=True)
class Refusal:
    """One thing that a target cannot express: the fact, its value in words, where it was read, and the target's reason."""

    fact: str
    value: str
    origin: str
    reason: str = ""


Refuses = Callable[[Facts], tuple[Refusal, ...]]


def legalise(
    model: Model,
    refuses: Refuses,
    *,
    mends: Iterable[str] = (),
    prefer: Iterable[str] = (),
    passes: tuple[Pass, ...] = PASSES,
    bounded: Callable[[Facts], bool] = lambda facts: True,
) -> tuple[Model, tuple[Pass, ...]]:
    """The model as the target can express it, and the passes that were needed; ``Unexpressible`` names what remains.

    ``mends`` are the names of passes that run only when asked for, ``prefer`` those that are to do what others would do
    otherwise; one that is not preferred comes last, for what those could not do. A pass mends what it can of the facts
    that it is about, all of them at once where that goes; one that would only put one refusal in the place of another is
    not applied. ``bounded`` says whether the target keeps texts within the context of these facts, without which no pass
    may lean on it.
    """
    asked, preferred = frozenset(mends), frozenset(prefer)
    applied: list[Pass] = []
    spare = tuple(p for p in passes if p.instead_of and p.name not in preferred)
    for candidate in (*(p for p in passes if p not in spare), *spare):
        if candidate.asked and not asked & {candidate.name, candidate.consent}:
            continue
        mended = _mended(model, candidate, refuses)
        if mended is not model and (bounded(mended.facts) or not candidate.up_to_context):
            model = mended
            applied.append(candidate)
    if remaining := refuses(model.facts):
        raise Unexpressible(remaining, _offers(model, refuses, passes, bounded))
    return model, tuple(applied)


def _mended(model: Model, candidate: Pass, refuses: Refuses) -> Model:
    """The model without those of a pass's facts that it can mend; as it is where there are none."""

    def refused(model: Model) -> frozenset[str]:
        return frozenset(r.fact for r in refuses(model.facts))

    about = refused(model) & frozenset(candidate.mends)
    for facts in (about, *(frozenset({fact}) for fact in sorted(about))):
        for apply in candidate.ways:
            before = refused(model)
            if facts and facts <= before and refused(mended := apply(model, facts)) <= before - facts:
                model = mended
    return model


class Unexpressible(ConversionError):
    """The target cannot compute what the source does; every reason is listed."""

    def __init__(
        self, refusals: tuple[Refusal, ...], offers: tuple[Pass, ...], source: str = "source", target: str = "target"
    ):
        self.refusals, self.offers, self.source, self.target = refusals, offers, source, target
        super().__init__(self._text())

    def between(self, source: str, target: str) -> Unexpressible:
        """The same refusal, naming both sides."""
        return Unexpressible(self.refusals, self.offers, source, target)

    def _text(self) -> str:
        count = f"{len(self.refusals)} thing{'s' * (len(self.refusals) > 1)}"
        head = f"{self.source} -> {self.target}: {self.target} cannot express {count} this checkpoint does"
        width = max(len(r.fact) for r in self.refusals)
        lines = [
            f"  {r.fact:<{width}}  {r.value}"
            + (f"   ({r.origin})" if r.origin else "")
            + (f"; {r.reason}" if r.reason else "")
            for r in self.refusals
        ]
        offers = [f"`--mend {p.consent or p.name}` would help: {p.says}; {p.costs}." for p in self.offers]
        explain = f"`convert explain {self.source.split('-')[0]} {self.target.split('-')[0]}`"
        last = f"Nothing was written. {explain} lists what can be converted, and how exactly."
        return "\n".join([head, *lines, *offers, last])


def _offers(
    model: Model, refuses: Refuses, passes: tuple[Pass, ...], bounded: Callable[[Facts], bool]
) -> tuple[Pass, ...]:
    """The passes that would end refusals, were they asked for."""
    facts = frozenset(r.fact for r in refuses(model.facts))

    def ends_some(candidate: Pass) -> bool:
        refused = facts & frozenset(candidate.mends)
        mended = candidate.apply(model, refused) if candidate.asked and refused else model
        if candidate.up_to_context and not bounded(mended.facts):
            return False
        return mended is not model and {r.fact for r in refuses(mended.facts)} <= facts - refused

    return tuple(candidate for candidate in passes if ends_some(candidate))
