"""What every golden case should become in every family: written from the vendors' code before ours was asked.

Two tables, and one rule between them. ``CASES`` says what each checkpoint does otherwise than a plain Llama (many heads,
heads of hidden / heads, base 10000, no bias, untied), ``TARGETS`` what each family's own code can do; both in the words of
``surgery.facts.FACTS``. ``expected`` compares the two, knowing only the mends that ../shared/facts/exactness.md allows.

Sources: F1 = families-baichuan-qwen-yi-internlm.md, F2 = families-chatglm-minicpm-gemma-deepseek-meta.md, X =
exactness.md, T = transformers 5.23 models/<family>/modeling_<family>.py, C = the case's own config.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: a target's setting that takes whatever there is
ANY = object()

#: facts that stand or fall together: a refusal names the first, whichever of them it was about
TOGETHER = {
    "positions": ("position", "context"),  # without a table of positions nothing says how long it is
    "layers.moe": ("router.", "shared", "expert"),
    "window": ("window.full", "window.chunk", "rope.none", "scores.tuning"),
}

NEUTRAL = {
    "attention": "direct",
    "norm.kind": "rms",
    "norm.offset": 0.0,
    "embed.scale": 1.0,
    "activation": "silu",
    "mlp.gated": True,
    "positions": "rope",
    "rope.theta": 1e4,
    "rope.share": 1.0,
}


@dataclass(frozen=True)
class Case:
    """A golden checkpoint: its family, what it does that a plain Llama does not, and where that was read."""

    family: str
    does: Mapping[str, Any]
    source: str


@dataclass(frozen=True)
class Target:
    """What a family's code can do (``can``: a set of values, or ANY), what it always does (``has``), and the source."""

    source: str
    can: Mapping[str, Any] = field(default_factory=dict)
    has: Mapping[str, Any] = field(default_factory=dict)
    one_key: tuple[str, ...] = ()  # facts that one key states: who differs in them is refused all
    needs: tuple[str, ...] = ()  # sizes that it computes with, so that there has to be one


@dataclass(frozen=True)
class Outcome:
    """A class, or the facts that a refusal must name: exactly these."""

    exactness: str
    refused: frozenset[str] = frozenset()


GROUPED = {"kv": "grouped"}
QKV = {"bias.qkv": True}
GLM_TRAITS = {**GROUPED, **QKV, "rope.share": 0.5}
MINICPM_TRAITS = {"embed.scale": "a number", "residual.depth": "set", "logits.base": "set"}
GPT_TRAITS = {
    **QKV,
    "bias.o": True,
    "bias.mlp": True,
    "bias.norm": True,
    "norm.kind": "layer",
    "mlp.gated": False,
    "positions": "learned",
    "tied": True,
    "ffn": "four times hidden",
    "norm.eps": 1e-5,
}
GEMMA_TRAITS = {
    **GROUPED,
    "head": "its own",
    "norm.offset": 1.0,
    "embed.scale": "root of hidden",
    "activation": "gelu_tanh",
    "tied": True,
}
EXPERTS = {"layers.moe": "softmax"}
DEEPSEEK_TRAITS = {"attention": "latent", "head": "of three parts", "rope.scaling": "yarn"}
YI = Case("yi", {**GROUPED, "rope.theta": 5e6, "norm.eps": 1e-5}, "F1 Yi-6B legacy")
QWEN2 = {**GROUPED, **QKV, "rope.theta": 1e6}

