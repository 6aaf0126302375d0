"""Patterns of modules: whose rank and alpha a module has, as peft says; however many there are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convert.edits.adapter_config import read_config
from convert.verification.additions import _Patterns
from surgery.errors import ConversionError

peft = pytest.importorskip("peft.utils.other")

_WORDS = ("model", "layers", "0", "10", "self_attn", "q_proj", "v_proj", "mlp")
MODULES = st.lists(st.sampled_from(_WORDS), min_size=1, max_size=5).map(".".join)
KEYS = MODULES | st.sampled_from(
    (r"^model.*q_proj", r".*layers\.1\d.*", r"q_proj|v_proj", r"self_attn\.[qv]_proj", r"layers\.\d\.mlp", "proj")
)


def config(**tables: dict[str, int]) -> dict[str, object]:
    return {"peft_type": "LORA", "r": 4, "lora_alpha": 8, **tables}


@given(st.lists(KEYS, unique=True, max_size=6), MODULES)
def test_a_module_has_the_rank_of_the_first_pattern_that_peft_finds(keys: list[str], module: str) -> None:
    table = {key: place + 5 for place, key in enumerate(keys)}
    found = peft.get_pattern_key(keys, module)  # the module's own name where there is none
    right = table.get(found, 4)
    assert read_config(config(rank_pattern=table)).rank_of(module) == right
    assert _Patterns(table).of(module, 4) == right


def test_names_are_looked_up_however_many_there_are() -> None:
    table = {f"layers.{number}.q_proj": number + 1 for number in range(60_000)}
    read, seen = read_config(config(rank_pattern=table)), _Patterns(table)
    for number in (0, 7, 59_999):
        module = f"model.layers.{number}.q_proj"
        assert read.rank_of(module) == number + 1 == seen.of(module, 4)
    assert read.ranks.patterns == () and seen._others == []


def test_more_patterns_than_any_adapter_has_are_refused() -> None:
    table = {f".*layers.{number}.*q_proj": 8 for number in range(1001)}
    with pytest.raises(ConversionError, match="more than 1000 patterns"):
        read_config(config(alpha_pattern=table))
