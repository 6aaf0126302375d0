"""Mistakes that a converter can make, as edits of a finished output: its tensors by name, and its config.

Every edit works on a copy, and returns None where an output has nothing of the kind. Names are found by their endings, so
that one list serves every family.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Tensors = dict[str, Tensor]
Config = dict[str, Any]
Edit = Callable[[Tensors, Config], bool]

LAYER = 1  # the middle one of three: neither first nor last, and a sample of three has it

Q, K, V = ("q_proj", "wq"), ("k_proj", "wk"), ("v_proj", "wv")
OUT = ("o_proj", "attention.wo", "attn.c_proj", "self_attention.dense")
GATE, UP = ("gate_proj", "feed_forward.w1", "mlp.w2"), ("up_proj", "feed_forward.w3", "mlp.w1")
DOWN = ("down_proj", "feed_forward.w2", "mlp.c_proj", "dense_4h_to_h", "wo")
FUSED = ("W_pack", "qkv_proj", "query_key_value", "c_attn", "wqkv")
FUSED_MLP = ("gate_up_proj", "dense_h_to_4h")
BEFORE = ("input_layernorm", "ln1", "ln_1", "attention_norm")
BETWEEN = ("post_attention_layernorm", "ln2", "ln_2", "ffn_norm", "pre_feedforward_layernorm")
EMBED = ("embed_tokens", "tok_embeddings", "wte", "word_embeddings")
HEAD = ("lm_head", "output", "output_layer")
FINAL = ("model.norm", "ln_f", "final_layernorm", "transformer.norm")


def named(tensors: Tensors, endings: tuple[str, ...], kind: str = "weight", layer: int | None = LAYER) -> str | None:
    """The name of the tensor with one of these endings, in a layer or (None) outside all of them."""
    wanted = tuple(f"{end}.{kind}" for end in endings)
    inside = f"layers.{layer}.", f"h.{layer}."
    for name in sorted(tensors):
        here = any(part in f".{name}" for part in inside) if layer is not None else not _in_layer(name)
        if here and ".experts." not in name and f".{name}".endswith(tuple(f".{end}" for end in wanted)):
            return name
    return None


def _in_layer(name: str) -> bool:
    return any(part.isdigit() for part in name.split("."))


def exchanged(one: tuple[str, ...], other: tuple[str, ...]) -> Edit:
    """Two tensors of the middle layer under each other's names, with their biases."""

    def edit(tensors: Tensors, config: Config) -> bool:
        done = False
        for kind in ("weight", "bias"):
            a, b = named(tensors, one, kind), named(tensors, other, kind)
            if a and b and tensors[a].shape == tensors[b].shape:
                tensors[a], tensors[b] = tensors[b], tensors[a]
                done = True
        return done

    return edit


def halves(endings: tuple[str, ...]) -> Edit:
    """The two halves of a fused matrix in the wrong order."""

    def edit(tensors: Tensors, config: Config) -> bool:
        name = named(tensors, endings)
        if name is None:
            return False
        tensors[name] = torch.cat(tensors[name].chunk(2)[::-1])
        return True

    return edit


def changed(
    endings: tuple[str, ...],
    how: Callable[[Tensor, Config], Tensor | None],
    kind: str = "weight",
    layer: int | None = LAYER,
) -> Edit:
    """One tensor made from itself; None where `how` does not apply to it."""

    def edit(tensors: Tensors, config: Config) -> bool:
        name = named(tensors, endings, kind, layer)
        made = how(tensors[name].clone(), config) if name else None
        if made is None or name is None:
            return False
        tensors[name] = made.contiguous()
        return True

    return edit


def both(*edits: Edit) -> Edit:
    def edit(tensors: Tensors, config: Config) -> bool:
        done = [each(tensors, config) for each in edits]
        return all(done)

    return edit


def dim_of(config: Config) -> int:
    heads = config.get("num_attention_heads") or config.get("n_head")
    hidden = config.get("hidden_size") or config.get("n_embd")
    return config.get("head_dim") or config.get("kv_channels") or hidden // heads


