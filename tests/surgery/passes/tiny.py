"""Tiny random models in memory, all in float64: a pass in the middle, and the reference decoders as judges."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import torch

from convert.checkpoint.stored import Stored
from convert.evaluate import evaluate
from convert.stream import Scratch, Source
from convert.verification.decoder import decode as run
from convert.verification.decoders import decoder_for
from convert.verification.weights import Weights
from mappings import families
from mappings.config import read_facts, recognise, refusals, write_config
from mappings.rows import decode, encode, rows_of
from mappings.slots import slots
from surgery.model import Model

VOCAB = 37
IDS = torch.randint(VOCAB, (2, 12), generator=torch.Generator().manual_seed(3))


@dataclass(frozen=True)
class Tiny:
    """A config, and float64 tensors under the names of its family's files."""

    config: dict[str, Any]
    tensors: dict[str, torch.Tensor]

    @property
    def stored(self) -> dict[str, Stored]:
        return {n: Stored(n, n, "F64", tuple(t.shape), t.stride(), 0) for n, t in self.tensors.items()}

    @property
    def model(self) -> Model:
        (family,) = recognise(families(), self.config)
        return decode(family, read_facts(family, self.config), self.stored).model

    def logits(self) -> torch.Tensor:
        """What the reference decoder of the declared architecture computes, which never sees a table."""

        def read(what: Stored, start: int, stop: int) -> bytearray:
            return bytearray(self.tensors[what.name][start:stop].contiguous().view(torch.uint8).numpy().tobytes())

        with torch.inference_mode():
            weights = Weights(self.stored, read, compute=torch.float64)
            return run(decoder_for(self.config, weights), IDS)

    def written(self, model: Model, to: str) -> Tiny:
        """A model made of these tensors, as the family ``to`` stores it."""
        (family,) = (f for f in families() if f.name == to and not refusals(f, model.facts))

        def read_into(name: str, offset: int, buffer: memoryview) -> None:
            held = self.tensors[name].contiguous().view(torch.uint8).numpy().tobytes()
            buffer[:] = held[offset : offset + len(buffer)]

        source, scratch = Source(self.stored, read_into), Scratch()
        tensors = {}
        for target in encode(family, model):
            flat = torch.full((prod(target.shape),), torch.nan, dtype=torch.float64)
            for expr, leaf in target.parts:
                order = [leaf.axes.index(axis) for axis in expr.axes]
                place = flat.as_strided([leaf.sizes[i] for i in order], [leaf.strides[i] for i in order], leaf.offset)
                place.copy_(evaluate(expr, expr.whole, source, scratch))
            tensors[target.name] = flat.reshape(target.shape)
        return Tiny(write_config(family, model.facts), tensors)


def tiny(config: dict[str, Any], seed: int = 0) -> Tiny:
    """Random weights for a config; norms are around one, lest a mistake hide behind ones."""
    (family,) = recognise(families(), config)
    facts = read_facts(family, config)
    facts = facts if facts.knows("tied") else facts.with_({"tied": False}, "a test")
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for slot, name, _ in slots(tuple(rows_of(family, facts)), facts, facts.sizes()):
        random = torch.randn(slot.shape, generator=generator, dtype=torch.float64)
        tensors[name] = random * 0.3 + (1.0 if name.endswith("norm.weight") else 0.0)
    return Tiny(config, tensors)


def apart(one: Tiny, other: Tiny) -> float:
    """The largest difference of logits, relative to the largest logit."""
    a, b = one.logits(), other.logits()
    assert a.std() > 0.05 * a.abs().max() > 0  # a model that says nothing proves nothing
    return float((a - b).abs().max() / a.abs().max())
