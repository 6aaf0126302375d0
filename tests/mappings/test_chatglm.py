"""ChatGLM 2, 3 and GLM-4-9B: to GLM and back by bytes, to Llama by frequencies; the first ChatGLM stays what it is."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from convert.checkpoint import open_checkpoint
from convert.prepare import open_artefact, plan_conversion, plan_repack
from mappings import families
from mappings.compare import direction
from mappings.config import read_facts, recognise
from surgery.errors import ConversionError, UsageError
from surgery.legalise import Unexpressible
from tests.goldens import golden
from tests.mappings.pairs import config_of, converted, logits_apart, same_tensors
from tests.oracle import tensors
from tests.writing import write

CASES = ["chatglm3", "chatglm2", "chatglm3-32k", "chatglm3-fp16", "chatglm3-32k-fp16"]
CASES += ["glm4-9b-base", "glm4-9b-chat", "glm4-9b-chat-bf16"]
SMALL = ["chatglm3"]
FREQUENCIES = "transformer.rotary_pos_emb.inv_freq"


def stored(name):
    """The source's tensors without the buffer that no loader reads."""
    return {key: tensor for key, tensor in tensors(golden(name).checkpoint).items() if key != FREQUENCIES}


@pytest.mark.parametrize("name", CASES)
def test_chatglm_becomes_glm_and_comes_back_byte_for_byte(name, tmp_path):
    plan = converted(golden(name).checkpoint, "glm", tmp_path / "glm")
    assert str(plan.exactness) == "byte"
    assert plan.left == {FREQUENCIES: "recomputed from rope_ratio"}
    assert logits_apart(name, tmp_path / "glm") <= 1e-4
    assert str(converted(tmp_path / "glm", "chatglm", tmp_path / "back").exactness) == "byte"
    assert same_tensors(tmp_path / "back", stored(name))


@pytest.mark.parametrize("prefer", [[], ["proportional"]], ids=["longrope", "proportional"])
@pytest.mark.parametrize("name", CASES)
def test_chatglm_becomes_llama_by_its_frequencies_alone(name, prefer, tmp_path):
    plan = converted(golden(name).checkpoint, "llama", tmp_path / "llama", prefer=prefer)
    assert str(plan.exactness) == "algebraic" and plan.rounding == 0.0
    assert logits_apart(name, tmp_path / "llama") <= 1e-4
    converted(tmp_path / "llama", "glm", tmp_path / "glm")
    assert config_of(tmp_path / "glm")["rope_parameters"] == {
        "rope_type": "default",
        "rope_theta": 10000.0 * config_of(golden(name).checkpoint).get("rope_ratio", 1),
        "partial_rotary_factor": 0.5,
    }
    converted(tmp_path / "llama", "chatglm", tmp_path / "back")
    assert same_tensors(tmp_path / "back", stored(name))


