"""The humane gate: no published config of a family that we read is refused for a key that changes nothing."""

from __future__ import annotations

import pytest

from mappings import families
from mappings.config import read_facts, recognise
from surgery.errors import ConversionError
from tests.published import published

KNOWN = {f.name for f in families()}
CASES = [case for case in published() if case.family in KNOWN]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_published_config_is_recognised_and_read(case):
    found = recognise(families(), case.config)
    assert {f.name for f in found} == {case.family}
    for family in found:
        assert read_facts(family, case.config)["hidden"] > 0


def test_the_collection_is_large_enough_to_mean_something():
    assert len(CASES) >= 40


@pytest.mark.parametrize("key", ["attention_sink", "rope_magic", "final_logit_softcapping"])
def test_an_unknown_key_is_refused_by_name_until_it_is_accepted(key):
    case = next(c for c in CASES if c.family == "llama")
    (family,) = recognise(families(), case.config)
    with pytest.raises(ConversionError, match=f"{key}.*--accept-key {key}"):
        read_facts(family, {**case.config, key: 30.0})
    assert read_facts(family, {**case.config, key: 30.0}, accept=frozenset({key})) == read_facts(family, case.config)
