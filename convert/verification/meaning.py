"""What a config says about a model's function, in one form for all families: the verifier's own reading of it.

Each family is a row of other names and fixed values, written from the same sources as its decoder and never
from `mappings`. Nothing here is needed to compute logits; it is what logits cannot show: two values of eps, or two
forms of GELU, differ by less than bfloat16 does. Imports no torch: the parent reads sizes here too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from convert.verification import defaults
from surgery.errors import ConversionError

Config = Mapping[str, Any]

_SAME_ACTIVATION = {
    "swish": "silu", "gelu_new": "gelu_tanh", "gelu_fast": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python": "gelu",
}  # fmt: skip


_ROPE = (
    "rope_theta", "rope_scaling", "rope_parameters", "max_position_embeddings", "original_max_position_embeddings",
)  # fmt: skip
_LEARNED: dict[str, Any] = {"norm": "layer", "positions": "learned", "rope": {}, "turned": 0}


@dataclass(frozen=True)
class Meaning:
    """A model as its config describes it. Scales are factors: 1.0 where the architecture has none."""

    family: str
    layers: int
    hidden: int
    heads: int
    kv: int
    dim: int  # of a query head
    turned: int  # dimensions of each head that are rotated
    vocab: int | None  # None: the tensors say
    ffn: int | None
    eps: float
    activation: str
    rope: Mapping[str, Any]  # keys as transformers names them, for `rope.settings`; empty where nothing rotates
    context: int | None
    windows: tuple[int | None, ...]  # per layer; None sees everything
    norm: str = "rms"
    offset: float = 0.0  # added to stored norm weights
    positions: str = "rope"
    head_norms: str | None = None  # norms of each query and key head
    scores: float = 1.0  # factor on attention scores, beyond 1/sqrt(dim)
    scores_cap: float | None = None
    logits_cap: float | None = None
    embedding_scale: float = 1.0
    branch_scale: float = 1.0
    logit_scale: float = 1.0
    unit_head: bool = False
    parallel: bool = False
    after_norms: bool = False
    tied: bool | None = None  # None: the tensors say
    experts: tuple[Any, ...] = ()  # count, chosen, shares renormalised, factor, scoring
    ids: Mapping[str, Any] = field(default_factory=dict)  # bos, eos, pad: id or ids, None where nothing is said
    rope_conflict: str = ""  # what two spellings of the rotation in one config say that cannot both be
    has_context: bool = True  # whether this family's config has a key for it

    @property
    def originals(self) -> frozenset[int]:
        """The lengths that scaled rotations were trained for."""
        tables = [self.rope, self.rope.get("rope_scaling") or {}, self.rope.get("rope_parameters") or {}]
        return frozenset(int(value) for table in tables if (value := table.get("original_max_position_embeddings")))


@dataclass(frozen=True)
class Spelling:
    """How a config differs from Llama's: `names` (Llama's key -> its own), and what no key can change."""

    names: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    more: Callable[[Config, str | None], Mapping[str, Any]] | None = None  # fields of Meaning that take arithmetic
    within: str = "text_config"  # where a config keeps the language model's half


def read(config: Config, variant: str | None = None) -> Meaning | None:
    """The meaning of a config; None where this module does not know the family."""
    family = _family(config)
    spelling = _SPELLINGS.get(family)
    if spelling is None:
        return None
    config = completed(config)
    if isinstance(inner := config.get(spelling.within), Mapping):
        config = {**config, **inner}

    def said(key: str, otherwise: Any = None) -> Any:
        if key in spelling.fixed:
            return spelling.fixed[key]
        found = config.get(spelling.names.get(key, key))
        return otherwise if found is None else found

    def needed(key: str) -> int:
        if (found := said(key)) is None:
            raise _lacking(spelling.names.get(key, key))
        return int(found)

    hidden, heads, layers = needed("hidden_size"), needed("num_attention_heads"), needed("num_hidden_layers")
    dim = said("head_dim") or hidden // heads
    window = said("sliding_window")
    fields: dict[str, Any] = {
        "layers": layers,
        "hidden": hidden,
        "heads": heads,
        "kv": said("num_key_value_heads") or heads,
        "dim": dim,
        "turned": int(dim * _share(config, spelling)),
        "vocab": None if said("vocab_size") in (None, -1) else said("vocab_size"),
        "ffn": said("intermediate_size"),
        "eps": float(said("rms_norm_eps", 1e-6)),
        "activation": _SAME_ACTIVATION.get(said("hidden_act", "silu"), said("hidden_act", "silu")),
        "rope": {"rope_theta": 10000.0} | {key: said(key) for key in _ROPE if said(key) is not None},
        "context": said("max_position_embeddings"),
        "windows": (window,) * layers,
        "tied": said("tie_word_embeddings", False),
        "ids": {name: _ids(config.get(f"{name}_token_id")) for name in ("bos", "eos", "pad")},
        "rope_conflict": _conflict(config),
        "has_context": "max_position_embeddings" not in spelling.fixed,
    }
    try:
        more = spelling.more(_Asked(config), variant) if spelling.more else {}
    except KeyError as missing:
        raise _lacking(missing.args[0]) from None
    return Meaning(family, **{**fields, **more})


class _Asked(dict[str, Any]):
    """A config in which null is as good as nothing where a key is needed: `config[key]` is a KeyError."""

    def __getitem__(self, key: str) -> Any:
        if (found := self.get(key)) is None:
            raise KeyError(key)
        return found


def _lacking(key: str) -> ConversionError:
    return ConversionError(f"config.json has no {key}, without which nothing can be computed.")


def completed(config: Config) -> Config:
    """The config with what its family's class has where a key is absent."""
    family = _family(config)
    return defaults.completed(config, family, _SPELLINGS[family].within) if family in _SPELLINGS else config


