"""What two families state differently, fact by fact, and what each difference costs: computed from their tables."""

from __future__ import annotations

from dataclasses import dataclass

from mappings.compare import Direction, said
from mappings.family import Family, Fixed, Setting
from surgery.facts import FACTS
from surgery.passes import PASSES

#: what differences are about, in the order in which they are told, and the facts (or beginnings of facts) of each
TOPICS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("biases", ("bias.",)),
    ("norm", ("norm.", "residual.normed")),
    ("positions", ("positions", "position", "rope.", "prefix")),
    ("attention", ("attention", "scores.", "window", "kv", "head", "latent", "qk_", "v_head")),
    ("activation", ("activation", "mlp.gated", "block.parallel")),
    ("scales", ("embed.scale", "residual.depth", "logits.")),
    ("tying and head", ("tied", "head.unit_rows")),
    ("experts", ("router.", "shared", "layers.moe", "expert", "mtp", "joined")),
    ("limits", ("context",)),
    ("sizes", ("layer", "hidden", "vocab", "ffn", "heads")),
    ("tokens", ("token.", "init.", "attention.dropout")),
)


@dataclass(frozen=True)
class Difference:
    """One fact: how the source states it, how the target does, and what that costs."""

    topic: str
    fact: str
    source: str
    target: str
    cost: str

    @property
    def meaning(self) -> str:
        return FACTS[self.fact].meaning


def differences(way: Direction) -> tuple[Difference, ...]:
    """Every fact that the two families state differently, in the order of the topics."""
    mine, yours = _stated(way.source), _stated(way.target)
    found = []
    for fact in sorted({**mine, **yours}, key=list(FACTS).index):
        said, wanted = (_says(stated.get(fact), fact) for stated in (mine, yours))
        if said != wanted:
            found.append(Difference(topic(fact), fact, said, wanted, _cost(way, fact, mine.get(fact), yours.get(fact))))
    order = [name for name, _ in TOPICS]
    return tuple(sorted(found, key=lambda difference: order.index(difference.topic)))


def topic(fact: str) -> str:
    """The topic with the longest beginning that fits."""
    fits = [(len(start), name) for name, starts in TOPICS for start in starts if fact.startswith(start)]
    return max(fits)[1]


def _stated(family: Family) -> dict[str, Setting | Fixed]:
    """Each fact with what states it; what the code hard-wires counts before what a key says."""
    keys: dict[str, Setting | Fixed] = {f: s for s in family.settings if isinstance(s, Setting) for f in s.facts}
    return keys | {s.fact: s for s in family.settings if isinstance(s, Fixed)}


def _says(stated: Setting | Fixed | None, fact: str) -> str:
    if stated is None:
        return f"always {said(FACTS[fact].neutral)}" if FACTS[fact].kind == "trait" else "not stated"
    if isinstance(stated, Fixed):
        return f"always {said(stated.value)}"
    how = "" if stated.via.name == "same" else f" ({stated.via.name})"
    return f"{' / '.join(stated.keys)}{how}"


def _cost(way: Direction, fact: str, mine: Setting | Fixed | None, yours: Setting | Fixed | None) -> str:
    if refusal := next((r for r in way.refusals if r.fact == fact), None):
        return f"impossible: {refusal.reason or f'no key of {way.target.name} states it'}"
    if FACTS[fact].kind == "passive":
        return "nothing: it changes no logits" + ("" if yours is not None else ", and is left out")
    if condition := next((c for c in way.conditions if c.fact == fact), None):
        return f"only if it is {condition.wanted}"
    if _mended(way, fact, mine, yours):
        step = next(p for p in (*way.passes, *PASSES) if fact in p.mends and not p.asked)
        return f"{step.name} ({step.exactness})"
    if isinstance(mine, Setting) and isinstance(yours, Setting):
        return "nothing: another key"
    if yours is None or isinstance(yours, Fixed):
        return "nothing: it follows from what is written"
    return "nothing: a key says it"


def _mended(way: Direction, fact: str, mine: Setting | Fixed | None, yours: Setting | Fixed | None) -> bool:
    """Whether a pass changes the fact; of an impossible pair, whether one would."""
    if way.exactness is not None:
        return fact in way.changed
    always = not isinstance(mine, Setting) and not isinstance(yours, Setting)
    return always and any(fact in p.mends and not p.asked for p in PASSES)
