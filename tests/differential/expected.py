"""What is known to be wrong: patterns of ids, the kind of fault, and in words what is wrong. It is to become empty.

Strict both ways: a case that a pattern matches must fail so, and a pattern must match a case that does. Whoever mends a
cause takes its line out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from tests.differential.case import Kind, Outcome


@dataclass(frozen=True)
class Expected:
    """A cause: every case whose id is matched as a whole by ``ids`` has a fault of this kind, for this reason."""

    ids: str
    kind: Kind
    because: str

    def covers(self, outcome: Outcome, kind: Kind) -> bool:
        return self.kind == kind and re.fullmatch(self.ids, outcome.id) is not None


_DROPPED = "a key that no setting reads is dropped without a word when its value is false or null, though its class obeys it"
_ROPE_TYPE = "a type of rope that no class knows is read, kept and written, and no library loads what was written"
_BEFORE_MERGE = "the verifier adds an adapter to the source as stored, not as the edits before it leave it: right, and refused"
_TIED_EMBEDDING = "an embedding that replaces the one of a tied base also becomes the head, which in peft keeps the old matrix"
_SHRUNK = "the verifier holds the adapter's fewer rows against the base's config and refuses what is right"
_SAVED = "keys that the class itself adds on saving are not known to the table, so that every fine-tune of it is refused"
_DIVISIBLE = "Llama's class wants a width that its heads divide, also where head_dim is stated; its table does not know that"
_EXPERTS = "the verifier chooses experts otherwise than the class where the class has no key for it, and fails what is right"

EXPECTED: tuple[Expected, ...] = (
    # a key that is false or null
    Expected(
        r"key/(deepseek_v[23]|gemma2?|glm|gpt2|granite|llama|mistral|mixtral|phi3|qwen2|qwen2_moe|qwen3|stablelm)"
        r"/is_causal=(false|null)->\w+",
        "function",
        _DROPPED,
    ),
    Expected(r"key/qwen2_moe/qkv_bias=false->qwen2_moe", "function", _DROPPED),
    Expected(r"key/gpt2/num_hidden_layers=false->gpt2", "function", _DROPPED),
    Expected(
        r"key/deepseek_v3/(norm_topk_prob|rope_interleave)=null->deepseek_v3",
        "function",
        "a key that is null is read as its default, which is true, where its class takes null for false",
    ),
    # names of rope
    Expected(
        r"key/(deepseek_v[23]|gemma2?|glm|granite|llama4?|mistral|mixtral|qwen2|qwen2_moe|qwen3)/rope_(?:scaling|parameters)="
        r"(?:su|mrope|ntk|dynamic_ntk|none)->\1",
        "unloadable",
        _ROPE_TYPE,
    ),
    Expected(
        r"key/(gemma|granite|mistral|qwen2)/rope_(scaling|parameters)=(su|mrope|ntk|dynamic_ntk|none)->llama",
        "unloadable",
        _ROPE_TYPE,
    ),
    Expected(
        r"key/(deepseek_v2|deepseek_v3|llama4|mixtral)/rope_(scaling|parameters)=longrope->\w+",
        "itself",
        "longrope is written with a key (original_max_position_embeddings) that the family's own table does not read",
    ),
    # sizes
    Expected(r"key/(gemma|glm|mistral)/hidden_size=2->llama", "unloadable", _DIVISIBLE),
    Expected(r"random/(gemma/(0|3|4|12|15)|glm/0|mistral/11)->llama", "unloadable", _DIVISIBLE),
    # experts
    Expected(r"random/deepseek_v2/(0|2|4|9|14)->deepseek_v2", "verify", _EXPERTS),
    Expected(r"random/deepseek_v3/(1|7|10|11|12|14)->deepseek_v3", "verify", _EXPERTS),
    # keys that are not there
    Expected(
        r"absent/minicpm-[\w-]+/(dim_model_base|scale_depth|scale_emb)",
        "verify",
        "the tables read the vendor's default where the key is absent, the verifier's decoder has none and refuses",
    ),
    # what save_pretrained writes
    Expected(r"saved/5\.23/(deepseek_v2|deepseek_v3|llama4|qwen2_moe)/[\w-]+->\w+", "refused", _SAVED),
    Expected(r"saved/4\.57/(deepseek_v2|deepseek_v3|llama4|qwen2_moe)/[\w-]+->\w+", "refused", _SAVED),
    Expected(
        r"saved/(5\.23|4\.57)/gemma2/one-layer->gemma2",
        "refused",
        "a Gemma 2 of one layer, all of whose layers have the window, is refused: windows are held to alternate",
    ),
    # cells
    Expected(
        r"cell/(baichuan2?-7b(-bf16)?|meta-llama1)->meta",
        "itself",
        "Meta's files of Llama 1 and 2 are alike: what is written as llama-2 is read as llama-1",
    ),
    Expected(
        r"cell/gemma1-2b(-bf16)?->granite",
        "inverse",
        "Granite states the root of the width as a number, and Gemma does not take that number back",
    ),
    Expected(
        r"cell/mistral-sliding-window->(glm|granite|llama)",
        "refused",
        "`convert families` prints these ways without a star, though a window shorter than the context is refused",
    ),
    # adapters
    Expected(
        r"adapter/llama-untied/(attention|bias-all|bias-lora-only|fan-in-fan-out|gaussian|linear|mlp|one-layer|patterns|rslora"
        r"|save-norms)/shrunk/(one|two)/merge",
        "verify",
        _SHRUNK,
    ),
    Expected(r"adapter/llama-untied/save-(embedding|ends|head)/shrunk/one/merge", "verify", _SHRUNK),
    Expected(
        r"adapter/llama-tied/(attention|bias-all|bias-lora-only|fan-in-fan-out|gaussian|linear|mlp|one-layer|patterns|rslora"
        r"|save-head|save-norms)/(grown|shrunk)/(one|two)/untie\+merge",
        "verify",
        _BEFORE_MERGE,
    ),
    Expected(r"adapter/llama-tied/save-(ends|head)/same/two/untie\+merge", "verify", _BEFORE_MERGE),
    Expected(
        r"adapter/\w+-tied/(ends|head|save-ends|save-head|save-head-train-embedding)/same/one/untie\+merge",
        "verify",
        _BEFORE_MERGE,
    ),
    Expected(
        r"adapter/llama-tied/(ends|save-embedding|save-ends|save-head-train-embedding)/grown/one/untie\+merge",
        "verify",
        _BEFORE_MERGE,
    ),
    Expected(r"adapter/llama-tied/save-(embedding|ends)/shrunk/one/untie\+merge", "verify", _BEFORE_MERGE),
    Expected(r"adapter/\w+-tied/save-embedding/same/(one|two)/merge", "function", _TIED_EMBEDDING),
    Expected(r"adapter/\w+-tied/save-embedding/same/(one|two)/untie\+merge", "verify", _BEFORE_MERGE),
    Expected(
        r"adapter/gpt2-untied/head/same/one/merge",
        "verify",
        "the verifier takes fan_in_fan_out of the head, which is stored as Linear, for that of GPT-2's Conv1D matrices",
    ),
)


@dataclass(frozen=True)
class Reckoning:
    """Outcomes held against the table."""

    outcomes: tuple[Outcome, ...]
    new: tuple[Outcome, ...]  # faults that no line expects
    mended: tuple[tuple[Expected, Outcome], ...]  # a line expects a fault, and the case has none of this kind
    idle: tuple[Expected, ...]  # lines that match no case that was run


def reckoned(outcomes: Iterable[Outcome], table: Iterable[Expected] = EXPECTED) -> Reckoning:
    """Every outcome with what the table says of it."""
    found, new, mended, used = [], [], [], set()
    lines = tuple(table)
    for outcome in outcomes:
        lines_here = [line for line in lines if re.fullmatch(line.ids, outcome.id)]
        kinds = {fault.kind for fault in outcome.faults}
        unexpected = tuple(fault for fault in outcome.faults if fault.kind not in {line.kind for line in lines_here})
        if unexpected:
            new.append(replace(outcome, faults=unexpected))
        used.update(line for line in lines_here if line.kind in kinds)
        mended += [(line, outcome) for line in lines_here if line.kind not in kinds]
        found.append(replace(outcome, expected=bool(outcome.faults) and not unexpected))
    idle = tuple(line for line in lines if line not in used)
    return Reckoning(tuple(found), tuple(new), tuple(mended), idle)
