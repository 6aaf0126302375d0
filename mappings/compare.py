"""What the tables say about a pair of families: how tensors correspond, what each difference costs, what is impossible.

Everything here is computed from the same rows and settings that convert; nothing is written down twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from mappings import families
from mappings.config import bounded, refusals
from mappings.family import Family, Fixed, Of, Row, Setting
from mappings.rows import encode, rows_of
from mappings.slots import slots
from mappings.via import SAME
from surgery.facts import FACTS, Facts
from surgery.layout import parse, row_major
from surgery.legalise import Refusal, Unexpressible, legalise
from surgery.model import Model
from surgery.movement import Piece
from surgery.passes import Pass
from surgery.values import Exactness, Expr, Moved, exactness

_SOME = 4  # the length of an axis that no typical size names


@dataclass(frozen=True)
class Correspondence:
    """The tensors on both sides that hold the same roles."""

    source: tuple[Row, ...]
    target: tuple[Row, ...]

    @property
    def same(self) -> bool:
        return [(r.name, r.layout) for r in self.source] == [(r.name, r.layout) for r in self.target]

    @property
    def change(self) -> str:
        """What happens to the tensors, in a word or two."""
        if not self.target:
            return "has no place"
        words = []
        if len(self.source) < len(self.target):
            words.append("split")
        elif len(self.source) > len(self.target):
            words.append("fused")
        elif [r.layout for r in self.source] != [r.layout for r in self.target]:
            words.append("re-ordered")
        if [r.name for r in self.source] != [r.name for r in self.target] and not words:
            words.append("renamed")
        return ", ".join(words) or "as it is"


@dataclass(frozen=True)
class Condition:
    """What must hold of a particular checkpoint: a fact that the target states in fewer ways than the source."""

    fact: str
    wanted: str
    why: str

    def __str__(self) -> str:
        return f"{FACTS[self.fact].meaning} ({self.fact}) must be {self.wanted}: {self.why}"


@dataclass(frozen=True)
class Direction:
    """A source family and a target, judged by what the source is when its config leaves every choice at its default."""

    source: Family
    target: Family
    exactness: Exactness | None  # None: impossible
    passes: tuple[Pass, ...]
    refusals: tuple[Refusal, ...]
    conditions: tuple[Condition, ...]
    changed: frozenset[str] = frozenset()  # facts that the passes change

    @property
    def symbol(self) -> str:
        return "-" if self.exactness is None else str(self.exactness)


@cache
def directions() -> tuple[Direction, ...]:
    """Every ordered pair of different families, each source variant against the target variant that fits it best."""
    found = []
    for source in families():
        for name in sorted({f.name for f in families()} - {source.name}):
            found.append(direction(source, name))
    return tuple(found)


def direction(source: Family, target: str) -> Direction:
    """The way from a family to another, by tables alone."""
    facts = typical(source)
    variants = [f for f in families() if f.name == target]
    judged = (_judged(source, variant, facts) for variant in variants)
    return min(judged, key=lambda d: (d.exactness is None, len(d.refusals)))


def correspond(source: Family, target: Family) -> tuple[Correspondence, ...]:
    """The tensors of both families grouped by the roles they share."""
    groups: list[tuple[set[str], list[Row], list[Row]]] = []
    for family in (source, target):
        for row in family.rows:
            roles = set(row.roles.split())
            touching = [g for g in groups if g[0] & roles]
            merged: tuple[set[str], list[Row], list[Row]] = (roles, [], [])
            for group in touching:
                merged[0].update(group[0])
                merged[1].extend(group[1])
                merged[2].extend(group[2])
            (merged[1] if family is source else merged[2]).append(row)
            at = groups.index(touching[0]) if touching else len(groups)
            groups = [g for g in groups if g not in touching]
            groups.insert(at, merged)
    return tuple(Correspondence(tuple(s), tuple(t)) for _, s, t in groups if s)


def typical(family: Family) -> Facts:
    """The facts of a checkpoint whose config leaves every optional key at its default, with sizes that tell axes apart.

    What a config must say to be this family at all is said.
    """
    sizes = {"layer": 2, "hidden": 64, "vocab": 320, "ffn": 96, "heads": 4, "kv": 4, "head": 16, "context": 128}
    lengths = {name: _SOME for name, fact in FACTS.items() if fact.kind == "size"}
    facts = Facts().with_({**lengths, **sizes, **_alike(family, sizes)}, "typical")
    for setting in family.settings:
        if isinstance(setting, Fixed):
            facts = facts.with_({setting.fact: _plain(setting.value, facts)}, setting.why)
            continue
        stated = {fact: value for fact, value in setting.defaults() if not isinstance(value, Of) and value is not None}
        traits = {name: value for name, value in stated.items() if FACTS[name].kind == "trait"}
        facts = facts.with_(traits, f"default of {setting.keys[0]}")
        if setting.keys[0] in family.recognise.values and len(setting.keys) == 1:
            said = setting.via.read(setting.facts, {setting.keys[0]: family.recognise.values[setting.keys[0]]})
            facts = facts.with_(said, f"{setting.keys[0]}, by which the family is known")
    return facts.with_({"tied": bool(facts["tied"])}, "default")


def _alike(family: Family, sizes: dict[str, int]) -> dict[str, int]:
    """Sizes that one key states together with another, which has a typical value."""
    found = {}
    for setting in family.settings:
        if isinstance(setting, Setting) and setting.via is SAME and (own := [f for f in setting.facts if f in sizes]):
            found.update(dict.fromkeys(setting.facts, sizes[own[0]]))
    return found


def imagined(family: Family, facts: Facts) -> Model:
    """A model of the family with these facts and no weights: what passes and layouts can be tried on."""
    tensors: dict[str, Expr] = {}
    rows = tuple(rows_of(family, facts))
    sizes = {**{axis: _SOME for row in rows for axis in parse(row.layout).atoms()}, **facts.sizes()}
    for slot, _, roles in slots(rows, facts, sizes):
        for name, part in zip(roles, slot.parts, strict=True):
            shape = part.leaf.sizes
            stored = Piece(name, 0, (0,) * len(shape), shape, row_major(shape))
            tensors[name] = Moved(part.axes, shape, "BF16", (stored,))
    return Model(facts, tensors)


def _judged(source: Family, target: Family, facts: Facts) -> Direction:
    """By the defaults; where those are refused, by what else the source's config may say."""
    free = {fact for s in source.settings if isinstance(s, Setting) for fact in s.facts}
    blocking: tuple[Refusal, ...] = ()
    for _ in range(2):
        try:
            legal, passes = legalise(imagined(source, facts), partial(refusals, target), bounded=partial(bounded, target))
        except Unexpressible as refused:
            blocking = refused.refusals
            wanted = _together(source, {r.fact: _wanted(target, r.fact, facts) for r in blocking})
            if any(name not in free or (FACTS[name].kind == "size" and not value) for name, value in wanted.items()):
                break
            facts = facts.with_(wanted, "as the target has it")
            if any(_refused(source, facts, name) for name in wanted):
                break  # a source that can say it in one way only
        else:
            stored = (exactness(expr) for tensor in encode(target, legal) for expr, _ in tensor.parts)
            weakest = max((*stored, *(p.exactness for p in passes)), default=Exactness.BYTE)
            # what is idle up to the context of a typical checkpoint is not of every one
            mended = frozenset(fact for p in passes if not p.up_to_context for fact in p.mends)
            changed = frozenset(fact for fact in FACTS if facts[fact] != legal.facts[fact])
            return Direction(source, target, weakest, passes, (), _conditions(source, target, mended), changed)
    return Direction(source, target, None, (), blocking, _conditions(source, target))


