"""Qwen 1.5 to 2.5 and the text half of the VL models: to Llama and back, windows, limits."""

from __future__ import annotations

import pytest
import torch

from mappings import families
from mappings.config import read_facts, recognise
from mappings.qwen2 import QWEN2, QWEN2_1M, QWEN2_VL
from surgery.errors import ConversionError
from surgery.legalise import Unexpressible
from tests.goldens import golden
from tests.mappings.pairs import config_of, converted, logits_apart, randomised, same_tensors, saved, tokens
from tests.oracle import native_logits, tensors, transformers

CASES = ["qwen1-5", "qwen2", "qwen2-tied", "qwen2-5-tied", "qwen2-5-tied-bf16"]


@pytest.mark.parametrize("name", CASES)
def test_qwen2_becomes_llama_with_zero_biases_and_comes_back_without(name, tmp_path):
    source = golden(name).checkpoint
    plan = converted(source, "llama", tmp_path / "llama")
    assert str(plan.exactness) == "byte"
    assert logits_apart(name, tmp_path / "llama") <= 1e-4
    assert config_of(tmp_path / "llama")["tie_word_embeddings"] == config_of(source)["tie_word_embeddings"]
    added = [t for key, t in tensors(tmp_path / "llama").items() if key.endswith("o_proj.bias")]
    assert len(added) == 3 and not any(torch.count_nonzero(bias) for bias in added)
    converted(tmp_path / "llama", "qwen2", tmp_path / "back")
    assert same_tensors(tmp_path / "back", source)


@pytest.mark.parametrize("name", ["llama-gqa", "llama-gqa-bf16", "llama-tied", "llama-rope-llama3"])
def test_llama_becomes_qwen2_and_comes_back(name, tmp_path):
    converted(golden(name).checkpoint, "qwen2", tmp_path / "qwen2")
    assert logits_apart(name, tmp_path / "qwen2") <= 1e-4
    converted(tmp_path / "qwen2", "llama", tmp_path / "back")
    assert same_tensors(tmp_path / "back", golden(name).checkpoint)


def test_biases_that_count_are_not_dropped(tmp_path):
    with pytest.raises(Unexpressible, match=r"bias\.qkv"):
        converted(golden("qwen2").checkpoint, "mistral", tmp_path / "out")


def test_a_window_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(Unexpressible) as refused:
        converted(golden("qwen2-sliding-window-on").checkpoint, "llama", tmp_path / "out")
    windows = {r.fact: r.value for r in refused.value.refusals if "window" in r.fact}
    assert windows == {"window": "16", "window.full": "(0,)"}
    assert "--mend limit-context" in str(refused.value)


def test_a_window_is_kept_by_qwen2_and_can_be_given_up_for_llama(tmp_path):
    name = "qwen2-sliding-window-on"
    converted(golden(name).checkpoint, "qwen2", tmp_path / "qwen2")
    assert logits_apart(name, tmp_path / "qwen2") <= 1e-4
    converted(golden(name).checkpoint, "llama", tmp_path / "llama", mends=["limit-context"])
    assert config_of(tmp_path / "llama")["max_position_embeddings"] == 16
    assert logits_apart(name, tmp_path / "llama", first=16) <= 1e-4
    assert logits_apart(name, tmp_path / "llama") > 1


WINDOWED = {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1}
SLIDING = ["full_attention", "sliding_attention", "sliding_attention"]


