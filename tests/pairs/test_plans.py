"""Every golden case towards every family: planned, and compared with what was expected before."""

from __future__ import annotations

import pytest

from convert.checkpoint import open_checkpoint
from convert.prepare import open_artefact, plan_artefact
from mappings import families
from mappings.rows import encode
from surgery.errors import ConversionError
from surgery.legalise import Unexpressible
from tests.goldens import golden, goldens
from tests.pairs.expected import CASES, TARGETS, Outcome, expected, together

PRESENT = [golden(name) for name in CASES]
#: what the files of the 13B cases cannot say, being tiny: provenance.json has it
VARIANTS = {"baichuan-13b": "13b", "baichuan2-13b": "2-13b"}


def outcome(artefact, target):
    try:
        return Outcome(str(plan_artefact(artefact, target).exactness))
    except Unexpressible as refused:
        return Outcome("refused", frozenset(together(r.fact) for r in refused.refusals))


@pytest.mark.parametrize("case", PRESENT, ids=str)
def test_a_case_becomes_what_its_vendors_code_says_it_can(case):
    artefact = open_artefact(open_checkpoint(case.checkpoint), variant=VARIANTS.get(case.name))
    assert artefact.family == CASES[case.name].family
    found = {target: outcome(artefact, target) for target in TARGETS}
    assert found == {target: expected(case.name, target) for target in TARGETS}


def test_every_family_and_every_golden_checkpoint_is_in_the_matrix():
    assert set(TARGETS) == {family.name for family in families()}
    additions = ("lora-", "delta-")  # two checkpoints in one folder: tests/edits has them
    assert {c.name for c in goldens() if not c.name.startswith(additions)} <= set(CASES)


def test_a_tensor_without_a_place_in_the_target_is_never_dropped():
    model = open_artefact(open_checkpoint(golden("llama-mha").checkpoint)).model
    llama = next(f for f in families() if f.name == "llama")
    with pytest.raises(ConversionError, match=r"has no place for layer\.0\.router_shift"):
        list(encode(llama, model.using({"layer.0.router_shift": model.tensors["norm"]})))
    with pytest.raises(ConversionError, match=r"this model lacks, layer\.0\.up"):
        list(encode(llama, model.using({"layer.0.up": None})))
