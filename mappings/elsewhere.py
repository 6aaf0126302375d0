"""Models that people ask about and that have no table of their own: what each of them is, and what to do.

An answer names the family that holds it (``family``), or every reason why nothing here does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mappings.family import lookup


@dataclass(frozen=True)
class Elsewhere:
    """A model or line of models, under the names that people use for it."""

    title: str
    names: tuple[str, ...]
    reasons: tuple[str, ...]
    source: str
    family: str = ""  # the family whose table reads it
    keys: tuple[str, ...] = ()  # of its config, by which it is known where that has no model_type; dots descend
    instead: str = ""  # what can be done where no table does


_REPACK = "`convert repack` turns its files into safetensors in their own layout"

ELSEWHERE: tuple[Elsewhere, ...] = (
    Elsewhere(
        "Qwen2.5-1M", ("qwen2.5-1m", "qwen2.5-7b-instruct-1m", "qwen2.5-14b-instruct-1m"),
        (
            "the weights are a Qwen2's, trained for 262,144 tokens; up to there it is a Qwen2, byte for byte",
            "dual chunk attention and YaRN are features of the serving program beyond that length, and neither is in the "
            "weights: no other family computes what they do there",
        ),
        "qwenlm.github.io/blog/qwen2.5-1m; config key dual_chunk_attention_config", family="qwen2",
    ),
    Elsewhere(
        "CodeGeeX2", ("codegeex2", "codegeex2-6b"),
        ("it is ChatGLM2-6B trained on code: same classes, same layout",),
        "THUDM/CodeGeeX2 README and config.json", family="chatglm",
    ),
    Elsewhere(
        "CodeGeeX4", ("codegeex4", "codegeex4-all-9b"), ("it is GLM-4-9B trained on code",),
        "THUDM/CodeGeeX4 README", family="chatglm",
    ),
    Elsewhere(
        "ChatGLM-6B, the first", ("chatglm-6b", "chatglm1-6b"),
        (
            "what comes before the answer sees itself whole, and positions are two streams: no causal model has either",
            "LayerNorms whose last bias has no place, and a branch added to a scaled norm in place of the stream",
        ),
        "THUDM/chatglm-6b modeling_chatglm.py 457-704", family="chatglm1",
    ),
    Elsewhere(
        "GLM-130B", ("glm-130b",),
        (
            "post-LayerNorm with DeepNorm's factor on the residual stream: the stream itself is normalised, and scaled",
            "what comes before the answer sees itself whole",
            "LayerNorm with a final bias, for which Llama has no place",
            "released as a SwissArmyTransformer checkpoint in tensor-parallel parts, which are not read",
        ),
        "THUDM/GLM-130B README and the GLM-130B paper (arXiv 2210.02414) section 2",
        instead="ask for ChatGLM 2 or later, which convert",
    ),
    Elsewhere(
        "GLM-4-0414 and GLM-4.5", ("glm-4-0414", "glm-4-9b-0414", "glm-4-32b-0414", "glm4.5", "glm-4.5"),
        ("norms behind attention and MLP too; GLM-4.5 has experts, and norms on queries and keys",),
        "transformers 5.23 models/glm4, models/glm4_moe", instead="it has native classes: serve it as it is",
    ),
    Elsewhere(
        "Ling-Lite and Ling-Coder-Lite", ("ling", "ling-lite", "ling-coder-lite", "ling-plus", "bailing", "bailingmoe"),
        (
            "a mixture of 64 routed experts and shared ones in every layer: no weights of a dense Llama compute that, and "
            "Mixtral has no shared experts",
            "BailingMoeForCausalLM is its own class, with q, k and v fused in query_key_value",
        ),
        "inclusionAI/Ling models/modeling_bailing_moe.py; vLLM and SGLang bailing_moe.py",
        instead=f"{_REPACK}; vLLM and SGLang have the class",
    ),
    Elsewhere(
        "Grok-1", ("grok", "grok-1"),
        (
            "eight experts of which two are used, with norms before and behind attention and experts",
            "attention scores go through 30 * tanh(x / 30), which no weights can do",
            "the experts' scores are not renormalised, as Mixtral's are",
            "released as JAX pickles of int8 weights with scales, which are programs to open: not read",
        ),
        "xai-org/grok-1 model.py 112-160, 243, 298, 863-865, 1056-1095; checkpoint.py 101, 189",
        instead="use a conversion to safetensors that others published, in Grok's own class",
    ),
    Elsewhere(
        "Baichuan 3 and 4", ("baichuan3", "baichuan4", "baichuan-3", "baichuan-4", "baichuan4-turbo"),
        ("closed: they are served by an API, and no weights were published",),
        "Baichuan Intelligent Technology's releases: only Baichuan-7B, 13B and Baichuan2 have weights",
        instead="Baichuan-7B and Baichuan2-7B convert",
    ),
    Elsewhere(
        "OPT", ("opt", "opt-125m", "opt-6.7b", "galactica"),
        (
            "learned positions, counted from 2, are added to embeddings: Llama rotates",
            "LayerNorms with a final bias, and an MLP of two matrices with ReLU",
        ),
        "transformers models/opt/modeling_opt.py", instead="GPT-2 can become an OPT exactly, which is not offered here",
    ),
    Elsewhere(
        "GPT-1", ("gpt1", "openai-gpt"),
        ("learned positions", "norms behind each branch, on the stream itself"),
        "transformers models/openai/modeling_openai.py", instead=_REPACK,
    ),
    Elsewhere(
        "GPT-J, GPT-NeoX, Pythia, Falcon and Phi-1 to 2",
        ("gptj", "gpt-j-6b", "gpt-neox", "gpt-neox-20b", "pythia", "falcon", "falcon-7b", "phi-1", "phi-1.5", "phi-2"),
        (
            "attention and MLP read the same input side by side: Llama's MLP reads what attention wrote",
            "LayerNorms with a final bias",
        ),
        "transformers models/gptj, gpt_neox, falcon, phi", instead=_REPACK,
    ),
    Elsewhere(
        "BLOOM and MPT", ("bloom", "bloomz", "bloom-7b1", "mpt", "mpt-7b"),
        ("ALiBi adds a slope to every attention score, and rotation cannot do that",),
        "transformers models/bloom, models/mpt", instead=_REPACK,
    ),
    Elsewhere(
        "StarCoder 2", ("starcoder2", "starcoder2-3b", "starcoder2-7b", "starcoder2-15b"),
        ("its final LayerNorm has a bias, for which Llama has no place: a relative error of 0.19 without it",),
        "transformers models/starcoder2; measured", instead=_REPACK,
    ),
    Elsewhere(
        "OLMo 2, Gemma 3", ("olmo2", "olmo-2", "gemma3", "gemma-3"),
        ("queries and keys are normalised, which depends on the data: no weights of a Llama do that", "norms behind each branch"),
        "transformers models/olmo2, models/gemma3", instead="they have native classes: serve them as they are",
    ),
    Elsewhere(
        "OLMo 1", ("olmo", "olmo-1", "olmo-7b"),
        ("its LayerNorms have no weights; centring what writes to the stream would make it a Llama, and is not offered yet",),
        "transformers models/olmo", instead=_REPACK,
    ),
    Elsewhere(
        "MiniCPM 3", ("minicpm3", "minicpm3-4b"),
        ("queries and keys come from latents with norms of their own (MLA), and values are of another width",),
        "openbmb/MiniCPM3-4B modeling_minicpm.py", instead="vLLM and llama.cpp have the class",
    ),
    Elsewhere(
        "Kimi K2", ("kimi", "kimi-k2"),
        ("a DeepSeek V3 by class and layout: read as deepseek_v3, and written so; no Llama",),
        "moonshotai/Kimi-K2 config.json", family="deepseek_v3",
    ),
    Elsewhere(
        "llama2.c", ("llama2c", "llama2.c"),
        ("its ckpt.pt holds a tied Llama under Meta's names beside training state, and no config that a library reads",),
        "karpathy/llama2.c model.py, train.py, export.py",
        instead="`python export.py OUT --version -1 --checkpoint ckpt.pt` of llama2.c writes it as a Llama of transformers",
        keys=("model_args.dim", "model_args.n_layers", "model_args.n_heads"),
    ),
    Elsewhere(
        "models that are Llama by class",
        (
            "alpaca", "vicuna", "belle", "guanaco", "codellama", "tinyllama", "solar", "deepseek-llm", "deepseek-coder",
            "yi-1.5", "yi-coder", "deepseek-r1-distill-llama", "smollm", "smollm2", "chinese-llama", "chinese-alpaca",
        ),
        ("LlamaForCausalLM already: `convert run SRC OUT --to llama` normalises names, config and files",),
        "their config.json", family="llama",
    ),
    Elsewhere(
        "models that are Qwen2 by class", ("qwq", "qwq-32b", "deepseek-r1-distill-qwen", "qwen1.5", "qwen2.5", "qwen2.5-coder"),
        ("Qwen2ForCausalLM already",), "their config.json", family="qwen2",
    ),
)  # fmt: skip


def answer(name: str) -> Elsewhere | None:
    """The entry for a name however it is spelled: case, dots and dashes do not count."""
    wanted = _bare(name.rpartition("/")[2])
    return next((one for one in ELSEWHERE if wanted in map(_bare, one.names)), None)


def known_by(config: Mapping[str, Any]) -> Elsewhere | None:
    """The entry for what a config is of, by its model_type or by its keys."""
    by_keys = (one for one in ELSEWHERE if one.keys and all(lookup(config, key) is not None for key in one.keys))
    return answer(str(config.get("model_type", ""))) or next(by_keys, None)


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
