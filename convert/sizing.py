"""How much memory a model needs to run and to train, from its real tensor sizes: the question every user asks.

inference  = weights in the dtype + the cache of one text: in each layer keys and values, or the latents that make them, of the
             tokens that the next one can still see
training   = full fine-tuning with AdamW in mixed precision: 2 (weights) + 2 (gradients) + 12 (float32 copy and two moments)
             bytes a parameter; LoRA: the weights in bf16, and 16 bytes for each adapter parameter (here r = 16 on all linears).
Activations depend on the batch and the implementation and are not in these figures.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from convert.edits.origin import family_of
from mappings.family import Family, Row
from mappings.rows import rows_of
from mappings.slots import indices
from surgery.facts import Facts
from surgery.layout import Sizes, parse
from surgery.model import Artefact, Model
from surgery.roles import fields, role

_BYTES = {"float32": 4.0, "bfloat16": 2.0, "int8": 1.0, "int4": 0.5}
_LORA_RANK = 16

#: how many matrices of an expert one adapter of peft's serves: it stacks gate and up, and gives the pair the ranks of both
#: (peft 0.21 utils/transformers_weight_conversion.py, _MOE_FUSED_TARGETS)
_STACKED = {"gate": 2, "up": 2, "down": 1}


@dataclass(frozen=True)
class Need:
    """Bytes that one use of a model needs."""

    use: str
    weights: float
    cache: float = 0.0
    states: float = 0.0

    @property
    def total(self) -> float:
        return self.weights + self.cache + self.states


def needs(artefact: Artefact, context: int) -> tuple[Need, ...]:
    """Bytes for inference in several dtypes with one sequence of ``context`` tokens, and for two kinds of training."""
    model = artefact.model
    parameters, facts = model.parameters, model.facts
    tokens = sum(_tokens(facts, context))
    rows = [
        Need(f"inference, {name}", parameters * size, tokens * _token(facts) * (4.0 if name == "float32" else 2.0))
        for name, size in _BYTES.items()
    ]
    if facts["attention"] == "latent":
        rows.append(Need("inference, bfloat16, latents expanded", parameters * 2.0, tokens * _expanded(facts) * 2.0))
    adapter = _adapter(family_of(artefact), model)
    rows.append(Need("LoRA training, bf16 base, r = 16", parameters * 2.0, states=adapter * 16.0))
    rows.append(Need("full training, AdamW mixed precision", parameters * 2.0, states=parameters * 14.0))
    return tuple(rows)


def _tokens(facts: Facts, context: int) -> Iterator[int]:
    """How many tokens each layer keeps: with a window or chunk, those that the next token still sees beside itself."""
    for layer in range(facts["layer"]):
        reach = facts["window"] if facts["window"] and layer not in facts["window.full"] else context + 1
        if facts["window.chunk"] and layer not in facts["rope.none"]:
            reach = min(reach, facts["window.chunk"])
        yield min(context, reach - 1)


def _token(facts: Facts) -> int:
    """Elements that a layer keeps of a token."""
    if facts["attention"] == "latent":
        return int(facts["latent_kv"] + facts["qk_turned"])
    return int(2 * facts["kv"] * facts["head"])


def _expanded(facts: Facts) -> int:
    """The same where the keys and values of every head are kept, and not the latents that they are made of."""
    return int(facts["heads"] * (facts["qk_still"] + facts["qk_turned"] + facts["v_head"]))


def _adapter(family: Family, model: Model) -> int:
    """Parameters of an adapter on every matrix of the layers, as the family's class has them: q, k and v in one, or apart."""
    counted = ((row, _copies(row, model.facts)) for row in rows_of(family, model.facts) if _in_layers(row))
    return sum(copies * _ranks(row, model.sizes) for row, copies in counted if copies)


def _in_layers(row: Row) -> bool:
    """Whether the row is of matrices of the layers: in files, nothing else there has two axes."""
    return "layer" in dict(indices(row.name)) and len(parse(row.layout).axes) > 1


def _copies(row: Row, facts: Facts) -> int:
    """How many tensors the row names in the layers that compute a token; those behind them draft."""
    runs = (facts.run(index, which) if facts.knows(index) else () for index, which in indices(row.name))
    named = zip((index for index, _ in indices(row.name)), runs, strict=True)
    return prod(sum(index != "layer" or at < facts["layer"] for at in run) for index, run in named)


def _ranks(row: Row, sizes: Sizes) -> int:
    """Parameters of an adapter on one tensor of the row: the rank times both widths, for each expert that it holds."""
    experts = [name for name in row.roles.split() if "expert" in fields(name)]
    if not experts:
        return _LORA_RANK * sum(parse(row.layout).shape(sizes))
    held = 1 if "expert" in dict(indices(row.name)) else sizes["expert"]
    return held * _LORA_RANK * sum(_expert(name, sizes) for name in experts)


def _expert(name: str, sizes: Sizes) -> int:
    """Both widths of an expert's matrix; those that it is stacked with count again beside it."""
    one = role(name)
    out, over = (prod(sizes[axis] for axis in axes) for axes in (one.out, one.over))
    return _STACKED[name.rpartition(".")[2]] * out + over