def _family(config: Config) -> str:
    kind, classes = config.get("model_type"), tuple(config.get("architectures") or ())
    if "n_layer" in (config.get("model_args") or {}):
        return "nanogpt"
    if kind is None and {"dim", "n_layers", "n_heads"} <= config.keys():
        return "meta"
    if "MiniCPMForCausalLM" in classes:
        return "minicpm"
    if "InternLM2ForCausalLM" in classes:
        return "internlm2"
    if kind == "qwen" and "n_embd" in config:
        return "qwen-first"
    if kind == "kimi_k2":
        return "deepseek_v3"
    if kind == "chatglm" and "padded_vocab_size" not in config:
        return "chatglm1"
    if kind == "chatglm" and not config.get("multi_query_attention"):
        return "chatglm-per-head"
    return str(kind)


def _share(config: Config, spelling: Spelling) -> float:
    """The rotated share of each head; transformers 5 writes it into rope_parameters."""
    share = "partial_rotary_factor"
    if share in spelling.fixed:
        return float(spelling.fixed[share])
    key = spelling.names.get(share, share)
    stated = (table.get(key) for table in (config.get("rope_parameters") or {}, config))
    return float(next((value for value in stated if value is not None), 1.0))


def _conflict(config: Config) -> str:
    """What `rope_parameters` says otherwise than the older keys: one library reads the one, another the other."""
    newer, older = config.get("rope_parameters") or {}, config.get("rope_scaling") or {}
    theta = config.get("rope_theta")
    if any(isinstance(value, Mapping) for value in newer.values()):
        return ""
    if newer and theta is not None and newer.get("rope_theta", theta) != theta:
        return f"rope_theta is {theta} beside {newer['rope_theta']} in rope_parameters"
    if not newer or not older:
        return ""
    one, other = ({**table, "rope_type": table.get("rope_type", table.get("type")) or "default"} for table in (older, newer))
    apart = ["rope_type"] if one["rope_type"] != other["rope_type"] else []
    for key in sorted({*one, *other} - {"type", "rope_type", "rope_theta"}):
        if one.get(key, config.get(key)) != other.get(key, config.get(key)):  # the older spelling says some beside the table
            apart.append(key)
    if one.get("rope_theta", theta) not in (None, other.get("rope_theta", theta)):
        apart.append("rope_theta")
    said = (f"{key} is {one.get(key)} in rope_scaling and {other.get(key)} in rope_parameters" for key in apart)
    return next(said, "")


def _ids(found: Any) -> tuple[int, ...] | None:
    return None if found is None else tuple(sorted(found)) if isinstance(found, list) else (found,)