CASES: dict[str, Case] = {
    "aquila2-7b": Case("aquila", {"norm.eps": 1e-5}, "F1 Aquila2"),
    "baichuan-7b": Case("baichuan", {}, "F1 Baichuan-7B: maps 1:1 to Llama"),
    "baichuan-7b-bf16": Case("baichuan", {}, "F1 Baichuan-7B"),
    "baichuan2-7b": Case("baichuan", {"head.unit_rows": True}, "F1 Baichuan2-7B: NormHead"),
    "baichuan2-7b-bf16": Case("baichuan", {"head.unit_rows": True}, "F1 Baichuan2-7B: NormHead"),
    "baichuan-13b": Case("baichuan", {"positions": "alibi"}, "F1 Baichuan-13B: ALiBi"),
    "baichuan2-13b": Case("baichuan", {"positions": "alibi", "head.unit_rows": True}, "F1 Baichuan2-13B"),
    "chatglm1-6b": Case(
        "chatglm1",
        {
            **QKV, "bias.o": True, "bias.mlp": True, "bias.norm": True, "norm.kind": "layer", "mlp.gated": False,
            "activation": "gelu_tanh", "positions": "rope in two streams", "prefix": True, "residual.normed": True,
            "ffn": "four times hidden", "norm.eps": 1e-5,
        },
        "F2 section 3",
    ),
    "chatglm2": Case("chatglm", {**GLM_TRAITS, "norm.eps": 1e-5}, "F2 section 1"),
    "chatglm3": Case("chatglm", {**GLM_TRAITS, "norm.eps": 1e-5}, "F2 section 1"),
    "chatglm3-fp16": Case("chatglm", {**GLM_TRAITS, "norm.eps": 1e-5}, "F2 section 1"),
    "chatglm3-32k": Case("chatglm", {**GLM_TRAITS, "norm.eps": 1e-5, "rope.theta": 5e5}, "F2 section 1, rope_ratio"),
    "chatglm3-32k-fp16": Case("chatglm", {**GLM_TRAITS, "norm.eps": 1e-5, "rope.theta": 5e5}, "F2 section 1"),
    "glm4-9b-base": Case("chatglm", {**GLM_TRAITS, "norm.eps": 1.5625e-7}, "F2 section 2"),
    "glm4-9b-chat": Case("chatglm", {**GLM_TRAITS, "norm.eps": 1.5625e-7, "rope.theta": 5e6}, "F2 section 2"),
    "glm4-9b-chat-bf16": Case("chatglm", {**GLM_TRAITS, "norm.eps": 1.5625e-7, "rope.theta": 5e6}, "F2 section 2"),
    "deepseek-v2-lite": Case("deepseek_v2", {**DEEPSEEK_TRAITS, "layers.moe": "deepseek, softmax"}, "F2 section 7"),
    "deepseek-v3": Case("deepseek_v3", {**DEEPSEEK_TRAITS, "layers.moe": "deepseek, sigmoid", "mtp": 1}, "F2 section 7"),
    "deepseek-v3-fp8": Case(
        "deepseek_v3",
        {**DEEPSEEK_TRAITS, "layers.moe": "deepseek, sigmoid", "mtp": 1, "stored": "float8"},
        "F2 section 7: scales multiplied per block",
    ),
    "gemma1-2b": Case("gemma", GEMMA_TRAITS, "F2 section 5"),
    "gemma1-2b-bf16": Case("gemma", GEMMA_TRAITS, "F2 section 5"),
    "gemma2": Case(
        "gemma2",
        {
            **GEMMA_TRAITS, "norm.after": True, "scores.cap": True, "logits.cap": True, "scores.width": True,
            "window": "every second layer",
        },
        "F2 section 5",
    ),
    "gpt2": Case("gpt2", {**GPT_TRAITS, "activation": "gelu_tanh"}, "F2 section 6: gelu_new"),
    "nanogpt": Case("nanogpt", {**GPT_TRAITS, "activation": "gelu"}, "F2 section 6: erf"),
    "internlm-7b": Case("internlm", {**QKV, "bias.o": True, "rope.scaling": "dynamic"}, "F1 InternLM-7B: dynamic NTK"),
    "internlm2-7b": Case("internlm2", {**GROUPED, "rope.theta": 1e6, "norm.eps": 1e-5}, "F1 InternLM2-7B"),
    "llama-attention-bias": Case("llama", {**GROUPED, **QKV, "bias.o": True, "norm.eps": 1e-5}, "C"),
    "llama-gqa": Case("llama", {**GROUPED, "rope.theta": 5e5, "norm.eps": 1e-5}, "C"),
    "llama-gqa-bf16": Case("llama", {**GROUPED, "rope.theta": 5e5, "norm.eps": 1e-5}, "C"),
    "llama-mha": Case("llama", {"norm.eps": 1e-5}, "C"),
    "llama-rope-llama3": Case("llama", {**GROUPED, "rope.scaling": "llama3, not Meta's", "norm.eps": 1e-5}, "C"),
    "llama-tied": Case("llama", {**GROUPED, "rope.theta": 5e5, "tied": True, "norm.eps": 1e-5}, "C"),
    "llama4": Case(
        "llama4",
        {
            **GROUPED, "rope.theta": 5e5, "rope.scaling": "llama3", "norm.qk": "l2", "layers.moe": "llama4",
            "window": "chunks, and layers without rope", "norm.eps": 1e-5,
        },
        "F2 section 9",
    ),
    "meta-llama1": Case("meta", {}, "F2 section 8"),
    "meta-llama2": Case("meta", {"norm.eps": 1e-5}, "F2 section 8"),
    "meta-llama2-gqa": Case("meta", {**GROUPED, "norm.eps": 1e-5}, "F2 section 8"),
    "meta-llama2-gqa-bf16": Case("meta", {**GROUPED, "norm.eps": 1e-5}, "F2 section 8"),
    "meta-llama3": Case("meta", {**GROUPED, "rope.theta": 5e5, "norm.eps": 1e-5}, "F2 section 8"),
    "meta-llama31-scaled-rope": Case(
        "meta", {**GROUPED, "rope.theta": 5e5, "rope.scaling": "llama3", "norm.eps": 1e-5}, "F2 section 8"
    ),
    "minicpm-2b": Case("minicpm", {**MINICPM_TRAITS, "tied": True, "norm.eps": 1e-5}, "F2 section 4"),
    "minicpm-2b-bf16": Case("minicpm", {**MINICPM_TRAITS, "tied": True, "norm.eps": 1e-5}, "F2 section 4"),
    "minicpm-untied-gqa": Case("minicpm", {**MINICPM_TRAITS, **GROUPED, "norm.eps": 1e-5}, "F2 section 4"),
    "minicpm-untied-gqa-fp16": Case("minicpm", {**MINICPM_TRAITS, **GROUPED, "norm.eps": 1e-5}, "F2 section 4"),
    "mistral": Case("mistral", {**GROUPED, "norm.eps": 1e-5}, "C: no sliding_window"),
    "mistral-sliding-window": Case("mistral", {**GROUPED, "norm.eps": 1e-5, "window": "every layer"}, "F1 native; C"),
    "mixtral": Case(
        "mixtral", {**GROUPED, **EXPERTS, "rope.theta": 1e6, "norm.eps": 1e-5, "ffn": "of experts alone"}, "F1 native"
    ),
    "phi3": Case("phi3", {"window": "every layer", "norm.eps": 1e-5}, "C: a window of 2047 in a context of 4096"),
    "qwen-7b": Case("qwen", QKV, "F1 Qwen-7B"),
    "qwen-7b-bf16": Case("qwen", QKV, "F1 Qwen-7B"),
    "qwen1-5": Case("qwen2", {**QKV, "rope.theta": 1e6}, "F1 native; C: as many keys as queries"),
    "qwen2": Case("qwen2", QWEN2, "F1 native"),
    "qwen2-tied": Case("qwen2", {**QWEN2, "tied": True}, "F1 native"),
    "qwen2-5-tied": Case("qwen2", {**QWEN2, "tied": True}, "F1 native"),
    "qwen2-5-tied-bf16": Case("qwen2", {**QWEN2, "tied": True}, "F1 native"),
    "qwen2-5-vl": Case("qwen2", {**QWEN2, "tied": True}, "F2 section 10: for text, mrope is rope"),
    "qwen2-sliding-window-on": Case("qwen2", {**QWEN2, "window": "late layers"}, "F2 section 10"),
    "qwen2-moe": Case("qwen2_moe", {**QKV, "rope.theta": 1e6, "layers.moe": "qwen2_moe"}, "F1 native"),
    "qwen3": Case("qwen3", {**GROUPED, "head": "its own", "rope.theta": 1e6, "norm.qk": "rms"}, "F1 native"),
    "stablelm": Case(
        "stablelm", {"norm.kind": "layer", "bias.norm": True, "rope.share": 0.25, "norm.eps": 1e-5}, "F1 native"
    ),
    "yi-6b": YI,
    "yi-6b-bf16": YI,
}  # fmt: skip

