"""No key is dropped that a class reads: each is a setting, or harmless at values that the class itself was asked about."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
import torch

from mappings import families
from mappings.config import read_facts
from mappings.family import Harmless, Setting
from mappings.harmless import LIBRARY, OPTIONS
from surgery.errors import ConversionError
from tests.mappings.classes import config_of, native, stated
from tests.mappings.pairs import randomised, tokens
from tests.oracle import transformers

KINDS = sorted(native())
FAMILIES = {family.label: family for family in families()}
_READ = re.compile(r'\bconfig\.([a-z]\w+)|getattr\((?:self\.)?config, "([a-z]\w+)"')
#: attributes of every config that are no keys of config.json, or another name of one, or of heads for other tasks
_NO_KEYS = {"get_text_config", "per_layer_config", "num_labels", "dtype", "rope_parameters", "hidden_size", "num_hidden_layers",
            "num_attention_heads", "max_position_embeddings", "text_config", "vision_config", "patch_size",
            "num_channels"}  # fmt: skip


def _source(kind: str) -> str:
    """The code that computes logits: of the class, without its vision half, and of the masks that all classes share."""
    library = transformers()
    module = inspect.getmodule(getattr(library, native()[kind].architecture))
    classes = [one for one in vars(module).values() if inspect.isclass(one) and one.__module__ == module.__name__]
    named = [one for one in classes if not re.search("Vision|Conditional", one.__name__)]
    return "".join(map(inspect.getsource, named)) + inspect.getsource(library.masking_utils)


def _known(kind: str) -> tuple[set[str], dict[str, Harmless]]:
    family = native()[kind]
    settings = {key.split(".")[0] for s in family.settings if isinstance(s, Setting) for key in s.keys}
    return settings, {key: one for one in (*OPTIONS, *LIBRARY, *family.harmless) for key in one.keys.split()}


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_class_reads_is_a_setting_or_harmless_at_its_default(kind):
    settings, harmless = _known(kind)
    config = stated(config_of(kind))
    aliases = transformers().CONFIG_MAPPING[kind].attribute_map
    read = {aliases.get(key, key) for found in _READ.findall(_source(kind)) for key in found if key}
    assert len(read) > 8
    unknown = {key for key in read | set(config) if key not in settings | set(harmless) | _NO_KEYS}
    assert unknown == set()
    assert [key for key in config if key not in settings and not harmless[key].covers(config[key])] == []


def _odd(value: Any) -> list[Any]:
    """Values that a config might have in the place of this one."""
    return [one for one in (False, True, None, 0, 1, 0.5, "", []) if type(one) is not type(value) or one != value]


def _logits(kind: str, config: Any) -> torch.Tensor:
    model = randomised(transformers().AutoModelForCausalLM.from_config(config, attn_implementation="eager"))
    with torch.inference_mode():
        found: torch.Tensor = model(tokens(9, 61), use_cache=False).logits
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_that_is_called_harmless_changes_no_logits_of_the_class(kind):
    """Each key that the class reads or writes, and what all classes may be told, at every value that the table takes."""
    family = native()[kind]
    settings, _ = _known(kind)
    config = stated(config_of(kind))
    facts, truth = read_facts(family, config), _logits(kind, config_of(kind))
    read = {key for found in _READ.findall(_source(kind)) for key in found if key}
    asked = {*config, *read, "is_causal", "sliding_window", "use_bidirectional_attention"} - settings - _NO_KEYS
    asked -= {"architectures", "model_type", "dtype", "transformers_version"}
    tried = 0
    for key in sorted(asked):
        for value in _odd(config.get(key)):
            try:
                assert read_facts(family, {**config, key: value}).values_ == facts.values_
            except ConversionError:
                continue
            try:
                found = _logits(kind, config_of(kind, **{key: value}))
            except Exception:  # a value that the class itself does not take: nobody runs such a config
                continue
            tried += 1
            assert (found - truth).abs().max().item() <= 1e-5, f"{key} = {value!r}"
    assert tried > 3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [False, None, 0, ""])
def test_a_mask_that_is_not_causal_is_refused_by_its_key(kind, value):
    config = stated(config_of(kind))
    assert read_facts(native()[kind], {**config, "is_causal": True}).values_ == read_facts(native()[kind], config).values_
    with pytest.raises(ConversionError, match=r"is_causal = .* does nothing only at true .*--accept-key is_causal"):
        read_facts(native()[kind], {**config, "is_causal": value})
    read_facts(native()[kind], {**config, "is_causal": value}, accept=frozenset({"is_causal"}))


@pytest.mark.parametrize("value", [None, False, "", [], {}, 0, True])
def test_a_key_that_nobody_knows_is_refused_whatever_its_value(value):
    config = stated(config_of("llama"))
    with pytest.raises(ConversionError, match=r"rope_magic.*--accept-key rope_magic"):
        read_facts(FAMILIES["llama"], {**config, "rope_magic": value})


@pytest.mark.parametrize("family", families(), ids=lambda family: family.label)
def test_a_key_is_listed_once_and_with_a_reason(family):
    keys = [key for one in (*LIBRARY, *family.harmless) for key in one.keys.split()]
    assert len(keys) == len(set(keys))
    settings = {key.split(".")[0] for s in family.settings if isinstance(s, Setting) for key in s.keys}
    assert not settings & {key for one in family.harmless for key in one.keys.split()}
    assert all(one.why and one.keys for one in (*LIBRARY, *OPTIONS, *family.harmless))