@pytest.mark.parametrize("name", SMALL)
def test_only_the_rows_of_queries_and_keys_move_on_the_way_to_llama(name, tmp_path):
    source, config = tensors(golden(name).checkpoint), config_of(golden(name).checkpoint)
    converted(golden(name).checkpoint, "llama", tmp_path / "llama")
    written = tensors(tmp_path / "llama")
    heads, groups, head = config["num_attention_heads"], config["multi_query_group_num"], config["kv_channels"]
    fused = source["transformer.encoder.layers.0.self_attention.query_key_value.weight"]
    q, _, v = fused.split([heads * head, groups * head, groups * head])
    q = q.reshape(heads, head, -1)
    turned, still = q[:, : head // 2], q[:, head // 2 :]
    even = torch.cat([turned[:, 0::2], still[:, : head // 4]], 1)
    odd = torch.cat([turned[:, 1::2], still[:, head // 4 :]], 1)
    at = "model.layers.0.self_attn."
    assert torch.equal(written[at + "q_proj.weight"].reshape(heads, head, -1), torch.cat([even, odd], 1))
    assert torch.equal(written[at + "v_proj.weight"], v)
    assert not torch.count_nonzero(written[at + "o_proj.bias"])


def test_the_config_says_the_table_in_every_form(tmp_path):
    converted(golden("chatglm3").checkpoint, "llama", tmp_path / "llama")
    config, source = config_of(tmp_path / "llama"), config_of(golden("chatglm3").checkpoint)
    for table in (config["rope_scaling"], config["rope_parameters"]):
        assert table["rope_type"] == "longrope" and table["factor"] == table["attention_factor"] == 1.0
        assert table["short_factor"] == table["long_factor"]
        assert table["original_max_position_embeddings"] == config["max_position_embeddings"] == source["seq_length"]
    assert config["vocab_size"] == source["padded_vocab_size"]
    assert config["num_key_value_heads"] == source["multi_query_group_num"]


def per_head(folder):
    """chatglm3 without multi_query_attention: its fused tensors laid out anew by hand, keys repeated for every head."""
    source, config = tensors(golden("chatglm3").checkpoint), config_of(golden("chatglm3").checkpoint)
    heads, groups, head = config["num_attention_heads"], config["multi_query_group_num"], config["kv_channels"]
    spread = [group for group in range(groups) for _ in range(heads // groups)]
    for key in [key for key in source if "query_key_value" in key]:
        q, k, v = source[key].split([heads * head, groups * head, groups * head])
        q, k, v = (part.unflatten(0, (-1, head)) for part in (q, k, v))
        source[key] = torch.cat([q, k[spread], v[spread]], 1).flatten(0, 1).contiguous()
    folder.mkdir()
    save_file(source, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps({**config, "multi_query_attention": False}))
    return folder


def test_heads_with_keys_of_their_own_lie_one_after_another(tmp_path):
    plan = converted(per_head(tmp_path / "per-head"), "glm", tmp_path / "glm")
    assert plan.source == "chatglm-per-head"
    assert logits_apart("chatglm3", tmp_path / "glm") <= 1e-4
    back = converted(tmp_path / "glm", "chatglm", tmp_path / "back")
    assert back.target == "chatglm"
    assert config_of(tmp_path / "back")["multi_query_attention"] is True


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rmsnorm", False),
        ("post_layer_norm", False),
        ("apply_residual_connection_post_layernorm", True),
        ("add_bias_linear", True),
        ("pre_seq_len", 128),
        ("quantization_bit", 4),
        ("num_hidden_layers", 7),
        ("tie_word_embeddings", True),
    ],
)
def test_an_option_that_no_release_uses_is_refused_by_name(key, value):
    config = {**config_of(golden("chatglm3").checkpoint), key: value}
    (family,) = recognise(families(), config)
    with pytest.raises(ConversionError, match=key):
        read_facts(family, config)


def test_the_directions_say_what_they_are():
    by_name = {family.label: family for family in families()}
    assert {target: str(direction(by_name["chatglm"], target).exactness) for target in ("glm", "llama", "qwen2")} == {
        "glm": "byte",
        "llama": "algebraic",
        "qwen2": "algebraic",
    }
    assert str(direction(by_name["glm"], "chatglm").exactness) == "byte"


class TestTheFirst:
    REASONS = frozenset({"positions", "norm.kind", "mlp.gated", "bias.norm", "residual.normed", "prefix"})

    @pytest.mark.parametrize("to", sorted({f.name for f in families()} - {"chatglm1"}))
    def test_it_can_be_nothing_else(self, to):
        with pytest.raises(Unexpressible) as refused:
            plan_conversion(open_checkpoint(golden("chatglm1-6b").checkpoint), to)
        assert "prefix" in {r.fact for r in refused.value.refusals}

    def test_every_reason_why_it_is_no_llama_is_told_at_once(self):
        with pytest.raises(Unexpressible) as refused:
            plan_conversion(open_checkpoint(golden("chatglm1-6b").checkpoint), "llama")
        assert {r.fact for r in refused.value.refusals} == self.REASONS
        assert all(fact in str(refused.value) for fact in self.REASONS)

    def test_it_is_read_and_rewritten_in_its_own_layout(self, tmp_path):
        source = golden("chatglm1-6b").checkpoint
        assert open_artefact(open_checkpoint(source)).label == "chatglm1"
        converted(source, "chatglm1", tmp_path / "own")
        kept = {key: value for key, value in tensors(source).items() if "inv_freq" not in key}
        assert same_tensors(tmp_path / "own", kept)

    def test_repacked_it_keeps_every_tensor(self, tmp_path):
        source = golden("chatglm1-6b").checkpoint
        write(plan_repack(open_checkpoint(source)), tmp_path / "out")
        assert same_tensors(tmp_path / "out", tensors(source))


@pytest.mark.parametrize("prefer", ["fold-scales", "longrop", "zero-biases"])
def test_only_a_pass_with_a_rival_can_be_preferred(prefer):
    with pytest.raises(UsageError, match=r"--prefer .*fold.*gauge.*longrope.*proportional"):
        plan_conversion(open_checkpoint(golden("chatglm3").checkpoint), "llama", prefer=[prefer])


def test_goldens_are_what_these_tests_take_them_for():
    logits = load_file(golden("chatglm3").logits)["logits"]
    assert logits.std() > 0.5