NATIVE_ROPE = {"rope.theta": ANY, "rope.scaling": {"llama3", "llama3, not Meta's", "yarn", "longrope", "dynamic"}}
EPS = {"norm.eps": ANY}
JOINT = {"bias.qkv": ANY, "bias.o": ANY}  # one key for both; zeros stand in for either
#: what the Hub's remote code of 2023 raises "Unknown RoPE scaling type" for is all but linear and dynamic
OLD_ROPE: dict[str, Any] = {"rope.theta": ANY, "rope.scaling": {"dynamic"}}
ACT = {"activation": ANY}
USUAL = {**EPS, **ACT, "tied": ANY}
KV = {"kv": ANY}
HEADS = {**KV, "head": ANY}

TARGETS: dict[str, Target] = {
    "aquila": Target("F1 Aquila2: 262-281, no biases 269-272", {**USUAL, **OLD_ROPE, **KV}),
    "baichuan": Target(
        "F1 the Baichuans: base hard-coded, MHA, no biases; 7B, 2-7B with NormHead, 13B and 2-13B with ALiBi",
        {**USUAL, "head.unit_rows": ANY, "positions": {"alibi"}},
    ),
    "chatglm": Target(
        "F2 section 1: the first half of each head rotates, always; add_qkv_bias; silu; never tied",
        {**EPS, **HEADS, **QKV, "rope.theta": ANY, "bias.qkv": ANY},
        {"rope.share": 0.5},
    ),
    "chatglm1": Target(
        "F2 section 3",
        {**EPS, "ffn": ANY},
        {
            **QKV, "bias.o": True, "bias.mlp": True, "bias.norm": True, "norm.kind": "layer", "mlp.gated": False,
            "activation": "gelu_tanh", "positions": "rope in two streams", "prefix": True, "residual.normed": True,
        },
    ),
    "deepseek_v2": Target(
        "F2 section 7: softmax, group score = max, no shift",
        {**USUAL, **HEADS, **NATIVE_ROPE, "mtp": ANY},
        {"attention": "latent", "layers.moe": "deepseek, softmax"},
    ),
    "deepseek_v3": Target(
        "F2 section 7: sigmoid, shift of the choice",
        {**USUAL, **HEADS, **NATIVE_ROPE, "mtp": ANY},
        {"attention": "latent", "layers.moe": "deepseek, sigmoid"},
    ),
    "gemma": Target(
        "F2 section 5; T 224-240",
        {**EPS, **HEADS, **JOINT, **NATIVE_ROPE, "tied": ANY},
        {"norm.offset": 1.0, "embed.scale": "root of hidden", "activation": "gelu_tanh"},
    ),
    "gemma2": Target(
        "F2 section 5; T 216-238",
        {**USUAL, **HEADS, **JOINT, **NATIVE_ROPE, "scores.cap": ANY, "logits.cap": ANY, "scores.width": ANY},
        {"norm.offset": 1.0, "embed.scale": "root of hidden", "norm.after": True, "window": "every second layer"},
    ),
    "glm": Target(
        "F2 section 2; T 150-220: partial_rotary_factor, attention_bias on q, k, v",
        {**USUAL, **HEADS, **NATIVE_ROPE, "bias.qkv": ANY, "rope.share": ANY},
    ),
    "gpt2": Target(
        "F2 section 6",
        {**USUAL, "ffn": ANY},
        {
            **QKV, "bias.o": True, "bias.mlp": True, "bias.norm": True, "norm.kind": "layer", "mlp.gated": False,
            "positions": "learned",
        },
    ),
    "granite": Target(
        "T 121-137, 208-277, 386, 486: factors on embeddings, branches, scores and logits, all of which can be 1",
        {
            **USUAL, **KV, **JOINT, **NATIVE_ROPE, "head": {"its own"}, "bias.mlp": ANY, "residual.depth": ANY,
            "logits.base": ANY, "embed.scale": ANY, "scores.width": ANY,
        },
    ),
    "internlm": Target(
        "F1 InternLM-7B: 300-323: MHA, bias on q, k, v and o, rotary of type origin or dynamic",
        {**USUAL, **JOINT, **OLD_ROPE},
    ),
    "internlm2": Target("F1 InternLM2-7B: 256-324", {**USUAL, **KV, **JOINT, **OLD_ROPE}),
    "llama": Target("F1 native; T", {**USUAL, **HEADS, **JOINT, **NATIVE_ROPE, "bias.mlp": ANY}),
    "llama4": Target(
        "F2 section 9; a mixture without any expert is not written",
        {**USUAL, **HEADS, **JOINT, **NATIVE_ROPE, "norm.qk": {"l2"}, "window": {"chunks, and layers without rope"}},
        {"layers.moe": "llama4"},
    ),
    "meta": Target(
        "F2 section 8: silu, no biases, heads of dim / n_heads, an output of its own; scaled rope as Llama 3.1 or not",
        {**EPS, **KV, "rope.theta": ANY, "rope.scaling": {"llama3"}},
        needs=("ffn",),
    ),
    "minicpm": Target(
        "F2 section 4: scale_emb, scale_depth, dim_model_base, all of which can be said to do nothing; the longrope of "
        "the 128k release is another code",
        {**USUAL, **KV, **JOINT, **OLD_ROPE, "residual.depth": ANY, "logits.base": ANY, "embed.scale": ANY},
    ),
    "mistral": Target("T 128-136, 353", {**USUAL, **HEADS, **NATIVE_ROPE, "window": {"every layer"}}),
    "mixtral": Target(
        "F1 native; T 278-286, 443: a window for every layer",
        {**USUAL, **HEADS, **NATIVE_ROPE, "window": {"every layer"}},
        {"layers.moe": "softmax"},
    ),
    "nanogpt": Target(
        "F2 section 6: erf GELU, eps 1e-5, tied, one switch for all biases, four times hidden",
        {},
        {
            "norm.kind": "layer", "mlp.gated": False, "positions": "learned", "activation": "gelu", "tied": True,
            "norm.eps": 1e-5, "ffn": "four times hidden", "bias.qkv": True, "bias.o": True, "bias.mlp": True,
            "bias.norm": True,
        },
        one_key=("bias.qkv", "bias.o", "bias.mlp", "bias.norm"),
        needs=("ffn",),
    ),
    "phi3": Target(
        "F1 native; T 196-246: no biases, longrope or nothing, partial_rotary_factor, a window for every layer; a head "
        "of its own width is refused before transformers 5 (4.46 modeling_phi3.py)",
        {**USUAL, **KV, "rope.theta": ANY, "rope.scaling": {"longrope"}, "rope.share": ANY, "window": {"every layer"}},
    ),
    "qwen": Target(
        "F1 Qwen-7B: MHA, bias on q, k, v always, silu; modeling_qwen.py reads rotary_pct",
        {**EPS, "tied": ANY, "rope.theta": ANY, "rope.share": ANY},
        QKV,
        needs=("ffn",),
    ),
    "qwen2": Target(
        "F1 native: bias on q, k, v always; from max_window_layers on a window",
        {**USUAL, **HEADS, **NATIVE_ROPE, "window": {"late layers", "every layer"}},
        QKV,
    ),
    "qwen2_moe": Target(
        "F1 native; a mixture without any expert is not written; releases differ in which layers a window is for",
        {**USUAL, **HEADS, **NATIVE_ROPE},
        {**QKV, "layers.moe": "qwen2_moe"},
    ),
    "qwen3": Target(
        "F1 native: 229-245",
        {**USUAL, **HEADS, **JOINT, **NATIVE_ROPE, "window": {"late layers", "every layer"}},
        {"norm.qk": "rms"},
    ),
    "stablelm": Target(
        "F1 native: 226, 239-242: LayerNorm, bias on q, k, v by key",
        {**USUAL, **KV, **NATIVE_ROPE, "bias.qkv": ANY, "rope.share": ANY},
        {"norm.kind": "layer", "bias.norm": True},
    ),
    "yi": Target(
        "F1 Yi-6B legacy: no biases; modeling_yi.py knows rope_theta and no scaling",
        {**USUAL, **KV, "rope.theta": ANY},
    ),
}  # fmt: skip