@pytest.mark.parametrize(
    ("stated", "window", "full"),
    [
        ({}, None, ()),
        ({"use_sliding_window": False, "sliding_window": 16, "max_window_layers": 0}, None, ()),
        (WINDOWED, 16, (0,)),
        ({**WINDOWED, "max_window_layers": 0}, 16, ()),
        ({**WINDOWED, "max_window_layers": 3}, None, ()),
        ({"use_sliding_window": True, "sliding_window": 16}, None, ()),  # 28 when missing
        ({**WINDOWED, "max_window_layers": 3, "layer_types": SLIDING}, 16, (0,)),
        ({**WINDOWED, "layer_types": ["sliding_attention"] * 3}, 16, ()),
    ],
)
def test_windows_are_those_of_transformers(stated, window, full):
    base = {k: v for k, v in config_of(golden("qwen2").checkpoint).items() if "window" not in k}
    facts = read_facts(QWEN2, {**base, **stated})
    assert (facts["window"], facts["window.full"]) == (window, full)
    theirs = transformers().Qwen2Config(**{k: v for k, v in {**base, **stated}.items() if v is not None})
    kinds = ["full_attention" if window is None or i in full else "sliding_attention" for i in range(3)]
    assert theirs.layer_types == kinds


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"use_sliding_window": True, "sliding_window": None}, "how wide"),
        ({"layer_types": SLIDING}, "use_sliding_window is not true"),
        ({**WINDOWED, "layer_types": SLIDING[1:]}, "each of 3 layers"),
        ({**WINDOWED, "sliding_window": "wide"}, "sensible"),
        ({"use_mrope": True}, "use_mrope"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(changes, why):
    with pytest.raises(ConversionError, match=why):
        read_facts(QWEN2, {**config_of(golden("qwen2").checkpoint), **changes})


def test_the_text_half_of_a_vl_model_is_qwen2(tmp_path):
    plan = converted(golden("qwen2-5-vl").checkpoint, "qwen2", tmp_path / "out")
    assert plan.source == "qwen2-vl"
    assert logits_apart("qwen2-5-vl", tmp_path / "out") <= 1e-4
    source = tensors(golden("qwen2-5-vl").checkpoint)
    assert same_tensors(tmp_path / "out", {k: t for k, t in source.items() if not k.startswith("visual.")})
    assert set(plan.left) == {k for k in source if k.startswith("visual.")}
    config = config_of(tmp_path / "out")
    assert config["rope_parameters"] == {"rope_type": "default", "rope_theta": 1000000.0}
    assert not [key for key in config if key.startswith(("vision", "image", "video"))]


def test_a_vl_model_as_transformers_5_saves_it_is_read_too(tmp_path):
    text = {
        "vocab_size": 131, "hidden_size": 32, "intermediate_size": 44, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "tie_word_embeddings": False,
        "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 50000.0},
    }  # fmt: skip
    vision = {
        "depth": 1, "hidden_size": 16, "intermediate_size": 20, "num_heads": 2, "out_hidden_size": 32, "patch_size": 4,
        "fullatt_block_indexes": [0],
    }  # fmt: skip
    library = transformers()
    config = library.Qwen2_5_VLConfig(
        text_config=text, vision_config=vision, tie_word_embeddings=False, image_token_id=120, video_token_id=121,
        vision_start_token_id=122, vision_end_token_id=123,
    )  # fmt: skip
    model = randomised(library.Qwen2_5_VLForConditionalGeneration(config))
    saved(model, tmp_path / "vl")
    assert "text_config" in config_of(tmp_path / "vl")
    ids = tokens(20, 120)
    with torch.inference_mode():
        truth = model(input_ids=ids).logits
    converted(tmp_path / "vl", "qwen2", tmp_path / "out")
    assert config_of(tmp_path / "out")["rope_theta"] == 50000.0
    assert (native_logits(tmp_path / "out", ids) - truth).abs().max().item() <= 1e-4


def test_a_million_tokens_are_a_matter_of_serving():
    chunks = {"chunk_size": 262144, "local_size": 8192, "original_max_position_embeddings": 262144}
    stated = {"max_position_embeddings": 1010000, "dual_chunk_attention_config": chunks}
    config = {**config_of(golden("qwen2").checkpoint), **stated}
    assert recognise(families(), config) == (QWEN2_1M,)
    assert read_facts(QWEN2_1M, config)["context"] == 262144
    assert "Dual chunk" in QWEN2_1M.notes[0]


def test_a_vl_config_is_recognised_by_its_architecture_alone():
    config = config_of(golden("qwen2-5-vl").checkpoint)
    assert recognise(families(), config) == (QWEN2_VL,)
    older = {"architectures": ["Qwen2VLForConditionalGeneration"], "model_type": "qwen2_vl"}
    assert recognise(families(), {**config, **older}) == (QWEN2_VL,)