def _late_windows(config: Config, variant: str | None) -> Mapping[str, Any]:
    """Qwen 2 and 3: nothing without use_sliding_window, then from layer max_window_layers on."""
    layers, window = config["num_hidden_layers"], config.get("sliding_window")
    # Qwen2.5-1M: chunks stretch it further at serving, the weights were trained for this length
    chunks = config.get("dual_chunk_attention_config") or {}
    trained = {"context": chunks["original_max_position_embeddings"]} if "original_max_position_embeddings" in chunks else {}
    if not config.get("use_sliding_window"):
        return {"windows": (None,) * layers, **trained}
    kinds, full = config.get("layer_types"), config["max_window_layers"]
    slides = [kind == "sliding_attention" for kind in kinds] if kinds else [layer >= full for layer in range(layers)]
    return {"windows": tuple(window if here else None for here in slides), **trained}


def _qwen3(config: Config, variant: str | None) -> Mapping[str, Any]:
    return {**_late_windows(config, variant), "head_norms": "rms"}


def _mistral(config: Config, variant: str | None) -> Mapping[str, Any]:
    return {"windows": (config.get("sliding_window"),) * config["num_hidden_layers"]}


def _chatglm(config: Config, variant: str | None) -> Mapping[str, Any]:
    grouped = config.get("multi_query_attention")
    return {
        "turned": config["kv_channels"] // 2,
        "kv": config["multi_query_group_num"] if grouped else config["num_attention_heads"],
        "rope": {"rope_theta": 10000.0 * config["rope_ratio"]},
    }


def _baichuan(config: Config, variant: str | None) -> Mapping[str, Any]:
    old = "BaiChuanForCausalLM" in (config.get("architectures") or ())
    positions = config.get("max_position_embeddings")
    guessed = "7b" if old else "2-7b" if positions else {64000: "13b", 125696: "2-13b"}.get(config["vocab_size"], "")
    name = variant or guessed
    if name.endswith("13b"):
        longest = config.get("model_max_length", 4096)
        return {"unit_head": name.startswith("2"), "positions": "alibi", "rope": {}, "turned": 0, "context": longest}
    return {"unit_head": name.startswith("2"), "rope": {"rope_theta": 10000.0}, "context": positions or 4096}


def _internlm(config: Config, variant: str | None) -> Mapping[str, Any]:
    rotary = config.get("rotary") or {}
    kept: dict[str, Any] = {"rope_theta": float(rotary.get("base", 10000))}
    if rotary.get("type") == "dynamic":
        factor = rotary.get("scaling_factor") or 1.0
        kept["rope_scaling"] = {"rope_type": "dynamic", "factor": factor}
    longest = config.get("max_position_embeddings")
    return {"kv": config["num_attention_heads"], "rope": {**kept, "max_position_embeddings": longest}}


def _minicpm(config: Config, variant: str | None) -> Mapping[str, Any]:
    return {
        "embedding_scale": float(config["scale_emb"]),
        "branch_scale": config["scale_depth"] / math.sqrt(config["num_hidden_layers"]),
        "logit_scale": config["dim_model_base"] / config["hidden_size"],
        "tied": config.get("tie_word_embeddings"),
    }


def _granite(config: Config, variant: str | None) -> Mapping[str, Any]:
    dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    return {
        "embedding_scale": float(config["embedding_multiplier"]),
        "branch_scale": float(config["residual_multiplier"]),
        "logit_scale": 1.0 / config["logits_scaling"],
        "scores": config["attention_multiplier"] * math.sqrt(dim),
    }


def _gemma(config: Config, variant: str | None) -> Mapping[str, Any]:
    return {"offset": 1.0, "embedding_scale": math.sqrt(config["hidden_size"]), "activation": "gelu_tanh"}


def _gemma2(config: Config, variant: str | None) -> Mapping[str, Any]:
    layers = config["num_hidden_layers"]
    dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    kinds = config.get("layer_types") or ["sliding_attention", "full_attention"] * layers
    act = config.get("hidden_activation") or "gelu_pytorch_tanh"
    window = config.get("sliding_window")
    return {
        **_gemma(config, variant),
        "activation": _SAME_ACTIVATION.get(act, act),
        "after_norms": True,
        "windows": tuple(window if kind == "sliding_attention" else None for kind in kinds[:layers]),
        "scores": math.sqrt(dim / config["query_pre_attn_scalar"]),
        "scores_cap": config.get("attn_logit_softcapping"),
        "logits_cap": config.get("final_logit_softcapping"),
    }


