"""What logits cannot see: constants and variants in two configs, compared as such."""

import copy
from typing import Any

import pytest

from convert.checkpoint import open_checkpoint
from convert.verification.compare import Frame
from convert.verification.decoders import decoder_for
from convert.verification.meaning import read
from convert.verification.run import judge
from convert.verification.symbolic import differences
from convert.verification.verdict import Verdict
from convert.verification.weights import open_weights
from tests.goldens import Golden, goldens
from tests.verification.decoding import BAICHUAN, held
from tests.verification.test_layouts import CONVERSIONS
from tests.verification.test_run import gauge, loaded

CASES = [case for case in goldens() if not case.name.startswith(("lora-", "delta-"))]

LLAMA: dict[str, Any] = {
    "model_type": "llama", "num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96, "vocab_size": 320, "rms_norm_eps": 1e-5, "hidden_act": "silu", "rope_theta": 10000.0,
    "max_position_embeddings": 4096, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


def found(source: dict[str, Any], output: dict[str, Any], frame: Frame | None = None) -> dict[str, str]:
    """fact -> status of every finding."""
    findings = differences(read(source), read(output), frame or Frame())
    return {finding.fact: finding.status for finding in findings}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_reading_of_a_config_is_the_decoders(case: Golden):
    checkpoint = open_checkpoint(case.checkpoint)
    variant = case.provenance.get("variant")
    name = BAICHUAN[variant["family"]] if variant else None
    decoder = decoder_for(checkpoint.config, open_weights(checkpoint), name)
    meaning = read(checkpoint.config, name)
    assert meaning is not None
    assert (meaning.layers, meaning.hidden, meaning.eps) == (decoder.layers, decoder.hidden, decoder.eps)
    assert meaning.vocab in (None, decoder.vocab)
    if meaning.positions != "rope" or decoder.family == "deepseek":
        return
    assert (meaning.heads, meaning.kv, meaning.dim) == (decoder.heads, decoder.kv, decoder.dim)
    assert meaning.windows == tuple(decoder.window_of(layer) for layer in range(decoder.layers))
    assert (meaning.scores * meaning.dim**-0.5) == pytest.approx(decoder.scale or meaning.dim**-0.5)
    assert meaning.activation == decoder.act.replace("gelu_pytorch_tanh", "gelu_tanh")
    assert 2 * len(decoder.rope(16).frequencies) == meaning.turned


@pytest.mark.parametrize(
    ("fact", "change"),
    [
        ("eps", {"rms_norm_eps": 1.0001e-5}),
        ("rotary frequencies", {"rope_theta": 10000.1}),
        ("rotary frequencies", {"rope_scaling": {"rope_type": "linear", "factor": 1.001}}),
        ("beyond", {"rope_scaling": {"rope_type": "dynamic", "factor": 4.0}}),
        ("activation", {"hidden_act": "gelu"}),
        ("eos token", {"eos_token_id": 3}),
        ("query heads", {"num_attention_heads": 8, "head_dim": 16}),
        ("key-value heads", {"num_key_value_heads": 3}),
        ("window", {"model_type": "mistral", "sliding_window": 1024}),
        ("norms of query and key heads", {"model_type": "qwen3", "head_dim": 16}),
        ("factor on attention scores", {"rope_scaling": {
            "rope_type": "longrope", "short_factor": [1.0] * 8, "long_factor": [1.0] * 8, "factor": 1.0,
            "attention_factor": 1.001, "original_max_position_embeddings": 4096}}),
    ],
)  # fmt: skip
def test_one_constant_changed_fails(fact: str, change: dict[str, Any]):
    # dynamic scaling does nothing within the context, and is told all the same
    expected = {"rotation beyond the context": "warns"} if fact == "beyond" else {fact: "fails"}
    assert found(LLAMA, LLAMA | change) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"rope_theta": None, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
        {"hidden_act": "swish", "head_dim": 16, "eos_token_id": [2]},
        {"model_type": "mistral", "sliding_window": 4096},
        {"model_type": "qwen2", "use_sliding_window": False, "sliding_window": 64},
        {"rope_scaling": {"rope_type": "llama3", "factor": 1.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                          "original_max_position_embeddings": 4096}},
    ],
)  # fmt: skip
def test_the_same_said_otherwise_is_no_difference(change: dict[str, Any]):
    assert found(LLAMA, LLAMA | change) == {}


