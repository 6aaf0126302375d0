"""One reading of rope: the tables' and the verifier's, each held against what transformers computes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from convert.verification import rope
from mappings import families
from mappings.config import read_facts, refusals, write_config
from mappings.family import Family
from surgery.errors import ConversionError
from tests.mappings.classes import config_of, native, stated
from tests.oracle import transformers

FAMILIES = {family.label: family for family in families()}
FACTORS = [1.0, 1.1, 1.5, 2.0]
TABLES: dict[str, dict[str, Any]] = {
    "default": {},
    "linear": {"factor": 4.0},
    "dynamic": {"factor": 2.0},
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 32},
    "longrope": {"short_factor": FACTORS, "long_factor": [2 * f for f in FACTORS], "original_max_position_embeddings": 32},
    "llama3": {
        "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32,
    },
    "proportional": {"partial_rotary_factor": 0.5},
}  # fmt: skip
#: names that some program computes another table under, and how transformers calls that
OTHERWISE = {"su": "longrope", "mrope": "default"}
SECTIONS = {"mrope": {"mrope_section": [1, 1, 2]}, "su": TABLES["longrope"]}


def llama(table: dict[str, Any], key: str = "rope_scaling", **more: Any) -> dict[str, Any]:
    config = {k: v for k, v in stated(config_of("llama")).items() if not k.startswith("rope")}
    return {**config, key: table, **more}


def theirs(config: dict[str, Any], length: int) -> tuple[torch.Tensor, float]:
    """The frequencies and the factor that transformers computes for a config that it knows."""
    library = transformers()
    made = library.LlamaConfig(**{k: v for k, v in config.items() if k not in ("architectures", "model_type")})
    kind = made.rope_parameters["rope_type"]
    if kind == "default":
        frequencies, factor = library.models.llama.modeling_llama.LlamaRotaryEmbedding.compute_default_rope_parameters(made)
    else:
        frequencies, factor = library.modeling_rope_utils.ROPE_INIT_FUNCTIONS[kind](made, torch.device("cpu"), seq_len=length)
    return frequencies.double(), float(factor)


def ours(config: dict[str, Any], length: int) -> rope.Rope:
    keys = rope.settings(config)
    return rope.table(keys, config["head_dim"], length=length, longest=config["max_position_embeddings"], partial=False)


def test_the_types_are_those_of_the_library():
    assert set(TABLES) - {"default"} == set(transformers().modeling_rope_utils.ROPE_INIT_FUNCTIONS)


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("key", ["rope_scaling", "rope_parameters"])
def test_what_is_written_and_what_the_verifier_computes_is_what_transformers_computes(kind, key):
    config = llama({"rope_type": kind, **TABLES[kind]}, key)
    written = write_config(FAMILIES["llama"], read_facts(FAMILIES["llama"], config))
    for length in (16, 32, 33, 128):
        frequencies, factor = theirs(config, length)
        again, factor_again = theirs(written, length)
        assert torch.equal(frequencies, again) and factor == factor_again
        mine = ours(config, length)
        assert torch.allclose(mine.frequencies, frequencies, rtol=1e-6, atol=0) and abs(mine.factor - factor) < 1e-6


@pytest.mark.parametrize("name", OTHERWISE)
@pytest.mark.parametrize("key", ["type", "rope_type"])
def test_another_name_is_read_on_both_sides_and_never_written(name, key):
    """``su`` as Phi-3's own class reads it; for text the three streams of ``mrope`` are one."""
    config = llama({key: name, **SECTIONS[name]})
    plain = llama({"rope_type": OTHERWISE[name], **TABLES[OTHERWISE[name]]})
    written = write_config(FAMILIES["llama"], read_facts(FAMILIES["llama"], config))
    assert written["rope_parameters"]["rope_type"] == OTHERWISE[name]
    assert name not in str(written)
    assert read_facts(FAMILIES["llama"], config).values_ == read_facts(FAMILIES["llama"], plain).values_
    assert torch.equal(ours(config, 33).frequencies, theirs(plain, 33)[0]) or torch.allclose(
        ours(config, 33).frequencies, theirs(plain, 33)[0], rtol=1e-6, atol=0
    )


_ROPED = [family for family in families() if any("rope.scaling" in s.fact.split() and hasattr(s, "key") for s in family.settings)]
NATIVE_ROPED = [family for family in _ROPED if family.label in {f.label for f in native().values()}]


@pytest.mark.parametrize("family", NATIVE_ROPED, ids=lambda family: family.label)
@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({"type": "ntk", "factor": 2.0}, "'ntk'"),
        ({"rope_type": "magic"}, "'magic'"),
        ({"full_attention": {"rope_type": "default"}, "sliding_attention": {"rope_type": "default"}}, "full_attention"),
        ({"rope_type": "linear", "type": "dynamic", "factor": 2.0}, "two types|'linear'"),
        ({"type": "linear"}, "factor|'linear'"),
        ({"type": "llama3", "factor": 8.0}, "low_freq_factor|'llama3'"),
    ],
)
@pytest.mark.parametrize("key", ["rope_scaling", "rope_parameters"])
def test_a_rope_that_no_class_computes_is_refused_by_name(family, table, why, key):
    config = {k: v for k, v in stated(config_of(family.model_type)).items() if not k.startswith("rope_p")}
    with pytest.raises(ConversionError, match=why):
        read_facts(family, {**config, key: table})


@pytest.mark.parametrize("family", NATIVE_ROPED, ids=lambda family: family.label)
@pytest.mark.parametrize("kind", TABLES)
def test_no_family_writes_a_rope_that_its_class_does_not_load(family, kind):
    """Where the class builds a table of this type, and we take it, it builds the same from what we write."""
    config = {k: v for k, v in stated(config_of(family.model_type)).items() if not k.startswith("rope_p")}
    config["rope_scaling"] = {"rope_type": kind, **TABLES[kind]}
    try:
        facts, before = read_facts(family, config), _rotation(family, config)
    except Exception:  # a refusal of ours, or whatever the class makes of a config that it does not take
        return
    if not refusals(family, facts):
        assert torch.equal(_rotation(family, write_config(family, facts)), before)


def _rotation(family: Family, config: dict[str, Any]) -> torch.Tensor:
    """The frequencies in a model that the class builds from a config."""
    keys = {key: value for key, value in config.items() if key not in ("architectures", "model_type")}
    model = transformers().AutoModelForCausalLM.from_config(transformers().CONFIG_MAPPING[family.model_type](**keys))
    return next(value for name, value in model.named_buffers() if name.endswith("rotary_emb.inv_freq"))