#: facts whose absence costs nothing to mend: zeros are written, or a copy of the embeddings
_BYTE_MENDS = {"bias.qkv": True, "bias.o": True, "bias.mlp": True, "bias.norm": True, "tied": False}
#: facts that fold into weights, in either direction (X E-1, E-2)
_SCALES = {"embed.scale", "residual.depth", "logits.base"}
_FOLDS = {"norm.offset", "scores.width", *_SCALES}


def expected(case: str, target: str) -> Outcome:
    """What becomes of a golden case in a family: a class, or exactly the facts that a refusal has to name."""
    source, goal = CASES[case], TARGETS[target]
    if source.family == target:
        return Outcome("algebraic" if source.does.get("stored") == "float8" else "byte")
    exactness, refused = "byte", set()
    for fact in {**source.does, **goal.has}:
        way = _way(fact, source.does.get(fact, NEUTRAL.get(fact)), goal)
        if way == "refused":
            refused.add(fact)
        elif way == "algebraic":
            exactness = way
    if goal.one_key and QKV.items() <= source.does.items() and not source.does.get("bias.norm"):
        refused.update(goal.one_key)  # zeros for linears and for norms are two passes, and either alone ends no refusal
    no_gauge = source.does.get("norm.after") or source.does.get("norm.eps") == goal.has.get("norm.eps")
    if goal.has.get("tied") and source.does.get("tied") and no_gauge:
        # a fold ends the tie; a gauge keeps it, changes an eps that was right, and cannot reach behind a norm
        refused.update({"embed.scale"} & set(source.does))
    return Outcome("refused", frozenset(refused)) if refused else Outcome(exactness)


def _way(fact: str, value: Any, goal: Target) -> str:
    """How a target comes to do what the source does: as it is, by a byte mend, by a fold, or not."""
    wanted = goal.has.get(fact, NEUTRAL.get(fact))
    allowed = goal.can.get(fact, ())
    if fact == "ffn" and value == "of experts alone":
        return "refused" if "ffn" in goal.needs else "byte"
    if fact == "stored" or (fact in ("ffn", "norm.eps") and fact not in goal.has):
        return "byte"  # every family has a key for it, or no say in it
    if value == wanted or (fact not in goal.has and (allowed is ANY or value in allowed)):
        return "byte"
    if _BYTE_MENDS.get(fact) == bool(wanted):
        return "byte"
    if fact in _FOLDS or (fact == "head.unit_rows" and value):
        return "algebraic"
    if fact == "rope.share" and wanted == 1.0 and "longrope" in goal.can.get("rope.scaling", ()):
        return "algebraic"
    return "refused"


def together(fact: str) -> str:
    """The fact under which a refusal counts here."""
    return next((name for name, parts in TOGETHER.items() if fact.startswith(parts)), fact)
