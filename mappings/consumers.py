"""Which programs would serve a checkpoint wrongly, or not at all: rules over the facts of what is written.

Read in the programs' sources and, where a rule says so, executed; none of it concerns the weights, which are right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from mappings.family import Family
from mappings.via_rope import implied_attention_factor
from surgery.facts import Facts

Effect = Literal["refuse", "warn"]

#: the programs that ``--for`` knows
CONSUMERS = ("transformers", "transformers-4", "vllm", "llama.cpp", "mlx")

#: families that these programs load by their own Llama code
LLAMAS = ("llama", "mistral")
#: families that only their vendors' code loads
REMOTE = ("aquila", "baichuan", "chatglm", "chatglm1", "internlm", "internlm2", "minicpm", "qwen", "yi")


def _activation(facts: Facts) -> str:
    return "" if facts["activation"] == "silu" else f"activation {facts['activation']}"


def _always(facts: Facts) -> str:
    return "always"


def _unit_rows(facts: Facts) -> str:
    return "rows of lm_head are normalised at run time" if facts["head.unit_rows"] else ""


def _uneven(facts: Facts) -> str:
    uneven = facts["hidden"] % facts["heads"]
    return f"hidden {facts['hidden']} in {facts['heads']} heads" if uneven else ""


def _scaled(*kinds: str) -> Callable[[Facts], str]:
    """Rope scaling of one of these kinds."""

    def test(facts: Facts) -> str:
        kind = _table(facts).get("rope_type")
        return f"rope scaling {kind}" if kind in kinds else ""

    return test


def _other_length(facts: Facts) -> str:
    table = _table(facts)
    length = table.get("original_max_position_embeddings", 8192)
    return f"llama3 scaling from {length}" if table.get("rope_type") == "llama3" and length != 8192 else ""


def _own_factor(facts: Facts) -> str:
    """A longrope whose attention factor is not what its two lengths give."""
    table, context = _table(facts), facts["context"]
    stated, original = table.get("attention_factor"), table.get("original_max_position_embeddings", context)
    if table.get("rope_type") != "longrope" or stated is None or not context or not original:
        return ""
    implied = implied_attention_factor(context / original, original)
    return f"attention factor {stated} where the lengths give {implied:.6g}" if abs(stated - implied) > 1e-6 else ""


def _own_short(facts: Facts) -> str:
    table = _table(facts)
    differ = table.get("rope_type") == "longrope" and table.get("short_factor") != table.get("long_factor")
    return "short factors of their own" if differ else ""


def _table(facts: Facts) -> dict[str, Any]:
    return dict(facts["rope.scaling"] or ())


@dataclass(frozen=True)
class Rule:
    """What one program does with one fact. ``test`` says the fact in words where it holds, else nothing."""

    consumer: str
    test: Callable[[Facts], str]
    effect: Effect
    why: str
    instead: str
    source: str
    families: tuple[str, ...] = ()  # of the output; none named: all


@dataclass(frozen=True)
class Misserved:
    """A rule that holds for an output."""

    rule: Rule
    what: str

    def __str__(self) -> str:
        return f"{self.rule.consumer}: {self.what}: {self.rule.why}; {self.rule.instead} ({self.rule.source})"


_ELSEWHERE = "serve it with transformers, or serve the source family as it is"
_VLLM = "vLLM model_executor/models/llama.py LlamaMLP, read"
_CPP = "llama.cpp conversion/llama.py, read"
_MLX = "mlx-lm mlx_lm/models/llama.py and rope_utils.py, read"
_FILES = ("meta", "nanogpt")

RULES: tuple[Rule, ...] = (
    Rule("vllm", _activation, "refuse", "it rejects a Llama whose activation is not SiLU", _ELSEWHERE, _VLLM, LLAMAS),
    Rule(
        "vllm", _own_factor, "refuse", "it ignores attention_factor and derives one from the two lengths, silently",
        "make the lengths equal", "vLLM layers/rotary_embedding Phi3LongRoPEScaledRotaryEmbedding, read", LLAMAS,
    ),
    Rule(
        "vllm", _scaled("proportional"), "warn", "only recent versions know it", "the default, longrope, needs no version",
        "vLLM layers/rotary_embedding, read", LLAMAS,
    ),
    Rule(
        "llama.cpp", _activation, "refuse", "its Llama graph computes SiLU whatever the config says: logits that look right",
        _ELSEWHERE, f"{_CPP}; cosine still 0.98, measured", LLAMAS,
    ),
    Rule(
        "llama.cpp", _scaled("longrope", "proportional", "dynamic"), "refuse",
        "its converter drops this scaling without an error and runs plain rope",
        "give llama.cpp the source family, for which it may have a graph of its own (ChatGLM has one)",
        f"{_CPP} generate_extra_tensors", LLAMAS,
    ),
    Rule(
        "llama.cpp", _other_length, "refuse", "its converter takes 8192 unless the length stands beside the scaling",
        "write original_max_position_embeddings at the top of config.json too", f"{_CPP} generate_extra_tensors", LLAMAS,
    ),
    Rule(
        "llama.cpp", _unit_rows, "refuse", "it does not normalise them", "convert to llama, which bakes NormHead",
        "llama.cpp conversion/baichuan.py, read", ("baichuan",),
    ),
    Rule(
        "transformers-4", _scaled("proportional"), "refuse", "it has no such scaling: KeyError when the model is built",
        "leave out --prefer proportional", "transformers 4.57.6 modeling_rope_utils.py, executed",
    ),
    Rule(
        "mlx", _activation, "refuse", "it computes SiLU whatever the config says", _ELSEWHERE, _MLX, LLAMAS,
    ),
    Rule("mlx", _own_factor, "refuse", "it ignores attention_factor, silently", "make the lengths equal", _MLX, LLAMAS),
    Rule("mlx", _own_short, "refuse", "it uses the long ones at every length", "serve it elsewhere", _MLX, LLAMAS),
    Rule("mlx", _scaled("dynamic"), "refuse", "it raises: Unsupported RoPE type", "serve it elsewhere", _MLX, LLAMAS),
    *(
        Rule(
            name, _uneven, "refuse", "it refuses a width that the heads do not divide, even with head_dim",
            "serve it elsewhere", "transformers 5.23 LlamaConfig, executed", LLAMAS,
        )
        for name in ("transformers",)
    ),
    *(
        Rule(
            name, _always, "warn", "only the vendor's own code loads this family, and the output does not carry it",
            "convert to a native class, or put the vendor's files beside it", "transformers 5.23 AutoConfig, executed", REMOTE,
        )
        for name in ("transformers", "transformers-4")
    ),
    *(
        Rule(name, _always, "refuse", "it loads no such files", "convert to a family of the Hub's form", "by their form", _FILES)
        for name in CONSUMERS
    ),
)  # fmt: skip


def misserved(family: Family, facts: Facts, consumers: Iterable[str]) -> tuple[Misserved, ...]:
    """What each of ``consumers`` would do wrongly with a checkpoint of ``family`` that states ``facts``."""
    asked = frozenset(consumers)
    applicable = (r for r in RULES if r.consumer in asked and (not r.families or family.name in r.families))
    return tuple(Misserved(rule, what) for rule in applicable if (what := rule.test(facts)))