def _together(source: Family, wanted: dict[str, Any]) -> dict[str, Any]:
    """The same for every fact that one key of the source states with one of them."""
    alike = [s.facts for s in source.settings if isinstance(s, Setting) and s.via is SAME]
    return wanted | {fact: wanted[known] for known in wanted for facts in alike if known in facts for fact in facts}


def _wanted(target: Family, fact: str, facts: Facts) -> Any:
    """What the target can express of a fact."""
    fixed = [s.value for s in target.settings if isinstance(s, Fixed) and s.fact == fact]
    return _plain(fixed[0], facts) if fixed else FACTS[fact].neutral


#: ways of computing that a config may state and that many targets cannot: (fact, value, what else it would have to be)
_PROBES = (
    (
        "rope.scaling",
        (
            ("rope_type", "llama3"), ("factor", 8.0), ("high_freq_factor", 4.0), ("low_freq_factor", 1.0),
            ("original_max_position_embeddings", 8192),
        ),
        "what the target knows, and llama3 is not",
    ),
    ("activation", "gelu", "what the target has, and gelu is not"),
)  # fmt: skip


def _conditions(source: Family, target: Family, mended: frozenset[str] = frozenset()) -> tuple[Condition, ...]:
    """Facts that the source's config may state in ways that the target's cannot, but for those that are ``mended``."""
    free = {fact for s in source.settings if isinstance(s, Setting) for fact in s.facts}
    free -= {s.fact for s in source.settings if isinstance(s, Fixed)}
    # zeros are written where there is no bias, but a bias is not taken away
    mended = mended - {fact for fact in mended if fact.startswith("bias.") and _wanted(target, fact, Facts()) is False}
    found = []
    stated = {fact for s in target.settings for fact in s.fact.split()}
    for setting in target.settings:
        if isinstance(setting, Fixed) and setting.fact in free - mended:
            found.append(Condition(setting.fact, said(setting.value), setting.why))
    for name in sorted(free - stated - mended):
        if FACTS[name].kind == "trait":
            found.append(Condition(name, said(FACTS[name].neutral), "no key of the target states it"))
    known = {condition.fact for condition in found}
    for fact, value, wanted in _PROBES:
        facts = typical(source).with_({fact: value}, "a config")
        if fact in free - known and not _refused(source, facts, fact) and (refusal := _refused(target, facts, fact)):
            found.append(Condition(fact, wanted, refusal.reason or "no key of the target states it"))
    return tuple(found)


def _refused(family: Family, facts: Facts, fact: str) -> Refusal | None:
    return next((r for r in refusals(family, facts) if r.fact == fact), None)


def _plain(value: Any, facts: Facts) -> Any:
    if not isinstance(value, Of):
        return value
    if value.times != 1:
        return value.times * facts[value.fact]
    return facts[value.fact] // facts[value.over] if value.over else facts[value.fact]


def said(value: Any) -> str:
    """A fact's value for a person."""
    if isinstance(value, Of):
        name = value.fact if value.times == 1 else f"{value.times} * {value.fact}"
        return f"{name} / {value.over}" if value.over else name
    if value is None or value == ():
        return "none"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def names(found: Iterable[Family]) -> tuple[str, ...]:
    """The families' names, each once, in order."""
    return tuple(dict.fromkeys(f.name for f in found))
