"""Sweep `random`: random checkpoints of every stock class, small and odd, to each target that its tables know a way to.

Sizes, ties, biases, element types, one layer, one key-value head, every feed-forward dense, vocabularies of odd sizes.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from convert.planning import Plan
from mappings.compare import directions
from surgery.values import Exactness
from tests.differential import judge, product
from tests.differential.case import Outcome, unjudged
from tests.differential.native import native, natives
from tests.differential.room import Room
from tests.differential.sources import Source

COUNT = 16  # checkpoints of each class
_TYPES = ("float32", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class RandomCase:
    """A random checkpoint towards a family."""

    family: str
    number: int
    target: str

    @property
    def id(self) -> str:
        return f"{self.source}->{self.target}"

    @property
    def source(self) -> str:
        return f"random/{self.family}/{self.number}"

    def judged(self, room: Room) -> Outcome:
        made = room.last("random", self.source, lambda: _made(self, room), _dropped)
        if isinstance(made, str):
            return unjudged(self.id, made)
        dtype = drawn(self.family, self.number)[1]

        def allowed(plan: Plan) -> float:
            return judge.SAME if plan.exactness == Exactness.BYTE else max(judge.SAME, judge.ROUNDED[dtype])

        # what the class adds on saving the tables do not all know: that is for the sweep `saved` to find
        options = {"accept": tuple(native(self.family).saved())}
        return product.conversion(
            self.id, made, self.target, room, options=options, allowed=allowed, verify=True, nonsense=True
        )


def cases() -> Iterator[RandomCase]:
    """Every checkpoint to every family with a class that there is a way to."""
    for one in natives():
        for number in range(COUNT):
            yield from (RandomCase(one.family, number, target) for target in _ways(one.family))


def drawn(family: str, number: int) -> tuple[dict[str, Any], str]:
    """Config keys and an element type, by the class's own keys."""
    chosen = random.Random(f"{family} {number}")
    kv = chosen.choice((1, 1, 2, 3))
    heads, head = kv * chosen.choice((1, 2, 3)), chosen.choice((4, 8, 12, 16))
    layers, experts = chosen.choice((1, 1, 2, 3)), chosen.choice((2, 3, 4))
    wide = chosen.random() < 0.2  # heads that are wider together than the model
    hidden = heads * head if not wide else heads * head - 4 if heads * head > 8 else heads * head + 4
    told = {
        "vocab_size": chosen.choice((31, 61, 67, 97, 128)),
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": heads if family.startswith("deepseek") else kv,
        "num_hidden_layers": layers,
        "intermediate_size": chosen.randrange(17, 90),
        "max_position_embeddings": chosen.choice((48, 64, 100)),
        "tie_word_embeddings": chosen.random() < 0.4,
        "rms_norm_eps": chosen.choice((1e-6, 1e-5, 1e-3)),
    }
    maybe: dict[str, Any] = {
        "attention_bias": chosen.random() < 0.4,
        "mlp_bias": chosen.random() < 0.3,
        "use_qkv_bias": chosen.random() < 0.5,
        "qk_layernorm": chosen.random() < 0.3,
        "use_parallel_residual": chosen.random() < 0.3,
        "num_local_experts": experts,
        "num_experts": experts,
        "n_routed_experts": 2 * experts,
        "n_group": 2,
        "topk_group": chosen.choice((1, 2)),
        "num_experts_per_tok": chosen.choice((1, 2)),
        "norm_topk_prob": chosen.random() < 0.5,
        "first_k_dense_replace": chosen.choice((0, 1, layers)),
        "mlp_only_layers": chosen.choice(([], [0], list(range(layers)))),
        "interleave_moe_layer_step": chosen.choice((1, 2)),
        "q_lora_rank": chosen.choice((None, 14)),
        "n_shared_experts": chosen.choice((1, 2)),
        "embedding_multiplier": chosen.choice((1.0, 3.5)),
        "logits_scaling": chosen.choice((1.0, 2.5)),
        "residual_multiplier": chosen.choice((1.0, 0.4)),
        "attention_multiplier": chosen.choice((1.0, head**-0.5)),
        "query_pre_attn_scalar": chosen.choice((head, 7)),
        "num_nextn_predict_layers": 0,
        "layer_types": None,
        "moe_layers": None,
        "no_rope_layers": None,
        "n_inner": chosen.choice((None, 70)),
    }
    one = native(family)
    known = one.defaults
    told |= {key: value for key, value in maybe.items() if key in known}
    if "head_dim" in known and not family.startswith("deepseek"):
        told["head_dim"] = head
    elif wide:
        told["hidden_size"] = heads * head
    return told, chosen.choice(_TYPES)


@cache
def _ways(family: str) -> tuple[str, ...]:
    """The family itself, and every family with a class that there is a way to."""
    known = {one.family for one in natives()}
    open_ = {way.target.name for way in directions() if way.source.name == family and way.exactness is not None}
    return (family, *sorted(known & open_))


def _made(case: RandomCase, room: Room) -> Source | str:
    one, folder = native(case.family), room.fresh(case.family)
    changes, dtype = drawn(case.family, case.number)
    try:
        one.make(folder, one.config(**changes), seed=str(case.number), dtype=getattr(torch, dtype))
    except Exception as error:
        return f"transformers makes no such model: {type(error).__name__}: {' '.join(str(error).split())[:120]}"
    return Source(folder, judge.ids(changes["vocab_size"]))


def _dropped(old: Source | str) -> None:
    if isinstance(old, Source):
        shutil.rmtree(old.folder)
