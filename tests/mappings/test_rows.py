"""Rows: generated names and shapes, coverage, sizes from shapes, and every refusal."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from mappings import families
from mappings.config import read_facts
from mappings.rows import decode, encode, rows_of
from surgery.errors import ConversionError
from surgery.layout import row_major
from tests.mappings.test_config import BASE

BY_LABEL = {f.label: f for f in families()}


@dataclass(frozen=True)
class Header:
    name: str
    shape: tuple[int, ...]
    dtype: str = "F32"

    @property
    def strides(self) -> tuple[int, ...]:
        return row_major(self.shape)


#: written out by hand: what a two-layer Baichuan of hidden 64, ffn 172, vocab 257 stores
BAICHUAN = {
    "model.embed_tokens.weight": (257, 64),
    "model.norm.weight": (64,),
    "lm_head.weight": (257, 64),
    **{
        f"model.layers.{i}.{name}": shape
        for i in range(2)
        for name, shape in {
            "input_layernorm.weight": (64,),
            "self_attn.W_pack.weight": (192, 64),
            "self_attn.o_proj.weight": (64, 64),
            "post_attention_layernorm.weight": (64,),
            "mlp.gate_proj.weight": (172, 64),
            "mlp.up_proj.weight": (172, 64),
            "mlp.down_proj.weight": (64, 172),
        }.items()
    },
}
CONFIG = {**BASE, "architectures": ["BaiChuanForCausalLM"], "model_type": "baichuan"}
FAMILY = BY_LABEL["baichuan-7b"]


def headers(**changes):
    shapes = {**BAICHUAN, **changes}
    return {name: Header(name, shape) for name, shape in shapes.items() if shape is not None}


def model(**changes):
    return decode(FAMILY, read_facts(FAMILY, CONFIG), headers(**changes)).model


def test_llama_names_and_shapes_are_generated_from_the_same_model():
    written = {t.name: t.shape for t in encode(BY_LABEL["llama"], model())}
    assert written["model.layers.1.self_attn.q_proj.weight"] == (64, 64)
    assert written["model.layers.0.mlp.down_proj.weight"] == (64, 172)
    assert written["lm_head.weight"] == (257, 64)
    assert len(written) == 3 + 2 * 9


def test_biases_get_rows_of_their_own_with_the_layout_of_the_weight():
    internlm2 = BY_LABEL["internlm2"]
    facts = read_facts(
        internlm2, {**BASE, "architectures": ["InternLM2ForCausalLM"], "model_type": "internlm2", "bias": True}
    )
    biases = {
        r.name.rpartition("attention.")[2]: r.layout for r in rows_of(internlm2, facts) if r.name.endswith(".bias")
    }
    assert biases == {"wqkv.bias": "(kv ((group two pair) + (two pair) + head))", "wo.bias": "hidden"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lm_head.weight": None}, ["1 missing", "lm_head.weight"]),
        ({"model.layers.0.mlp.gate.weight": (3,)}, ["1 unexpected", "mlp.gate.weight"]),
        ({"model.layers.0.mlp.down_proj.weight": (172, 64)}, ["172 x 64", "64 x 172", "hidden ffn"]),
        ({"model.layers.1.mlp.up_pr\u043ej.weight": (172, 64)}, ["U+043E"]),
        ({"model.layers.3.input_layernorm.weight": (64,)}, ["layer 2", "layer 3"]),
    ],
)
def test_tensors_that_do_not_fit_are_named_with_what_was_expected(changes, words):
    with pytest.raises(ConversionError) as refused:
        model(**changes)
    assert all(word in str(refused.value) for word in words), str(refused.value)


def test_everything_that_does_not_fit_is_said_at_once():
    with pytest.raises(ConversionError, match=r"1 missing.*1 unexpected.*1 of the wrong shape"):
        model(**{"lm_head.weight": None, "head.weight": (257, 64), "model.norm.weight": (65,)})


def test_the_config_may_not_promise_other_layers_than_are_there():
    with pytest.raises(ConversionError, match="num_hidden_layers is 1000000, and no model has more than 10,000 layers"):
        decode(FAMILY, read_facts(FAMILY, {**CONFIG, "num_hidden_layers": 10**6}), headers())


def test_integers_are_no_weights():
    found = headers()
    found["lm_head.weight"] = replace(found["lm_head.weight"], dtype="I8")
    with pytest.raises(ConversionError, match="dtype I8"):
        decode(FAMILY, read_facts(FAMILY, CONFIG), found)


def test_buffers_are_left_with_the_reason():
    decoded = decode(
        FAMILY, read_facts(FAMILY, CONFIG), headers(**{"model.layers.0.self_attn.rotary_emb.inv_freq": (8,)})
    )
    assert decoded.left == {"model.layers.0.self_attn.rotary_emb.inv_freq": "recomputed from rope_theta"}


def test_a_tied_checkpoint_that_stores_its_head_reports_the_pair():
    decoded = decode(FAMILY, read_facts(FAMILY, {**CONFIG, "tie_word_embeddings": True}), headers())
    assert [(pair.name, pair.other) for pair in decoded.alike] == [("lm_head.weight", "model.embed_tokens.weight")]
    assert "head" not in decoded.model.tensors


def test_a_thousand_layers_are_planned_without_a_second_thought():
    many = {
        name.replace(".0.", f".{i}."): shape
        for i in range(1000)
        for name, shape in BAICHUAN.items()
        if ".1." not in name
    }
    found = {name: Header(name, shape) for name, shape in many.items()}
    decoded = decode(FAMILY, read_facts(FAMILY, {**CONFIG, "num_hidden_layers": 1000}), found)
    assert sum(1 for _ in encode(BY_LABEL["llama"], decoded.model)) == 3 + 9 * 1000
