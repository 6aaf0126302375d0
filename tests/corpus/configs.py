"""A config that does not fit the weights, that no model has, or that asks for code."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

from tests.corpus.case import Change, refused, taken, warned
from tests.corpus.good import Good

_LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "auto_map": ...}
_BAICHUAN = {"architectures": ["BaichuanForCausalLM"], "model_type": "baichuan"}
_CODE = {"AutoConfig": "its_config.C", "AutoModelForCausalLM": "its_model.M", "AutoTokenizer": ["its_tokens.T", None]}


def _said(made: Callable[[Good], dict[str, Any]]) -> Change:
    """The config with these values."""
    return lambda good: good.write(config=good.config(**made(good)))


def _written(made: Callable[[Good], str]) -> Change:
    """This text as the config."""
    return lambda good: good.write(config=made(good))


def _twice(good: Good) -> str:
    return json.dumps(good.config()).replace('"hidden_size"', f'"hidden_size": {good.hidden * 2}, "hidden_size"', 1)


def _own_code(good: Good) -> None:
    good.write(config=good.config(auto_map=_CODE))
    for name in ("its_config", "its_model", "its_tokens", "__init__", "sitecustomize", good.one_of("torch", "numpy")):
        good.put(f"{name}.py", good.python())


def _named_after(good: Good) -> None:
    good.bait("outside/config.json")
    good.write(config=good.config(_name_or_path=good.one_of("../outside", str(good.root.resolve() / "outside"))))


CASES = (
    refused("cfg_missing", "no config", lambda good: good.remove("config.json"), "config"),
    refused("cfg_not_json", "no JSON", _written(lambda good: good.one_of('{"hidden_size": 16,}', "hidden_size: 16\n")), "config"),
    refused("cfg_not_object", "JSON, and no object", _written(lambda good: good.one_of("[]", "null")), "config"),
    refused("cfg_deep", "thousands of levels", _written(lambda good: '{"a":' + "[" * 150_000 + "]" * 150_000 + "}"), "config"),
    refused("cfg_huge_file", "a config of a gigabyte", lambda good: os.truncate(good.folder / "config.json", 10**9), "config"),
    refused("cfg_dup_keys", "a width twice, which are two", _written(_twice), "duplicate"),
    refused("cfg_absurd_layers", "more layers than anything can count",
            _said(lambda good: {"num_hidden_layers": good.one_of(10**12, 2**63 - 1)}), "layers"),
    refused("cfg_absurd_width", "a width or vocabulary that no memory has",
            _said(lambda good: {good.one_of("hidden_size", "vocab_size"): 10**15}), "hidden_size|vocab_size"),
    refused("cfg_zero_heads", "no heads, or fewer", _said(lambda good: {"num_attention_heads": good.one_of(0, -4)}), "heads"),
    refused("cfg_wrong_type", "a width that is a text or a float",
            _said(lambda good: {"hidden_size": good.one_of("16", 24.5)}), "hidden_size"),
    refused("cfg_heads_not_dividing", "heads among which the width cannot be shared",
            _said(lambda good: {"num_attention_heads": good.one_of(5, 7)}), "divisible|heads"),
    refused("cfg_more_layers", "more layers than there are",
            _said(lambda good: {"num_hidden_layers": good.layers + 1}), "layers"),
    refused("cfg_fewer_layers", "fewer layers than there are",
            _said(lambda good: {"num_hidden_layers": good.layers - 1}), "layers"),
    refused("cfg_wrong_family", "the config of another family",
            _said(lambda good: _LLAMA if good.family == "baichuan" else _BAICHUAN), "missing|unexpected|not one of"),
    refused("cfg_unknown_arch", "a family that nobody knows",
            _said(lambda good: {"architectures": ["StrangeForCausalLM"], "model_type": "strange"}), "famil"),
    refused("cfg_nan_eps", "a number that is none, as Python's json reads it",
            _said(lambda good: {"rms_norm_eps": good.one_of(float("nan"), float("inf"))}), "config"),
    refused("cfg_quantized", "weights that are codes",
            _said(lambda good: {"quantization_config": {"quant_method": good.one_of("gptq", "awq"), "bits": 4}}), "quant"),
    refused("cfg_tied_but_differs", "a head that is said to be the embedding, and is not",
            _said(lambda good: {"tie_word_embeddings": True}), "tie"),
    taken("cfg_auto_map_local_code", "code beside the weights, also under names that we import", _own_code),
    warned("cfg_auto_map_other_repo", "code in another repository, or outside",
           _said(lambda good: {"auto_map": {"AutoModelForCausalLM": "an-org/a-repo--modeling_x.M",
                                            "AutoConfig": good.one_of("../../x.C", "an-org/y--conf.C")}}), "remote code"),
    taken("cfg_name_or_path", "a name that is a path to other files", _named_after),
    taken("cfg_weird_dtype", "a type that is none, or the name of a function",
          _said(lambda good: {"torch_dtype": good.one_of("float13", "hub.load")})),
)  # fmt: skip