def _stablelm(config: Config, variant: str | None) -> Mapping[str, Any]:
    norms = "layer" if config.get("qk_layernorm") else None
    return {"norm": "layer", "head_norms": norms, "parallel": bool(config.get("use_parallel_residual"))}


def _meta(config: Config, variant: str | None) -> Mapping[str, Any]:
    """The width of the MLP is left to the tensors: `multiple_of` is a rule about it, not a statement."""
    if not config.get("use_scaled_rope"):
        return {}
    scaled = {"rope_type": "llama3", "factor": meta_factor(config, variant), "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    table = {**scaled, "original_max_position_embeddings": 8192}
    return {"rope": {"rope_theta": config.get("rope_theta") or 500000.0, "rope_scaling": table}}


#: what Meta published with `use_scaled_rope`, by width and layers: the factor that its code has (llama-models, sku_list)
META_SIZES = {(2048, 16): 32.0, (3072, 28): 32.0, (4096, 32): 8.0, (8192, 80): 8.0, (16384, 126): 8.0}


def meta_factor(config: Config, variant: str | None) -> float:
    """What Meta's code has for `use_scaled_rope`: 32 in Llama 3.2, and 8 in 3.1 and 3.3."""
    told = {"llama-3.1": 8.0, "llama-3.2": 32.0}.get(variant or "")
    return told or META_SIZES.get((config.get("dim", 0), config.get("n_layers", 0)), 8.0)


def _gpt2(config: Config, variant: str | None) -> Mapping[str, Any]:
    act = config.get("activation_function") or "gelu_new"
    return {**_LEARNED, "activation": _SAME_ACTIVATION.get(act, act)}


def _nanogpt(config: Config, variant: str | None) -> Mapping[str, Any]:
    return {**_LEARNED, "activation": "gelu"}


def _chatglm1(config: Config, variant: str | None) -> Mapping[str, Any]:
    return {**_LEARNED, "positions": "two streams", "activation": "gelu_tanh"}


def _qwen2_moe(config: Config, variant: str | None) -> Mapping[str, Any]:
    normalised = bool(config.get("norm_topk_prob"))
    chosen = (config.get("num_experts"), config.get("num_experts_per_tok"), normalised, 1.0, "softmax")
    return {**_late_windows(config, variant), "experts": chosen}


def _mixtral(config: Config, variant: str | None) -> Mapping[str, Any]:
    return {"experts": (config["num_local_experts"], config["num_experts_per_tok"], True, 1.0, "softmax")}


def _deepseek(config: Config, variant: str | None) -> Mapping[str, Any]:
    return {
        "dim": config["qk_nope_head_dim"] + config["qk_rope_head_dim"],
        "turned": config["qk_rope_head_dim"],
        "experts": tuple(
            config.get(key)
            for key in (
                "n_routed_experts", "num_experts_per_tok", "norm_topk_prob", "routed_scaling_factor", "scoring_func",
                "topk_method", "n_group", "topk_group", "first_k_dense_replace", "n_shared_experts",
            )
        ),
    }  # fmt: skip


def _llama4(config: Config, variant: str | None) -> Mapping[str, Any]:
    keys = ("num_local_experts", "num_experts_per_tok", "attention_chunk_size", "attn_scale", "floor_scale")
    norms = "rms" if config["use_qk_norm"] else None
    step, sparse = config["interleave_moe_layer_step"], config.get("moe_layers")
    layers = range(step - 1, config["num_hidden_layers"], step) if sparse is None else sparse
    return {"head_norms": norms, "experts": (*(config.get(key) for key in keys), tuple(layers))}


_LATE = Spelling(more=_late_windows)
_BY_HEAD = {"head_dim": None}  # head_dim is hidden / heads, whatever a key says
_QWEN = {**_BY_HEAD, "hidden_act": "silu", "num_key_value_heads": None, "rope_scaling": None, "rope_parameters": None}
_SPELLINGS: dict[str, Spelling] = {
    "llama": Spelling(fixed={"sliding_window": None, "partial_rotary_factor": 1.0}),
    "aquila": Spelling(fixed={**_BY_HEAD, "sliding_window": None}),
    "Yi": Spelling(fixed=_BY_HEAD),
    "baichuan": Spelling(fixed={**_BY_HEAD, "num_key_value_heads": None, "rope_theta": 10000.0}, more=_baichuan),
    "internlm": Spelling(fixed=_BY_HEAD, more=_internlm),
    "internlm2": Spelling(fixed=_BY_HEAD),
    "mistral": Spelling(more=_mistral),
    "mixtral": Spelling(more=_mixtral),
    "phi3": Spelling(fixed=_BY_HEAD),
    "qwen2": _LATE,
    "qwen2_vl": _LATE,
    "qwen2_5_vl": _LATE,
    "qwen2_moe": Spelling(more=_qwen2_moe),
    "qwen3": Spelling(more=_qwen3),
    "stablelm": Spelling(names={"rms_norm_eps": "layer_norm_eps"}, more=_stablelm),
    "qwen": Spelling(
        names={
            "rms_norm_eps": "layer_norm_epsilon", "rope_theta": "rotary_emb_base",
            "max_position_embeddings": "seq_length", "partial_rotary_factor": "rotary_pct",
        },
        fixed=_QWEN,
        more=lambda config, variant: {"ffn": config["intermediate_size"] // 2},
    ),
    "qwen-first": Spelling(
        names={
            "num_hidden_layers": "n_layer", "hidden_size": "n_embd", "num_attention_heads": "n_head",
            "vocab_size": "padded_vocab_size", "rms_norm_eps": "layer_norm_epsilon", "rope_theta": "rotary_emb_base",
            "max_position_embeddings": "seq_length", "partial_rotary_factor": "rotary_pct",
        },
        fixed=_QWEN,
        more=lambda config, variant: {"ffn": config["ffn_hidden_size"] // 2},
    ),
    "chatglm": Spelling(
        names={
            "rms_norm_eps": "layernorm_epsilon", "num_hidden_layers": "num_layers", "head_dim": "kv_channels",
            "vocab_size": "padded_vocab_size", "intermediate_size": "ffn_hidden_size",
            "max_position_embeddings": "seq_length",
        },
        fixed={"hidden_act": "silu"}, more=_chatglm,
    ),
    "chatglm1": Spelling(
        names={
            "rms_norm_eps": "layernorm_epsilon", "num_hidden_layers": "num_layers",
            "intermediate_size": "inner_hidden_size", "max_position_embeddings": "max_sequence_length",
        },
        more=_chatglm1,
    ),
    "glm": Spelling(),
    "minicpm": Spelling(fixed=_BY_HEAD, more=_minicpm),
    "granite": Spelling(more=_granite),
    "gemma": Spelling(more=_gemma),
    "gemma2": Spelling(more=_gemma2),
    "meta": Spelling(
        names={
            "num_hidden_layers": "n_layers", "hidden_size": "dim", "num_attention_heads": "n_heads",
            "num_key_value_heads": "n_kv_heads", "rms_norm_eps": "norm_eps",
        },
        fixed={
            "max_position_embeddings": None, "hidden_act": "silu", "intermediate_size": None, "tie_word_embeddings": None,
        },
        more=_meta,
    ),
    "gpt2": Spelling(
        names={
            "num_hidden_layers": "n_layer", "hidden_size": "n_embd", "num_attention_heads": "n_head",
            "rms_norm_eps": "layer_norm_epsilon", "max_position_embeddings": "n_positions",
            "intermediate_size": "n_inner",
        },
        more=_gpt2,
    ),
    "nanogpt": Spelling(
        names={
            "num_hidden_layers": "n_layer", "hidden_size": "n_embd", "num_attention_heads": "n_head",
            "max_position_embeddings": "block_size",
        },
        fixed={"rms_norm_eps": 1e-5, "tie_word_embeddings": True}, more=_nanogpt, within="model_args",
    ),
    "deepseek_v2": Spelling(more=_deepseek),
    "deepseek_v3": Spelling(more=_deepseek),
    "llama4": Spelling(more=_llama4),
}  # fmt: skip
_SPELLINGS["chatglm-per-head"] = _SPELLINGS["chatglm"]
_SPELLINGS["llama4_text"] = _SPELLINGS["llama4"]