def test_a_share_is_read_wherever_transformers_writes_it():
    glm = {**LLAMA, "model_type": "glm", "head_dim": 16}
    nested = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0}
    assert found(glm | {"partial_rotary_factor": 1.0}, glm | {"rope_parameters": nested}) == {}
    assert found(glm, glm | {"rope_parameters": nested}) == {"rotary frequencies": "fails"}


def test_what_changes_no_logits_is_a_warning():
    changed = LLAMA | {"bos_token_id": 0, "pad_token_id": 0, "eos_token_id": [2, 5], "max_position_embeddings": 8192}
    assert found(LLAMA, changed) == dict.fromkeys(("bos token", "pad token", "eos token", "context"), "warns")


def test_eps_follows_the_square_of_a_scaled_stream_and_nothing_else():
    scaled = Frame(0.1)
    assert found(LLAMA, LLAMA | {"rms_norm_eps": 1e-7}, scaled) == {"eps": "explained"}
    assert found(LLAMA, LLAMA, scaled) == {"eps": "fails"}
    assert found(LLAMA, LLAMA | {"rms_norm_eps": 1e-6}, scaled) == {"eps": "fails"}


def test_repeated_heads_are_explained():
    assert found(LLAMA, LLAMA | {"num_key_value_heads": 4}) == {"key-value heads": "explained"}


def test_a_family_that_no_reader_knows_is_said():
    assert found(LLAMA, {"model_type": "mamba"}) == {"config": "warns"}


def verdict(name: str, change: dict[str, Any], **options: Any) -> Verdict:
    tensors, config = loaded(name)
    said = copy.deepcopy(config) | change
    sides = decoder_for(config, held(tensors)), decoder_for(said, held(tensors))
    return judge(*sides, meanings=(read(config), read(said)), **options)


@pytest.mark.parametrize("change", [{"rms_norm_eps": 1.2e-5}, {"rope_theta": 500020.0}])
def test_what_rounding_hides_from_the_logits_fails_by_its_name(change: dict[str, Any]):
    judged = verdict("llama-gqa-bf16", change, exactness="algebraic")
    assert judged.logits.passed and all(stage.passed for stage in judged.stages)
    assert not judged.passed and judged.first_divergence is not None
    assert judged.first_divergence.startswith("config: ")


def test_a_gauge_is_explained_by_its_frame():
    tensors, config = loaded("llama-mha")
    edited, said = dict(tensors), copy.deepcopy(config)
    gauge(1 / 12)(edited, said)
    sides = decoder_for(config, held(tensors)), decoder_for(said, held(edited))
    judged = judge(*sides, meanings=(read(config), read(said)), exactness="algebraic")
    assert judged.passed and [finding.status for finding in judged.findings] == ["explained"]


@pytest.mark.parametrize("name", CONVERSIONS)
def test_right_conversions_have_no_finding_that_fails(name: str):
    tensors, config = loaded(name)
    converted, said = CONVERSIONS[name][0](tensors, config)
    sides = decoder_for(config, held(tensors)), decoder_for(said, held(converted))
    judged = judge(*sides, meanings=(read(config), read(said)), exactness=CONVERSIONS[name][1])
    assert judged.passed, judged.findings


def test_a_stored_head_that_is_tied_and_differs_fails():
    tensors, config = loaded("llama-tied")
    stale = dict(tensors) | {"lm_head.weight": tensors["model.embed_tokens.weight"].flip(0)}
    same = dict(tensors) | {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()}
    for held_, passes in ((stale, False), (same, True)):
        judged = judge(decoder_for(config, held(tensors)), decoder_for(config, held(held_)), exactness="byte")
        assert judged.passed == passes
