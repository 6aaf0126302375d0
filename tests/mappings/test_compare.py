"""What the tables say about pairs: the matrix, explanations, answers for models without a table, the export, the page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from convert.explain import explanation, matrix_text
from convert.page import families_page
from mappings import families
from mappings.compare import direction, directions
from mappings.config import read_facts, write_config
from mappings.differences import TOPICS, differences, topic
from mappings.elsewhere import ELSEWHERE, answer
from mappings.export import export
from surgery.errors import UsageError
from surgery.facts import FACTS
from tests.pairs.expected import CASES, expected

BY_LABEL = {f.label: f for f in families()}
WAYS = {(d.source.label, d.target.name): d for d in directions()}

#: the table of families to Llama of ../shared/facts/exactness.md E-1, and the issue's
TO_LLAMA = {
    "aquila": "byte", "baichuan-7b": "byte", "baichuan-2-7b": "algebraic", "baichuan-13b": None, "baichuan-2-13b": None,
    "chatglm": "algebraic", "chatglm1": None, "deepseek_v2": None, "deepseek_v3": None, "gemma": "algebraic",
    "gemma2": None, "glm": "algebraic", "granite": "algebraic",
    "gpt2": None, "internlm": "byte", "internlm2": "byte", "llama4-multimodal": None,
    "meta-llama-2": "byte", "meta-llama-3": "byte", "minicpm": "algebraic", "mistral": "byte", "mixtral": None,
    "nanogpt": None, "phi3": "byte", "qwen": "byte", "qwen2": "byte", "qwen2-vl": "byte", "qwen2-1m": "byte",
    "qwen2_moe": None, "qwen3": None, "stablelm": None, "yi": "byte",
}  # fmt: skip


@pytest.mark.parametrize("label", TO_LLAMA)
def test_each_family_becomes_llama_as_exactly_as_is_known(label):
    found = WAYS[label, "llama"].exactness
    assert (None if found is None else str(found)) == TO_LLAMA[label]


@pytest.mark.parametrize("case", [c for c in CASES if expected(c, "llama").exactness != "refused"])
def test_the_matrix_promises_what_a_golden_checkpoint_does(case):
    family = CASES[case].family
    if family == "llama":
        return
    best = [WAYS[f.label, "llama"].exactness for f in families() if f.name == family]
    assert expected(case, "llama").exactness in {str(one) for one in best}


def test_gpt2_and_nanogpt_are_each_other_where_the_activation_is():
    there = direction(BY_LABEL["gpt2"], "nanogpt")
    assert str(there.exactness) == "byte"
    assert {c.fact: c.wanted for c in there.conditions} == {
        "activation": "gelu", "norm.eps": "1e-05", "tied": "yes", "ffn": "4 * hidden",
    }  # fmt: skip
    assert str(direction(BY_LABEL["nanogpt"], "gpt2").exactness) == "byte"


def test_a_llama_with_biases_in_its_mlp_is_a_condition_and_not_a_promise():
    assert "bias.mlp" in {c.fact for c in direction(BY_LABEL["llama"], "qwen2").conditions}
    assert "bias.qkv" not in {c.fact for c in direction(BY_LABEL["llama"], "qwen2").conditions}


def test_a_scaling_that_a_target_cannot_say_is_a_condition():
    assert "rope.scaling" in {c.fact for c in direction(BY_LABEL["llama"], "yi").conditions}
    assert "rope.scaling" in {c.fact for c in direction(BY_LABEL["meta-llama-3.1"], "internlm2").conditions}
    assert "rope.scaling" not in {c.fact for c in direction(BY_LABEL["llama"], "qwen2").conditions}


class TestExplainQwen:
    text = explanation("qwen", "llama").split("\n\n")[0]

    @pytest.mark.parametrize("topic", ["names and layouts", *(name for name, _ in TOPICS if name != "experts")])
    def test_every_topic_is_told(self, topic):
        assert f"\n  {topic}" in self.text

    @pytest.mark.parametrize(
        "line",
        [
            "transformer.N.attn.c_attn  ->  N.self_attn.q_proj + N.self_attn.k_proj + N.self_attn.v_proj   split",
            "transformer.N.mlp.w2  ->  N.mlp.gate_proj   renamed",
            "(bias.qkv): always yes  ->  attention_bias",
            "(bias.o): always no  ->  attention_bias\n        costs zero-biases (byte)",
            "(norm.eps): layer_norm_epsilon  ->  rms_norm_eps\n        costs nothing: another key",
            "(rope.theta): rotary_emb_base  ->  rope_theta",
            "(activation): always silu  ->  hidden_act",
            "(context): seq_length  ->  max_position_embeddings",
            "(ffn): intermediate_size (half of)  ->  intermediate_size",
            "tying and head: the same",
            "Beyond it Qwen's own code changes the rope base (use_dynamic_ntk) and scales queries (use_logn_attn)",
        ],
    )
    def test_it_says(self, line):
        assert line in self.text


def test_an_impossible_pair_names_every_reason_and_what_would_not_be_in_the_way():
    text = explanation("gemma2", "llama")
    assert text.startswith("Gemma 2 (gemma2) -> Llama: impossible")
    assert text.count("\n  impossible: ") == 3
    assert "(norm.offset): always 1.0  ->  always 0.0\n        costs norm-offset (algebraic)" in text


@pytest.mark.parametrize("source", BY_LABEL)
def test_any_pair_has_an_explanation(source):
    for target in {f.name for f in families()}:
        assert explanation(source, target).startswith(BY_LABEL[source].title)


def test_every_fact_belongs_to_a_topic_and_every_difference_to_a_fact():
    assert all(topic(fact) for fact in FACTS)
    assert {d.fact for d in differences(WAYS["chatglm", "llama"])} >= {"rope.share", "bias.o", "rope.theta"}
    (share,) = (d for d in differences(WAYS["chatglm", "llama"]) if d.fact == "rope.share")
    assert share.cost == "longrope (algebraic)"


@pytest.mark.parametrize(
    ("name", "family", "word"),
    [
        ("Qwen2.5-1M", "qwen2", "dual chunk attention and YaRN"), ("CodeGeeX2", "chatglm", "ChatGLM2"),
        ("Ling-Coder-Lite", "", "routed experts"), ("Grok-1", "", "tanh"), ("Baichuan 3", "", "closed"),
        ("baichuan4", "", "closed"), ("ChatGLM-6B", "chatglm1", "sees itself whole"), ("GLM-130B", "", "DeepNorm"),
        ("OPT", "", "learned positions"), ("THUDM/codegeex2-6b", "chatglm", "ChatGLM2"), ("vicuna", "llama", "normalises"),
    ],
)  # fmt: skip
def test_a_model_without_a_table_has_its_answer(name, family, word):
    found = answer(name)
    assert found is not None and found.family == family
    text = explanation(name, "llama")
    assert word in text and f"read in {found.source}" in text
    assert not family or BY_LABEL_TITLE[family] in text


BY_LABEL_TITLE = {f.name: f.title for f in reversed(families())}


def test_answers_name_families_that_exist_and_no_name_twice():
    assert {one.family for one in ELSEWHERE} - {""} <= {f.name for f in families()}
    names = [name for one in ELSEWHERE for name in one.names]
    assert len(names) == len(set(names))
    assert not {f.name for f in families()} & set(names)
    assert all(answer(name) is not None for name in names)


def test_a_name_that_nobody_knows_is_refused():
    with pytest.raises(UsageError, match="no family 'mamba'"):
        explanation("mamba", "llama")
    with pytest.raises(UsageError, match="no family 'grok-1' to write: Grok-1 is eight experts"):
        explanation("qwen", "grok-1")
    assert answer("") is None


def test_the_matrix_fits_a_terminal_and_has_a_row_for_each_variant():
    lines = matrix_text().splitlines()
    assert max(map(len, lines)) <= 120
    assert all(any(line.startswith(f"{label} ") for line in lines) for label in BY_LABEL)


def test_the_export_keeps_its_schema():
    told = json.loads(json.dumps(export()))
    assert told["schema"] == 1
    assert set(told) == {"schema", "families", "directions", "elsewhere"}
    qwen = next(f for f in told["families"] if f["name"] == "qwen" and not f["variant"])
    assert set(qwen) == {
        "name", "variant", "title", "architecture", "model_type", "source", "rows", "settings", "left", "harmless", "harmless_at",
        "notes",
    }  # fmt: skip
    gate = next(row for row in qwen["rows"] if row["roles"] == ["layer.{layer}.gate"])
    assert gate == {
        "name": "transformer.h.{layer}.mlp.w2.weight", "roles": ["layer.{layer}.gate"], "layout": "ffn hidden",
        "when": "", "bias": "",
    }  # fmt: skip
    assert {"facts": ["ffn"], "keys": ["intermediate_size"], "default": "required", "via": "half of"} in qwen["settings"]
    way = next(d for d in told["directions"] if (d["from"], d["to"]) == ("baichuan-2-7b", "llama"))
    assert way == {
        "from": "baichuan-2-7b", "to": "llama", "exactness": "algebraic", "passes": ["bake-norm-head"], "conditions": [],
        "refused": [],
    }  # fmt: skip
    refused = next(d for d in told["directions"] if (d["from"], d["to"]) == ("qwen3", "llama"))
    assert refused["exactness"] is None
    assert [r["fact"] for r in refused["refused"]] == ["norm.qk"]
    assert set(told["elsewhere"][0]) == {"title", "names", "family", "reasons", "instead", "source"}


def test_the_page_is_what_the_tables_say():
    page = Path(__file__).resolve().parents[2] / "docs" / "families.md"
    assert page.read_text(encoding="utf-8") == families_page(), "run `convert families --markdown > docs/families.md`"


@pytest.mark.parametrize("label", ["glm", "stablelm"])
def test_a_share_of_rotated_heads_beside_a_scaling_is_read_back(label):
    scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    config = {
        "architectures": [BY_LABEL[label].architecture], "model_type": BY_LABEL[label].model_type, "hidden_size": 64,
        "num_hidden_layers": 2, "vocab_size": 100, "intermediate_size": 96, "num_attention_heads": 4,
        "num_key_value_heads": 4, "head_dim": 16, "partial_rotary_factor": 0.5,
        "rope_scaling": {**scaling, "original_max_position_embeddings": 8192},
    }  # fmt: skip
    if label == "stablelm":
        del config["head_dim"]
    facts = read_facts(BY_LABEL[label], config)
    assert read_facts(BY_LABEL[label], write_config(BY_LABEL[label], facts)).values_ == facts.values_
