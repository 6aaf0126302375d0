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
    model_type: str = ""  # of a line of models of which ``keys`` tell this one
    keys: tuple[str, ...] = ()  # of its config that have a value, by which it is known; dots descend
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
        "the Qwen2.5-1M report (arXiv 2501.15383); config key dual_chunk_attention_config", family="qwen2",
    ),
    Elsewhere(
        "CodeGeeX2", ("codegeex2", "codegeex2-6b"),
        ("it is ChatGLM2-6B trained on code: same classes, same layout",),
        "THUDM/CodeGeeX2@dc813093 README", family="chatglm",
    ),
    Elsewhere(
        "CodeGeeX4", ("codegeex4", "codegeex4-all-9b"), ("it is GLM-4-9B trained on code",),
        "THUDM/CodeGeeX4@b07f58b5 README", family="chatglm",
    ),
    Elsewhere(
        "ChatGLM-6B, the first", ("chatglm-6b", "chatglm1-6b"),
        (
            "what comes before the answer sees itself whole, and positions are two streams: no causal model has either",
            "LayerNorms whose last bias has no place, and a branch added to a scaled norm in place of the stream",
        ),
        "THUDM/chatglm-6b modeling_chatglm.py 457-704, as greensheng/chatglm-6b@a8ede826 has it", family="chatglm1",
    ),
    Elsewhere(
        "GLM-130B", ("glm-130b",),
        (
            "post-LayerNorm with DeepNorm's factor on the residual stream: the stream itself is normalised, and scaled",
            "what comes before the answer sees itself whole",
            "LayerNorm with a final bias, for which Llama has no place",
            "released as a SwissArmyTransformer checkpoint in tensor-parallel parts, which are not read",
        ),
        "the GLM-130B paper (arXiv 2210.02414) section 2",
        instead="ask for ChatGLM 2 or later, which convert",
    ),
    Elsewhere(
        "GLM-4-0414", ("glm4-0414", "glm-4-9b-0414", "glm-4-32b-0414", "glm-z1-9b-0414", "glm-z1-32b-0414"),
        ("norms behind attention and MLP too, on what each adds to the stream: a Llama adds it as it is",),
        "transformers 5.23 models/glm4/modeling_glm4.py 75-76, 101, 107", instead="it has a native class: serve it as it is",
    ),
    Elsewhere(
        "GLM-4.5", ("glm4.5", "glm4.5-air", "glm4-moe", "glm-4.6"),
        (
            "experts beside a shared one, chosen by sigmoid scores with a bias, behind first layers that are dense",
            "queries and keys are normalised where use_qk_norm says so, which depends on the data",
        ),
        "transformers 5.23 models/glm4_moe/modeling_glm4_moe.py 198-201, 285, 389-407",
        instead="it has a native class: serve it as it is",
    ),
    Elsewhere(
        "Ling-Lite and Ling-Coder-Lite", ("ling", "ling-lite", "ling-coder-lite", "ling-plus", "bailing", "bailingmoe"),
        (
            "a mixture of 64 routed experts and shared ones in every layer: no weights of a dense Llama compute that, and "
            "Mixtral has no shared experts",
            "BailingMoeForCausalLM is its own class, with q, k and v fused in query_key_value",
        ),
        "inclusionAI/Ling@69823a61 models/modeling_bailing_moe.py",
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
        "xai-org/grok-1@be76c959 model.py 112-160, 243, 298, 863-865, 1056-1095; checkpoint.py 101, 189",
        instead="use a conversion to safetensors that others published, in Grok's own class",
    ),
    Elsewhere(
        "Baichuan 3 and 4", ("baichuan3", "baichuan4", "baichuan-3", "baichuan-4", "baichuan4-turbo"),
        ("closed: they are served by an API, and no weights were published",),
        "the Hub's list of baichuan-inc's repositories, read on 2026-11-25",
        instead="Baichuan-7B and Baichuan2-7B convert, and Baichuan-M2-32B, which is a Qwen2",
    ),
    Elsewhere(
        "Baichuan-M1", ("baichuan-m1", "baichuan-m1-14b", "baichuan-m1-14b-base", "baichuan-m1-14b-instruct"),
        (
            "short convolutions along the positions of keys and values: no weights of a Llama mix positions there",
            "some of its layers see a window, others everything",
        ),
        "baichuan-inc/Baichuan-M1-14B-Base@2e6c3b6 README.md, New Model Architecture", instead=_REPACK,
    ),
    Elsewhere(
        "Baichuan-M2", ("baichuan-m2", "baichuan-m2-32b"),
        ("Qwen2ForCausalLM: Qwen2.5-32B trained further, under Apache 2.0",),
        "baichuan-inc/Baichuan-M2-32B README and config.json, read on 2026-11-25", family="qwen2",
    ),
    Elsewhere(
        "Baichuan-M3 and Baichuan-Omni",
        ("baichuan-m3", "baichuan-m3-235b", "baichuan-omni", "baichuan-omni-1d5", "baichuan-audio"),
        ("their weights are published; what they compute has not been read here, so that nothing is said of it",),
        "the Hub's list of baichuan-inc's repositories, read on 2026-11-25",
        instead="`weightsmith families` lists what is read; `convert run` refuses what it does not know, and says by which key",
    ),
    Elsewhere(
        "OPT and Galactica", ("opt", "opt-125m", "opt-6.7b", "galactica", "galactica-6.7b"),
        (
            "learned positions, counted from 2, are added to embeddings: Llama rotates",
            "LayerNorms, the last of which has a bias too, and an MLP of two matrices",
        ),
        "transformers 5.23 models/opt/modeling_opt.py, configuration_opt.py",
        instead="GPT-2 can become an OPT exactly, which is not offered here",
    ),
    Elsewhere(
        "GPT-1", ("gpt1", "openai-gpt"),
        ("learned positions", "norms behind each branch, on the stream itself"),
        "transformers 5.23 models/openai/modeling_openai.py", instead=_REPACK,
    ),
    Elsewhere(
        "GPT-J, GPT-NeoX, Pythia, Falcon and Phi-1 to 2",
        ("gptj", "gpt-j-6b", "gpt-neox", "gpt-neox-20b", "pythia", "falcon", "falcon-7b", "phi-1", "phi-1.5", "phi-2"),
        (
            "attention and MLP read the same input side by side: Llama's MLP reads what attention wrote",
            "LayerNorms with a final bias",
        ),
        "transformers 5.23 models/gptj, gpt_neox, falcon, phi", instead=_REPACK,
    ),
    Elsewhere(
        "Falcon RW", ("falcon-rw", "falcon-rw-1b", "falcon-rw-7b"),
        ("ALiBi adds a slope to every attention score, and rotation cannot do that", "LayerNorms with a final bias"),
        "transformers 5.23 models/falcon/modeling_falcon.py", instead=_REPACK, model_type="falcon", keys=("alibi",),
    ),
    Elsewhere(
        "BLOOM, BELLE-7B and MPT",
        (
            "bloom", "bloomz", "bloom-7b1", "bloomz-7b1-mt", "mpt", "mpt-7b", "belle", "belle-7b", "belle-7b-0.2m",
            "belle-7b-0.6m", "belle-7b-1m", "belle-7b-2m",
        ),
        (
            "ALiBi adds a slope to every attention score, and rotation cannot do that",
            "BELLE-7B is BLOOMZ-7B1-mt trained further (only BELLE-LLAMA is a Llama)",
        ),
        "transformers 5.23 models/bloom, models/mpt; BelleGroup/BELLE-7B-0.2M@7cb8e2f2 README.md", instead=_REPACK,
    ),
    Elsewhere(
        "StarCoder 2", ("starcoder2", "starcoder2-3b", "starcoder2-7b", "starcoder2-15b"),
        ("its final LayerNorm has a bias, for which Llama has no place: a relative error of 0.19 without it",),
        "transformers 5.23 models/starcoder2; measured", instead=_REPACK,
    ),
    Elsewhere(
        "OLMo 2, Gemma 3", ("olmo2", "olmo-2", "gemma3", "gemma-3"),
        ("queries and keys are normalised, which depends on the data: no weights of a Llama do that", "norms behind each branch"),
        "transformers 5.23 models/olmo2, models/gemma3", instead="they have native classes: serve them as they are",
    ),
    Elsewhere(
        "OLMo 1", ("olmo", "olmo-1", "olmo-1b", "olmo-7b"),
        ("its LayerNorms have no weights; centring what writes to the stream would make it a Llama, and is not offered yet",),
        "transformers 5.23 models/olmo/modeling_olmo.py", instead=_REPACK,
    ),
    Elsewhere(
        "OLMo 1.7", ("olmo-1.7", "olmo-1.7-7b"),
        (
            "queries, keys and values are cut off at clip_qkv, which depends on the data: no weights of a Llama do that",
            "its LayerNorms have no weights",
        ),
        "transformers 5.23 models/olmo/modeling_olmo.py 237-240", instead="it has a native class: serve it as it is",
        model_type="olmo", keys=("clip_qkv",),
    ),
    Elsewhere(
        "MiniCPM 3", ("minicpm3", "minicpm3-4b"),
        ("queries and keys come from latents with norms of their own (MLA), and values are of another width",),
        "transformers 5.23 models/minicpm3", instead="it has a native class: serve it as it is",
    ),
    Elsewhere(
        "Kimi K2", ("kimi", "kimi-k2"),
        ("a DeepSeek V3 by class and layout: read as deepseek_v3, and written so; no Llama",),
        "MoonshotAI/Kimi-K2@11062d11 README.md, docs/deploy_guidance.md", family="deepseek_v3",
    ),
    Elsewhere(
        "llama2.c", ("llama2c", "llama2.c"),
        ("its ckpt.pt holds a tied Llama under Meta's names beside training state, and no config that a library reads",),
        "karpathy/llama2.c model.py@c05b45a5, train.py@4cc06965, export.py@d9862069",
        instead="`python export.py OUT --version -1 --checkpoint ckpt.pt` of llama2.c writes it as a Llama of transformers",
        keys=("model_args.dim", "model_args.n_layers", "model_args.n_heads"),
    ),
    Elsewhere(
        "models that are Llama by class",
        (
            "alpaca", "vicuna", "belle-llama", "belle-llama-7b-2m", "belle-llama-13b-2m", "guanaco",
            "codellama", "tinyllama", "solar", "deepseek-llm", "deepseek-coder",
            "yi-1.5", "yi-coder", "deepseek-r1-distill-llama", "smollm", "smollm2", "chinese-llama", "chinese-alpaca",
        ),
        ("LlamaForCausalLM already: `convert run SRC OUT --to llama` normalises names, config and files",),
        "their config.json; those that were read are in tests/configs", family="llama",
    ),
    Elsewhere(
        "models that are Qwen2 by class", ("qwq", "qwq-32b", "deepseek-r1-distill-qwen", "qwen1.5", "qwen2.5", "qwen2.5-coder"),
        ("Qwen2ForCausalLM already",), "their config.json; those that were read are in tests/configs", family="qwen2",
    ),
)  # fmt: skip


def answer(name: str) -> Elsewhere | None:
    """The entry for a name however it is spelled: case, dots and dashes do not count."""
    wanted = _bare(name.rpartition("/")[2])
    return next((one for one in ELSEWHERE if wanted in map(_bare, one.names)), None)


def known_by(config: Mapping[str, Any]) -> Elsewhere | None:
    """The entry for what a config is of, by its model_type or by its keys."""
    kind = str(config.get("model_type", ""))
    told = (one for one in ELSEWHERE if one.keys and one.model_type in ("", kind))
    return next((one for one in told if all(lookup(config, key) for key in one.keys)), None) or answer(kind)


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