def interleaved(matrix: Tensor, config: Config) -> Tensor | None:
    """The rows of every head taken for adjacent pairs instead of halves."""
    dim = dim_of(config)
    if matrix.shape[0] % dim:
        return None
    return matrix.unflatten(0, (-1, 2, dim // 2)).transpose(1, 2).flatten(0, 2)


def rolled(matrix: Tensor, config: Config) -> Tensor | None:
    """A fused matrix split in the wrong place: every boundary one head early."""
    return matrix.roll(-dim_of(config), 0)


def regrouped(matrix: Tensor, config: Config) -> Tensor | None:
    """Query heads by group instead of by key head."""
    heads, kv = config.get("num_attention_heads"), config.get("num_key_value_heads")
    if not heads or not kv or kv in (1, heads):
        return None
    return matrix.unflatten(0, (kv, heads // kv, -1)).transpose(0, 1).flatten(0, 2)


def two_rows(matrix: Tensor, config: Config) -> Tensor:
    order = list(range(matrix.shape[0]))
    order[5], order[6] = 6, 5
    return matrix[order]


def one_ulp(matrix: Tensor, config: Config) -> Tensor:
    """One element of ordinary size one step of bfloat16 further from zero."""
    flat = matrix.reshape(-1)
    at = int((flat.abs().float() - flat.abs().float().median()).abs().argmin())
    flat[at] *= 1 + 2.0**-7
    return matrix


def turned(matrix: Tensor, config: Config) -> Tensor | None:
    return matrix.T if matrix.shape[0] == matrix.shape[1] else None


def overflowed(matrix: Tensor, config: Config) -> Tensor:
    """What float16 makes of a value beyond 65504."""
    matrix[3, 3] = float("inf")
    return matrix


def times(factor: float) -> Callable[[Tensor, Config], Tensor]:
    return lambda matrix, config: (matrix.float() * factor).to(matrix.dtype)


def plus(amount: float) -> Callable[[Tensor, Config], Tensor]:
    return lambda matrix, config: (matrix.float() + amount).to(matrix.dtype)


def none_left(tensor: Tensor, config: Config) -> Tensor | None:
    return torch.zeros_like(tensor) if tensor.abs().max() > 0 else None


def unit_rows(matrix: Tensor, config: Config) -> Tensor:
    return torch.nn.functional.normalize(matrix.float()).to(matrix.dtype)


def next_layer(tensors: Tensors, config: Config) -> bool:
    """Every layer's tensors one layer on, the last ones first."""
    count = config.get("num_hidden_layers") or config.get("num_layers") or config.get("n_layer") or 0
    moved = {}
    for name, tensor in tensors.items():
        parts = name.split(".")
        at = next((i for i, part in enumerate(parts) if part.isdigit()), None)
        if at is not None:
            parts[at] = str((int(parts[at]) + 1) % count)
        moved[".".join(parts)] = tensor
    if moved.keys() != tensors.keys():
        return False
    tensors.update(moved)
    return True


def stale_head(tensors: Tensors, config: Config) -> bool:
    """A tie that is claimed while another head is stored."""
    head, embed = named(tensors, HEAD, layer=None), named(tensors, EMBED, layer=None)
    if head is None and embed is not None and "lm_head" not in str(tensors.keys()):
        tensors["lm_head.weight"] = tensors[embed].roll(1, 0)
        return bool(config.get("tie_word_embeddings"))
    if "tie_word_embeddings" not in config or config["tie_word_embeddings"]:
        return False
    config["tie_word_embeddings"] = True
    return True


def exchanged_experts(tensors: Tensors, config: Config) -> bool:
    """Two experts under each other's numbers, the router as it was."""
    one = [name for name in tensors if f".{LAYER}." in name and ".experts.0." in name]
    for name in one:
        other = name.replace(".experts.0.", ".experts.1.")
        tensors[name], tensors[other] = tensors[other], tensors[name]
    return bool(one)


def said(*keys: str, of: Callable[[Any], Any]) -> Edit:
    """One constant of the config changed, wherever it is written."""

    def edit(tensors: Tensors, config: Config) -> bool:
        done = False
        for table in (config, config.get("rope_parameters"), config.get("text_config")):
            for key in keys:
                if isinstance(table, dict) and table.get(key) is not None and table[key] != of(table[key]):
                    table[key] = of(table[key])
                    done = True
        return done

    return edit


def unscaled(tensors: Tensors, config: Config) -> bool:
    """The scaling of the rotation forgotten."""
    tables = (config.get("rope_scaling"), config.get("rope_parameters"))
    found = [table for table in tables if table and table.get("rope_type", table.get("type", "default")) != "default"]
    if not found:
        return False
    config["rope_scaling"] = None
    if config.get("rope_parameters"):
        theta = config["rope_parameters"].get("rope_theta", 10000.0)
        config["rope_parameters"] = {"rope_type": "default", "rope_theta": theta}
    return True


def noisy_behind_a_stray(tensors: Tensors, config: Config) -> bool:
    """Noise on every matrix, and a narrow tensor that nothing reads."""
    random = torch.Generator().manual_seed(9)
    wide = [name for name, tensor in tensors.items() if tensor.dim() == 2 and tensor.dtype == torch.float32]
    for name in wide:
        tensors[name] = tensors[name] * (1 + 1e-3 * torch.randn(tensors[name].shape, generator=random))
    tensors["stray.weight"] = torch.ones(4, dtype=torch.bfloat16)
    return bool(wide)


def rows_of_both(how: Callable[[Tensor], Tensor]) -> Edit:
    """The embeddings and the head with other rows, and a config that says so."""

    def edit(tensors: Tensors, config: Config) -> bool:
        found = [name for endings in (EMBED, HEAD) if (name := named(tensors, endings, layer=None))]
        rows = len(tensors[found[0]]) if found else None
        keys = [key for key in ("vocab_size", "padded_vocab_size") if config.get(key) == rows]
        if rows is None or not keys or "text_config" in config:
            return False
        for name in found:
            tensors[name] = how(tensors[name]).contiguous()
        config.update(dict.fromkeys(keys, len(tensors[found[0]])))
        return True

    return edit


def scaled_beside(tensors: Tensors, config: Config) -> bool:
    """An older table of the rotation beside the newer one, which says otherwise."""
    theta = (config.get("rope_parameters") or {}).get("rope_theta", config.get("rope_theta"))
    if theta is None or config.get("rope_scaling") or "text_config" in config:
        return False
    config["rope_parameters"] = {**(config.get("rope_parameters") or {"rope_type": "default"}), "rope_theta": theta}
    config["rope_scaling"] = {"rope_type": "linear", "type": "linear", "factor": 2.0, "rope_theta": theta}
    return True


def told(key: str, value: Any, *, instead: bool = False) -> Edit:
    """A key of the config that says what the weights are not; ``instead`` of one that is there."""

    def edit(tensors: Tensors, config: Config) -> bool:
        if instead and not config.get(key):
            return False
        config[key] = value
        return True

    return edit


ACTIVATIONS = ("hidden_act", "hidden_activation", "activation_function")
EPS = ("rms_norm_eps", "layer_norm_epsilon", "layer_norm_eps", "layernorm_epsilon")
THETA = ("rope_theta", "rotary_emb_base")
OTHER = {"silu": "gelu", "gelu_pytorch_tanh": "gelu", "gelu_new": "gelu", "gelu": "gelu_pytorch_tanh"}

EDITS: dict[str, Edit] = {
    "q and k exchanged": exchanged(Q, K),
    "k and v exchanged": exchanged(K, V),
    "gate and up exchanged": exchanged(GATE, UP),
    "gate and up exchanged in one tensor": halves(FUSED_MLP),
    "two norms exchanged": exchanged(BEFORE, BETWEEN),
    "rotation interleaved on q": changed(Q, interleaved),
    "rotation interleaved on k": changed(K, interleaved),
    "rotation interleaved on q and k": both(changed(Q, interleaved), changed(K, interleaved)),
    "fused tensor split one head early": changed(FUSED, rolled),
    "query heads in another order": changed(Q, regrouped),
    "q bias dropped": changed(Q, none_left, "bias"),
    "k bias dropped": changed(K, none_left, "bias"),
    "v bias dropped": changed(V, none_left, "bias"),
    "o bias dropped": changed(OUT, none_left, "bias"),
    "fused bias dropped": changed(FUSED, none_left, "bias"),
    "norm bias dropped": changed(BEFORE, none_left, "bias"),
    "layers shifted by one": next_layer,
    "theta 1 % off": said(*THETA, of=lambda theta: theta * 1.01),
    "theta 1e-4 off": said(*THETA, of=lambda theta: theta * 1.0001),
    "scaling of the rotation forgotten": unscaled,
    "eps ten times": said(*EPS, of=lambda eps: eps * 10),
    "eps 1 % off": said(*EPS, of=lambda eps: eps * 1.01),
    "another activation": said(*ACTIVATIONS, of=lambda name: OTHER.get(name, "relu")),
    "embedding scale 1 % off": changed(EMBED, times(1.01), layer=None),
    "branch scale 1 % off": changed(OUT, times(1.01)),
    "logit scale 1 % off": changed(FINAL, times(1.01), layer=None),
    "scale constants of the config 1 % off": said("scale_emb", "scale_depth", of=lambda scale: scale * 1.01),
    "norm offset forgotten": changed(BEFORE, plus(-1.0)),
    "head normalised that should not be": changed(HEAD, unit_rows, layer=None),
    "two rows of q exchanged": changed((*Q, *FUSED), two_rows),
    "two rows of the embedding exchanged": changed(EMBED, two_rows, layer=None),
    "two rows of the head exchanged": changed(HEAD, two_rows, layer=None),
    "two rows of down exchanged": changed(DOWN, two_rows),
    "one bf16 ulp in q": changed((*Q, *FUSED), one_ulp),
    "one bf16 ulp in down": changed(DOWN, one_ulp),
    "one bf16 ulp in the head": changed(HEAD, one_ulp, layer=None),
    "o transposed": changed(OUT, turned),
    "q transposed": changed(Q, turned),
    "stale head": stale_head,
    "float16 overflow": changed(DOWN, overflowed),
    "two experts exchanged": exchanged_experts,
    "window doubled": said("sliding_window", of=lambda window: window * 2),
    "noise behind a stray narrow tensor": noisy_behind_a_stray,
    "vocabulary cut to 100": rows_of_both(lambda rows: rows[:100]),
    "further rows that win": rows_of_both(lambda rows: torch.cat((rows, 50 * rows[5:13]))),
    "rotation said twice": scaled_beside,
    "end of text elsewhere": told("eos_token_id", 77, instead=True),
    "context halved": said("max_position_embeddings", "seq_length", of=lambda length: length // 2),
    "plain weights called quantised": told("quantization_config", {"quant_method": "bitsandbytes", "load_in_4bit": True}),
    "another class": told("architectures", ["LlamaForSequenceClassification"], instead=True),
    "element type of eight bits": told("dtype", "float8_e4m3fn"),
    "cap on scores 1 % off": said("attn_logit_softcapping", of=lambda cap: cap * 1.01),
}


@dataclass(frozen=True)
class Mutant:
    """An output with one mistake in it."""

    name: str
    tensors: Tensors
    config: Config


def mutants(tensors: Tensors, config: Config) -> Iterator[Mutant]:
    """Every mistake that applies to an output."""
    for name, edit in EDITS.items():
        copied, said_ = dict(tensors), copy.deepcopy(config)
        if edit(copied, said_):
            yield Mutant(name, copied, said_)


def turned_stream(
    tensors: Tensors, hidden: int, turn: Callable[[Tensor], Tensor], norms: Callable[[Tensor], Tensor]
) -> Tensors:
    """Every tensor as a stream that `turn` changes (along the last axis) wants it, and the norms' weights by `norms`."""
    made = {}
    weights_of_norms = tuple(f"{end}.weight" for end in (*BEFORE, *BETWEEN, *FINAL))
    for name, tensor in tensors.items():
        written = name.removesuffix(".weight").removesuffix(".bias").endswith((*OUT, *DOWN))
        if written:
            made[name] = turn(tensor.t()).t().contiguous()  # of a bias too, which is its own transpose
        elif tensor.dim() == 2 and tensor.shape[1] == hidden:
            made[name] = turn(tensor).contiguous()
        elif tensor.dim() == 1 and len(tensor) == hidden and name.endswith(weights_of_norms):
            made[name] = norms(tensor)
        else:
            made[name] = tensor
    return made


def same_function(tensors: Tensors, config: Config) -> Iterator[Mutant]:
    """Outputs that are made of other bytes and compute the same: no alarm may be raised."""
    gate, up, down = (named(tensors, part) for part in (GATE, UP, DOWN))
    if gate and up and down and tensors[gate].shape[0] == tensors[down].shape[1]:
        order = torch.randperm(tensors[gate].shape[0], generator=torch.Generator().manual_seed(1))
        rows = {name: tensors[name][order] for name in (gate, up)}
        permuted = tensors | rows | {down: tensors[down][:, order].contiguous()}
        yield Mutant("MLP units permuted", permuted, config)
    q, k, v, o = (named(tensors, part) for part in (Q, K, V, OUT))
    heads, kv = config.get("num_attention_heads"), config.get("num_key_value_heads") or config.get("num_attention_heads")
    biased = any(named(tensors, part, "bias") for part in (Q, K, V, OUT))
    if q and k and v and o and heads and kv > 1 and not biased:
        heads_ = [tensors[name].unflatten(0, (kv, -1)).flip(0).flatten(0, 1).contiguous() for name in (q, k, v)]
        out = tensors[o].unflatten(1, (kv, -1)).flip(1).flatten(1, 2).contiguous()
        permuted = tensors | dict(zip((q, k, v, o), (*heads_, out), strict=True))
        yield Mutant("key heads permuted with their queries", permuted, config)
    if config.get("model_type") in GAUGED:
        random = torch.Generator().manual_seed(3)
        hidden = config["hidden_size"]
        order, signs = torch.randperm(hidden, generator=random), torch.ones(hidden)
        signs[: hidden // 2] = -1.0
        renamed = turned_stream(tensors, hidden, lambda x: (x * signs.to(x))[..., order], lambda norm: norm[order])
        yield Mutant("dimensions of the stream renamed, signs changed", renamed, config)
    eps = next((key for key in EPS if key in config), None)
    embed = named(tensors, EMBED, layer=None)
    plain = not {"scale_emb", "use_qk_norm"} & config.keys() and config.get("model_type") in GAUGED
    if eps and embed and plain and not config.get("tie_word_embeddings"):
        written = [name for name in tensors if name.endswith(tuple(f"{end}.weight" for end in (*OUT, *DOWN)))]
        written += [name for name in tensors if name.endswith(tuple(f"{end}.bias" for end in (*OUT, *DOWN)))]
        gauged = tensors | {name: tensors[name] * 0.25 for name in (embed, *written)}
        yield Mutant("residual stream in another gauge", gauged, {**config, eps: config[eps] / 16})
    if any(".experts.0." in name for name in tensors):
        router = next((n for n in tensors if f".{LAYER}." in n and n.endswith((".gate.weight", "router.weight"))), None)
        swapped = dict(tensors)
        if router and exchanged_experts(swapped, config) and not any("e_score" in name for name in tensors):
            swapped[router] = tensors[router][[1, 0, *range(2, tensors[router].shape[0])]]
            yield Mutant("experts renumbered with their router", swapped, config)


#: where the stream may be scaled: RMS norms without offset read it, and nothing else does
GAUGED = ("llama", "mistral", "qwen2", "phi3", "Yi", "internlm2", "aquila", "qwen", "glm")
