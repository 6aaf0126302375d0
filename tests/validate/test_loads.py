"""What the validator says about weights, held against what transformers makes of them: nothing that loads is missing.

The models are made here, by the native classes, and saved by `save_pretrained`; the judge is transformers' loading info.
"""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    CONFIG_MAPPING,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from convert.validate.check import validate

SMALL: dict[str, Any] = {
    "vocab_size": 48, "hidden_size": 32, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
EXPERTS = {
    "num_key_value_heads": 4, "kv_lora_rank": 8, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 8,
    "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8, "first_k_dense_replace": 1, "n_group": 1,
    "topk_group": 1, "n_shared_experts": 1,
}  # fmt: skip
#: the native classes that the tables know, each with what makes it small and uneven
NATIVE: dict[str, dict[str, Any]] = {
    "llama": {"head_dim": 6},
    "mistral": {"head_dim": 6, "sliding_window": 32},
    "qwen2": {"use_sliding_window": True, "max_window_layers": 1, "sliding_window": 32},
    "qwen3": {"head_dim": 6},
    "gemma": {"head_dim": 12},
    "gemma2": {"head_dim": 12},
    "phi3": {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
    "glm": {"head_dim": 12},
    "granite": {},
    "stablelm": {},
    "mixtral": {"num_local_experts": 4},
    "qwen2_moe": {"num_experts": 4, "moe_intermediate_size": 8, "shared_expert_intermediate_size": 24},
    "deepseek_v2": {**EXPERTS, "q_lora_rank": None},
    "deepseek_v3": {**EXPERTS, "q_lora_rank": 8},
    "llama4_text": {"head_dim": 8, "intermediate_size_mlp": 40, "num_local_experts": 4, "interleave_moe_layer_step": 1},
    "gpt2": {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64, "n_inner": 24},
}
PREFIX = {"gpt2": "transformer."}
#: true of whatever save_pretrained writes: safetensors' own file mode, and no card, licence or tokenizer
BARE = {"file-mode", "card-missing", "licence-missing", "tokenizer-missing"}


def make(kind: str, path: Path, auto: Any = AutoModelForCausalLM, shards: str = "1GB", **changes: Any) -> Path:
    shared = {k: v for k, v in SMALL.items() if kind != "gpt2" or not k.startswith(("hidden", "interm", "num_", "max_"))}
    torch.manual_seed(3)
    model = auto.from_config(CONFIG_MAPPING[kind](**{**shared, **NATIVE[kind], **changes}))
    model.save_pretrained(path, max_shard_size=shards)
    return path


def unloaded(path: Path) -> dict[str, list[str]]:
    """What transformers did not find, or did not use, when it loaded the folder as a causal model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, info = AutoModelForCausalLM.from_pretrained(path, output_loading_info=True)
    return {key: sorted(map(str, names)) for key, names in info.items() if names}


def told(path: Path) -> dict[str, str]:
    """Every finding but notes and what is true of any such folder."""
    found = validate(path, deep=True).findings
    return {f.rule.id: f.message for f in found if f.rule.severity != "note" and f.rule.id not in BARE}


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("kind", NATIVE)
def test_nothing_is_wrong_with_what_a_native_class_saves(kind: str, tied: bool, tmp_path: Path) -> None:
    path = make(kind, tmp_path, tie_word_embeddings=tied, shards="1GB" if tied else "20KB")
    assert unloaded(path) == {}
    assert told(path) == {}


def renamed(path: Path, edit: Callable[[str], str]) -> None:
    tensors = load_file(path / "model.safetensors")
    save_file({edit(name): value for name, value in tensors.items()}, path / "model.safetensors", {"format": "pt"})


#: spellings of names, given the segment that stands for the base class
SPELLINGS: dict[str, Callable[[str, str], str]] = {
    "without the base class": lambda name, base: name.removeprefix(base),
    "with the base class twice": lambda name, base: base + name,
    "norms without the base class": lambda name, base: name.removeprefix(base) if "norm" in name else name,
    "module.": lambda name, base: "module." + name,
    "_orig_mod.": lambda name, base: "_orig_mod." + name,
    "language_model.": lambda name, base: "language_model." + name,
}
NAMES = {"tensor-missing", "tensor-unexpected", "head-missing", "layer-count", "index-absent-tensor"}


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("kind", ["llama", "qwen2", "gemma2", "gpt2"])
def test_weights_are_called_missing_exactly_where_transformers_misses_them(
    kind: str, spelling: str, tied: bool, tmp_path: Path
) -> None:
    path = make(kind, tmp_path, tie_word_embeddings=tied)
    renamed(path, lambda name: SPELLINGS[spelling](name, PREFIX.get(kind, "model.")))
    assert bool(NAMES & told(path).keys()) == bool(unloaded(path))


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gemma", "gpt2", "glm"])
def test_a_tied_matrix_is_not_missing_where_only_the_head_is_stored(kind: str, tmp_path: Path) -> None:
    path = make(kind, tmp_path, tie_word_embeddings=True)
    renamed(path, lambda name: "lm_head.weight" if name.endswith(("embed_tokens.weight", "wte.weight")) else name)
    assert unloaded(path) == {} == told(path)


def test_a_tied_head_that_only_the_index_lists_is_not_lost(tmp_path: Path) -> None:
    path = make("llama", tmp_path, tie_word_embeddings=True)
    names = load_file(path / "model.safetensors")
    (path / "model.safetensors").rename(path / "model-00001-of-00001.safetensors")
    size = sum(value.nbytes for value in names.values())
    listed = dict.fromkeys([*names, "lm_head.weight"], "model-00001-of-00001.safetensors")
    index = {"metadata": {"total_size": size}, "weight_map": listed}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert unloaded(path) == {} == told(path)


@pytest.mark.parametrize("kind", ["llama", "qwen2", "phi3"])
@pytest.mark.parametrize(
    "rope",
    ["default", "linear", "dynamic", "yarn", "llama3", "proportional", "mrope", "su", "ntk", "banana"],
)
def test_a_rope_type_is_an_error_exactly_where_transformers_refuses_it(kind: str, rope: str, tmp_path: Path) -> None:
    keys = {
        "default": {}, "proportional": {}, "yarn": {"original_max_position_embeddings": 32},
        "llama3": {"original_max_position_embeddings": 32, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
        "su": {"short_factor": [1.0] * 4, "long_factor": [1.0] * 4, "original_max_position_embeddings": 64},
    }.get(rope, {})  # fmt: skip
    factor = {} if rope in ("default", "proportional", "su") else {"factor": 2.0}
    path = make(kind, tmp_path, tie_word_embeddings=False)
    table = json.loads((path / "config.json").read_text())
    table["rope_parameters"] = {"rope_type": rope, "rope_theta": 10000.0, **factor, **keys}
    (path / "config.json").write_text(json.dumps(table))
    try:
        refused = bool(unloaded(path))
    except Exception:
        refused = True
    assert bool({"rope-type", "config-contradiction"} & told(path).keys()) == refused


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("kind", NATIVE)
def test_as_many_layer_types_as_layers_are_asked_of_every_class(kind: str, count: int, tmp_path: Path) -> None:
    path = make(kind, tmp_path)
    table = json.loads((path / "config.json").read_text())
    table["layer_types"] = ["full_attention"] * count
    (path / "config.json").write_text(json.dumps(table))
    try:
        CONFIG_MAPPING[kind].from_pretrained(path)
        refused = False
    except Exception:
        refused = True
    assert ("config-layer-types" in told(path)) == refused == (count != 3)


HEADS = {
    "Model": AutoModel,
    "ForCausalLM": AutoModelForCausalLM,
    "ForSequenceClassification": AutoModelForSequenceClassification,
    "ForTokenClassification": AutoModelForTokenClassification,
    "ForQuestionAnswering": AutoModelForQuestionAnswering,
}


@pytest.mark.parametrize("stated", HEADS)
@pytest.mark.parametrize("saved", HEADS)
def test_the_class_in_architectures_is_the_one_whose_weights_these_are(saved: str, stated: str, tmp_path: Path) -> None:
    path = make("qwen2", tmp_path, HEADS[saved], tie_word_embeddings=False)
    table = json.loads((path / "config.json").read_text())
    assert table["architectures"] == [f"Qwen2{saved}"]
    table["architectures"] = [f"Qwen2{stated}"]
    (path / "config.json").write_text(json.dumps(table))
    _, info = HEADS[stated].from_pretrained(path, output_loading_info=True)
    headless = bool(info["missing_keys"])
    blamed = {"config-class", "head-missing", "tensor-missing", "tensor-unexpected"} & told(path).keys()
    assert bool(blamed) >= headless, info["missing_keys"]
    if saved == stated:
        assert not blamed


@pytest.mark.parametrize(("kind", "other"), [("llama", "mistral"), ("mistral", "llama"), ("qwen2", "llama")])
def test_a_class_of_another_model_type_is_told(kind: str, other: str, tmp_path: Path) -> None:
    path = make(kind, tmp_path)
    table = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**table, "model_type": other}))
    assert "config-class" in told(path)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_transformers_loads_an_adapter_over_merged_weights_and_so_it_is_an_error(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    path = make("llama", tmp_path / "whole")
    model = AutoModelForCausalLM.from_pretrained(path)
    get_peft_model(model, LoraConfig(target_modules=["q_proj"], init_lora_weights=False)).save_pretrained(path)
    assert "adapter_config.json" in {entry.name for entry in path.iterdir()}
    again = AutoModelForCausalLM.from_pretrained(path)
    assert any("lora" in name for name, _ in again.named_parameters())
    found = told(path)
    assert "adapter-beside" in found
    assert not found.keys() & {"index-missing", "shard-name", "tensor-unexpected", "weights-beside", "card-yaml"}
