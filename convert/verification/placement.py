"""Where each element of a model lies in a family's files: small formulas over row and column numbers.

The second entry of the layouts. An element is named by Llama's own numbering (its matrix, row and column); a family's
formula says in which of its tensors, rows and columns that element is. Plain arithmetic, from the published code, so
that nothing is shared with the notation that moves the bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from convert.verification.meaning import Meaning

Place = tuple[str, int, int]  # tensor (with {layer} open), row, column


@dataclass(frozen=True)
class Shape:
    """The numbers that formulas need."""

    heads: int
    kv: int
    dim: int
    turned: int  # rotated dimensions of a head, in pairs
    ffn: int
    hidden: int

    @classmethod
    def of(cls, m: Meaning, ffn: int) -> Shape:
        return cls(m.heads, m.kv, m.dim, m.turned + m.turned % 2, ffn, m.hidden)


L = "model.layers.{layer}."
_LLAMA = {
    "embed": "model.embed_tokens.weight",
    "head": "lm_head.weight",
    "norm": "model.norm.weight",
    "norm.before": L + "input_layernorm.weight",
    "norm.between": L + "post_attention_layernorm.weight",
    "q": L + "self_attn.q_proj.weight",
    "k": L + "self_attn.k_proj.weight",
    "v": L + "self_attn.v_proj.weight",
    "o": L + "self_attn.o_proj.weight",
    "gate": L + "mlp.gate_proj.weight",
    "up": L + "mlp.up_proj.weight",
    "down": L + "mlp.down_proj.weight",
}
#: the roles that exist once per layer
LAYERED = tuple(role for role, name in _LLAMA.items() if "{layer}" in name)
_PACKED = ("q", "k", "v")


@dataclass(frozen=True)
class Formula:
    """A family's names, and which row of the named tensor a row of Llama's is. Columns are the same everywhere."""

    names: Mapping[str, str] = field(default_factory=dict)
    row: Callable[[Shape, str, int], int] = lambda shape, role, row: row
    ranked: Mapping[str, int] = field(default_factory=dict)  # Meta: role -> file axis that ranks divide; absent: copies

    def place(self, shape: Shape, role: str, row: int, column: int) -> Place:
        """Where Llama's element (role, row, column) is. Biases and norms are columns of width one."""
        weight, bias = role.removesuffix(".bias"), role.endswith(".bias")
        name = self.names.get(weight, _LLAMA[weight])
        name = name.removesuffix(".weight") + ".bias" if bias else name
        return name, self.row(shape, weight, row), column


