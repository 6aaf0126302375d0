"""What an adapter makes of tied embeddings: one matrix under two names, each of which peft may wrap by itself.

Read in peft 0.21 (utils/other.py:1560-1670, tuners/tuners_utils.py:1425-1465). Whatever is trained stands beside the shared
matrix, so the other name keeps what was there; only rows trained by themselves, and what ``ensure_weight_tying`` asks
for, reach both. What a resized model saves under either name is the shared matrix itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from convert.checkpoint import Stored
from convert.edits.adapter import Adapter, Pair
from surgery.errors import ConversionError, show

#: whether two stored tensors are the same bit for bit
Alike = Callable[[Stored, Stored], bool]


@dataclass(frozen=True)
class Settled:
    """An adapter as it acts on a tied model, and when that has to be untied: before all, before what was trained, or not."""

    adapter: Adapter
    untie: Literal["first", "then", "never"]


def settled(adapter: Adapter, embed: str, head: str, alike: Alike) -> Settled:
    """The adapter on a model of which the tensor ``embed`` is also ``head``; what is equal under both names stays one.

    ``ConversionError`` where the adapter says that both are one, and holds two that differ.
    """
    adapter = as_listed(adapter, embed, head)
    found = [adapter.base[name] for name in (embed, head) if name in adapter.base]
    if len(found) == 2 and not alike(*found):
        return Settled(adapter, "first")
    others = {name: stored for name, stored in adapter.base.items() if name != head}
    one = replace(adapter, base={**others, **({embed: found[0]} if found else {})})
    trained = [_trained(one, name) for name in (embed, head)]
    if not any(trained):
        return Settled(one, "never")
    tying = one.config.tying
    if trained == [{"rows"}, set()] or (tying and not trained[1]) or _same(one, embed, head, alike):
        return Settled(one.without(head), "never")
    if tying:
        raise ConversionError(
            f"adapter_config.json says ensure_weight_tying, so that {show(embed)} and {show(head)} of the tied base are trained "
            "as one, and the adapter holds two that differ. Which of them a library takes depends on the order of loading; "
            "save the adapter again."
        )
    return Settled(one, "then")


def as_listed(adapter: Adapter, embed: str, head: str) -> Adapter:
    """The adapter of a tied model with both ends as trained whole where ``ensure_weight_tying`` had peft add the second."""
    for one, other in ((embed, head), (head, embed)):
        if adapter.config.tying and one in adapter.replaced and other in adapter.base.keys() - adapter.replaced.keys():
            base = {name: stored for name, stored in adapter.base.items() if name != other}
            adapter = replace(adapter, base=base, replaced={**adapter.replaced, other: adapter.base[other]})
    return adapter


def _trained(adapter: Adapter, name: str) -> set[str]:
    return {part for part in ("replaced", "pairs", "rows") if name in getattr(adapter, part)}


def _same(adapter: Adapter, embed: str, head: str, alike: Alike) -> bool:
    """Whether what was trained of both is the same, so that they stay one."""
    if _trained(adapter, embed) != _trained(adapter, head):
        return False
    if embed in adapter.replaced and not alike(adapter.replaced[embed], adapter.replaced[head]):
        return False
    if embed in adapter.pairs and not _mirrored(adapter.pairs[embed], adapter.pairs[head], alike):
        return False
    if embed not in adapter.rows:
        return True
    one, other = adapter.rows[embed], adapter.rows[head]
    return one.at == other.at and alike(one.values, other.values)


def _mirrored(embed: Pair, head: Pair, alike: Alike) -> bool:
    """Whether two products are each other's transpose; norms and biases of outputs are of one side only."""
    plain = len(embed.tensors) == len(head.tensors) == 2 and embed.embedding and not head.embedding
    return plain and alike(embed.down, _transposed(head.up)) and alike(embed.up, _transposed(head.down))


def _transposed(stored: Stored) -> Stored:
    return replace(stored, shape=stored.shape[::-1], strides=stored.strides[::-1])
