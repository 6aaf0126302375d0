"""The stock classes: which they are, a tiny checkpoint of each, and every config key that they know.

All of it is derived: families from the tables, classes and their keys from transformers, sizes by the keys' names.
"""

from __future__ import annotations

import importlib
import json
import re
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from mappings import families
from mappings.family import Setting
from mappings.harmless import LIBRARY
from tests.differential.judge import library

#: uneven sizes by the names that configs have for them; groups, ranks and experts that a swap cannot hide in
SIZES = {
    "vocab_size": 67,
    "hidden_size": 48,
    "intermediate_size": 76,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "max_position_embeddings": 64,
    "n_embd": 48,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 64,
    "moe_intermediate_size": 20,
    "intermediate_size_mlp": 30,
    "shared_expert_intermediate_size": 28,
    "num_experts": 5,
    "num_local_experts": 3,
    "n_routed_experts": 6,
    "num_experts_per_tok": 2,
    "n_group": 3,
    "topk_group": 2,
    "first_k_dense_replace": 1,
    "kv_lora_rank": 12,
    "q_lora_rank": 14,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 10,
    "attention_chunk_size": 8,
    "floor_scale": 4,
    "pad_token_id": None,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
#: where a class needs other sizes than its keys' names say
OTHERWISE: Mapping[str, Mapping[str, Any]] = {
    "deepseek_v2": {"num_key_value_heads": 4, "head_dim": 4, "n_shared_experts": 1},
    "deepseek_v3": {"num_key_value_heads": 4, "head_dim": 4},
    "stablelm": {"partial_rotary_factor": 0.5},  # a quarter of 12 would be half a pair
}
#: modules whose reading of a config holds for every class
_COMMON = ("transformers.masking_utils", "transformers.modeling_rope_utils", "transformers.modeling_utils")
#: which say what the file is
_NAMES = {"model_type", "architectures"}
_READ = re.compile(r"""(?:getattr|hasattr)\((?:self\.)?(?:text_)?config,\s*["'](\w+)["']""")


@dataclass(frozen=True)
class Native:
    """A family that transformers has a class for."""

    family: str
    model_type: str

    @property
    def config_class(self) -> Any:
        return library().CONFIG_MAPPING[self.model_type]

    @property
    def defaults(self) -> dict[str, Any]:
        """Every key of the class with its own default."""
        return dict(self.config_class().to_dict())

    def config(self, **changes: Any) -> Any:
        """The tiny config, with these keys otherwise."""
        known = self.config_class.attribute_map.values() | self.defaults.keys()
        sizes = {key: value for key, value in SIZES.items() if key in known}
        return self.config_class(**{**sizes, **OTHERWISE.get(self.model_type, {}), **changes})

    def make(self, folder: Path, config: Any = None, *, seed: str = "", dtype: torch.dtype = torch.float32) -> None:
        """A checkpoint with random weights as the class saves it; norms and biases matter."""
        torch.manual_seed(zlib.crc32(f"{self.model_type} {seed}".encode()))
        made = model_of(config if config is not None else self.config())
        with torch.no_grad():
            for name, tensor in (*made.named_parameters(), *made.named_buffers()):
                if tensor.is_floating_point() and not name.endswith("inv_freq"):
                    tensor.copy_(_random(name, tensor))
        made.to(dtype).save_pretrained(folder)

    def saved(self, **changes: Any) -> dict[str, Any]:
        """The tiny config as JSON values, as the class saves it."""
        made = self.config(**changes)
        architecture = library().AutoModelForCausalLM._model_mapping[type(made)].__name__
        told: dict[str, Any] = json.loads(json.dumps(made.to_diff_dict()))
        return {**told, "model_type": self.model_type, "architectures": [architecture], "dtype": "float32"}

    def lean(self) -> dict[str, Any]:
        """The tiny config as JSON values, less the keys that the class gives the same value by itself."""
        return dict(_lean(self))

    @property
    def pairs(self) -> int:
        """How many pairs of a head rotate; none where positions are learned."""
        buffers = dict(model_of(self.config()).named_buffers())
        return next((len(tensor) for name, tensor in buffers.items() if name.endswith("inv_freq")), 0)

    def keys_of_class(self) -> tuple[str, ...]:
        """Keys of the class, their other names, and keys that its code asks a config for."""
        module = self.config_class.__module__
        read = {key for name in (module, module.replace("configuration_", "modeling_"), *_COMMON) for key in _asked(name)}
        return tuple(sorted((self.defaults.keys() | self.config_class.attribute_map.keys() | read) - _NAMES))

    def keys_of_tables(self) -> tuple[str, ...]:
        """Keys that this project's tables read, or call harmless."""
        tables = [family for family in families() if family.name == self.family]
        read = {key for table in tables for key in _top(table.settings)}
        harmless = [*LIBRARY, *(one for table in tables for one in table.harmless)]
        return tuple(sorted((read | {key for one in harmless for key in one.keys.split()}) - _NAMES))


def model_of(config: Any) -> Any:
    """The class of a config with weights of its own making."""
    return library().AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()


@cache
def _lean(one: Native) -> Mapping[str, Any]:
    told = one.saved()
    whole = one.config_class(**told).to_dict()
    for key in sorted(told.keys() - _NAMES - {"dtype"}):
        rest = {other: value for other, value in told.items() if other != key}
        with suppress(Exception):  # a config that the class refuses needs the key
            if one.config_class(**rest).to_dict() == whole:
                told = rest
    return told


@cache
def natives() -> tuple[Native, ...]:
    """Every family of the tables that transformers has a causal class for."""
    causal = importlib.import_module("transformers.models.auto.modeling_auto").MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    found = {
        Native(family.name, family.model_type)
        for family in families()
        if not family.partial and family.model_type in causal and family.model_type in library().CONFIG_MAPPING
    }
    return tuple(sorted(found, key=lambda native: native.family))


def native(family: str) -> Native:
    """The class of this family."""
    return next(one for one in natives() if one.family == family)


def has_class(family: str) -> bool:
    """Whether transformers has a class for what this family writes."""
    return any(one.family == family for one in natives())


def _random(name: str, tensor: torch.Tensor) -> torch.Tensor:
    noise = torch.randn(tensor.shape)
    if tensor.ndim > 1:
        return 0.25 * noise
    return 0.3 * noise if "bias" in name else 1.0 + 0.3 * noise


@cache
def _asked(module: str) -> frozenset[str]:
    """The keys that a module asks a config for by name."""
    return frozenset(_READ.findall(Path(str(importlib.import_module(module).__file__)).read_text(encoding="utf-8")))


def _top(settings: tuple[Any, ...]) -> set[str]:
    return {key.split(".")[0] for one in settings if isinstance(one, Setting) for key in one.keys}