def _turned(shape: Shape, row: int, interleaved: bool) -> int:
    """A row of q or k whose head is stored as [rotated, still]: half-split or in adjacent pairs."""
    head, d = divmod(row, shape.dim)
    second, pair = divmod(d, shape.dim // 2)
    turning, still = shape.turned // 2, (shape.dim - shape.turned) // 2
    if pair < turning:
        inside = 2 * pair + second if interleaved else second * turning + pair
    else:
        inside = shape.turned + second * still + pair - turning
    return head * shape.dim + inside


def _partial(shape: Shape, role: str, row: int) -> int:
    return _turned(shape, row, interleaved=False) if role in ("q", "k") else row


def _pairs(shape: Shape, role: str, row: int) -> int:
    return _turned(shape, row, interleaved=True) if role in ("q", "k") else row


def _stacked(shape: Shape, role: str, row: int) -> int:
    """q, then k, then v; gate, then up."""
    wide, narrow = shape.heads * shape.dim, shape.kv * shape.dim
    return row + {"k": wide, "v": wide + narrow, "up": shape.ffn}.get(role, 0)


def _phi3(shape: Shape, role: str, row: int) -> int:
    return _stacked(shape, role, _partial(shape, role, row))


def _chatglm(shape: Shape, role: str, row: int) -> int:
    return _stacked(shape, role, _pairs(shape, role, row))


def _chatglm_per_head(shape: Shape, role: str, row: int) -> int:
    """For every head: its query, its key, its value."""
    if role not in _PACKED:
        return _stacked(shape, role, row)
    head, d = divmod(_pairs(shape, role, row), shape.dim)
    return (3 * head + _PACKED.index(role)) * shape.dim + d


def _qwen(shape: Shape, role: str, row: int) -> int:
    return _stacked(shape, role, _partial(shape, role, row)) if role in _PACKED else row


def _baichuan(shape: Shape, role: str, row: int) -> int:
    return _stacked(shape, role, row) if role in _PACKED else row


def _glm(shape: Shape, role: str, row: int) -> int:
    return _stacked(shape, role, row) if role in ("gate", "up") else _pairs(shape, role, row)


def _internlm2(shape: Shape, role: str, row: int) -> int:
    """For every key head: its queries, itself, its values."""
    group = shape.heads // shape.kv
    head, d = divmod(row, shape.dim)
    if role == "q":
        return (head // group * (group + 2) + head % group) * shape.dim + d
    return (head * (group + 2) + group + (role == "v")) * shape.dim + d if role in _PACKED else row


_QWEN = "transformer.h.{layer}."
_GLM = "transformer.encoder.layers.{layer}."
_META = "layers.{layer}."
_PLAIN = Formula()
FORMULAS: dict[str, Formula] = {
    **dict.fromkeys(("llama", "aquila", "internlm", "mistral", "minicpm", "granite", "gemma", "qwen2"), _PLAIN),
    **dict.fromkeys(("qwen2_vl", "qwen2_5_vl"), _PLAIN),
    "Yi": Formula({"norm.before": L + "ln1.weight", "norm.between": L + "ln2.weight"}),
    "baichuan": Formula(dict.fromkeys(_PACKED, L + "self_attn.W_pack.weight"), _baichuan),
    "stablelm": Formula({}, _partial),
    "phi3": Formula(
        {
            **dict.fromkeys(_PACKED, L + "self_attn.qkv_proj.weight"),
            **dict.fromkeys(("gate", "up"), L + "mlp.gate_up_proj.weight"),
        },
        _phi3,
    ),
    "glm": Formula(dict.fromkeys(("gate", "up"), L + "mlp.gate_up_proj.weight"), _glm),
    "qwen": Formula(
        {
            "embed": "transformer.wte.weight", "norm": "transformer.ln_f.weight", "norm.before": _QWEN + "ln_1.weight",
            "norm.between": _QWEN + "ln_2.weight", "o": _QWEN + "attn.c_proj.weight", "gate": _QWEN + "mlp.w2.weight",
            "up": _QWEN + "mlp.w1.weight", "down": _QWEN + "mlp.c_proj.weight",
            **dict.fromkeys(_PACKED, _QWEN + "attn.c_attn.weight"),
        },
        _qwen,
    ),
    "internlm2": Formula(
        {
            "embed": "model.tok_embeddings.weight", "head": "output.weight", "norm.before": L + "attention_norm.weight",
            "norm.between": L + "ffn_norm.weight", "o": L + "attention.wo.weight", "gate": L + "feed_forward.w1.weight",
            "up": L + "feed_forward.w3.weight", "down": L + "feed_forward.w2.weight",
            **dict.fromkeys(_PACKED, L + "attention.wqkv.weight"),
        },
        _internlm2,
    ),
    "chatglm": Formula(
        {
            "embed": "transformer.embedding.word_embeddings.weight", "head": "transformer.output_layer.weight",
            "norm": "transformer.encoder.final_layernorm.weight", "norm.before": _GLM + "input_layernorm.weight",
            "norm.between": _GLM + "post_attention_layernorm.weight", "o": _GLM + "self_attention.dense.weight",
            "down": _GLM + "mlp.dense_4h_to_h.weight",
            **dict.fromkeys(("gate", "up"), _GLM + "mlp.dense_h_to_4h.weight"),
            **dict.fromkeys(_PACKED, _GLM + "self_attention.query_key_value.weight"),
        },
        _chatglm,
    ),
    "meta": Formula(
        {
            "embed": "tok_embeddings.weight", "head": "output.weight", "norm": "norm.weight",
            "norm.before": _META + "attention_norm.weight", "norm.between": _META + "ffn_norm.weight",
            "q": _META + "attention.wq.weight", "k": _META + "attention.wk.weight", "v": _META + "attention.wv.weight",
            "o": _META + "attention.wo.weight", "gate": _META + "feed_forward.w1.weight",
            "up": _META + "feed_forward.w3.weight", "down": _META + "feed_forward.w2.weight",
        },
        _pairs,
        ranked={"embed": 1, "head": 0, "q": 0, "k": 0, "v": 0, "o": 1, "gate": 0, "up": 0, "down": 1},
    ),
}  # fmt: skip
FORMULAS["qwen-first"] = FORMULAS["qwen"]
FORMULAS["chatglm-per-head"] = replace(FORMULAS["chatglm"], row=_chatglm_per_head)


def nested(formula: Formula, prefix: str) -> Formula:
    """The formula where ``model.`` is called otherwise, as in models that hold a vision tower beside."""
    names = {role: prefix + name.removeprefix("model.") for role, name in _LLAMA.items() if name.startswith("model.")}
    return replace(formula, names={**names, **formula.names})
