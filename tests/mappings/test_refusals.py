"""Refusals say what stands in the way, and nothing that a pass ends: over all golden cases, and over facts one by one."""

from __future__ import annotations

import warnings
from functools import partial

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CONFIG_MAPPING
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from convert.checkpoint import open_checkpoint
from convert.prepare import open_artefact, plan_conversion
from convert.verification.movement import prove
from convert.verification.run import verify
from convert.writing import write
from mappings import families
from mappings.compare import imagined, typical
from mappings.config import refusals
from surgery.legalise import Unexpressible, legalise
from surgery.passes import PASSES
from tests.goldens import golden
from tests.oracle import native_logits
from tests.pairs.imagined import filled
from tests.pairs.test_plans import PRESENT, VARIANTS

BY_LABEL = {family.label: family for family in families()}


def endable(model, target, refused):
    """The facts of a refusal that some pass, which costs nothing, ends by itself without another in their place."""
    before = {r.fact for r in refusals(target, model.facts)}
    return {
        (fact, p.name)
        for p in PASSES
        for fact in before & refused & set(p.mends)
        for way in p.ways
        if not p.asked and {r.fact for r in refusals(target, way(model, frozenset({fact})).facts)} <= before - {fact}
    }


@pytest.mark.parametrize("case", PRESENT, ids=str)
def test_no_refusal_of_a_golden_case_names_what_a_pass_would_end(case):
    model = open_artefact(open_checkpoint(case.checkpoint), variant=VARIANTS.get(case.name)).model
    for target in families():
        try:
            legalise(model, partial(refusals, target))
        except Unexpressible as refusal:
            assert not endable(model, target, {r.fact for r in refusal.refusals}), target.label


@pytest.mark.parametrize("source", BY_LABEL)
def test_no_refusal_of_a_family_as_its_tables_have_it_names_what_a_pass_would_end(source):
    facts = typical(BY_LABEL[source])
    stated = {"bias.mlp": True, "bias.o": True, "embed.scale": 12.0, "logits.base": 256, "norm.offset": 1.0, "window": 64}
    for changes in ({}, *({fact: value} for fact, value in stated.items())):
        model = imagined(BY_LABEL[source], facts.with_(changes, "a test"))
        for target in families():
            try:
                legalise(model, partial(refusals, target))
            except Unexpressible as refusal:
                assert not endable(model, target, {r.fact for r in refusal.refusals}), (target.label, changes)


def llama(folder, **facts):
    """A Llama whose MLP biases are as they come; other facts by keyword."""
    known = typical(BY_LABEL["llama"]).with_({name.replace("__", "."): value for name, value in facts.items()}, "a test")
    return filled(BY_LABEL["llama"], known, folder)


def zeroed(folder, part):
    held = load_file(folder / "model.safetensors")
    held |= {name: torch.zeros_like(t) for name, t in held.items() if part in name and name.endswith("bias")}
    save_file(held, folder / "model.safetensors", {"format": "pt"})
    return folder


def test_zero_biases_of_an_mlp_are_dropped_and_those_that_the_target_has_are_written(tmp_path):
    source = zeroed(llama(tmp_path / "in", bias__mlp=True), "mlp")
    plan = plan_conversion(open_checkpoint(source), "qwen2")
    write(plan, tmp_path / "out")
    assert str(plan.exactness) == "byte"
    verdict = verify(open_checkpoint(source), open_checkpoint(tmp_path / "out"), exactness="byte")
    assert verdict.passed and prove(plan).passed
    ids = torch.arange(20).reshape(2, 10)
    assert (native_logits(source, ids) - native_logits(tmp_path / "out", ids)).abs().max() <= 1e-5


def test_biases_that_are_not_zero_are_the_only_reason(tmp_path):
    with pytest.raises(Unexpressible) as refused:
        plan_conversion(open_checkpoint(llama(tmp_path / "in", bias__mlp=True)), "qwen2")
    assert [r.fact for r in refused.value.refusals] == ["bias.mlp"]


def test_a_scale_of_embeddings_becomes_the_one_that_the_target_has():
    minicpm = open_artefact(open_checkpoint(golden("minicpm-2b").checkpoint)).model
    with pytest.raises(Unexpressible) as refused:
        legalise(minicpm, partial(refusals, BY_LABEL["gemma"]))
    assert {r.fact for r in refused.value.refusals} == {"activation"}


@pytest.mark.parametrize("family", [f for f in families() if f.model_type in CONFIG_MAPPING_NAMES], ids=lambda f: f.label)
def test_a_width_is_refused_where_the_librarys_class_refuses_it(family):
    """Whether a class wants a width that its heads divide is a fact about the class, and no other class inherits it."""
    made = CONFIG_MAPPING[family.model_type]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            type(made)(**{**made.to_dict(), "hidden_size": 130, "num_attention_heads": 4, "head_dim": 32})
        except Exception as error:
            refused = "multiple of the number of attention" in str(error)
        else:
            refused = False
    facts = typical(family).with_({"hidden": 130, "heads": 4}, "a test")
    ours = any("takes only a multiple" in refusal.reason for refusal in refusals(family, facts) if refusal.fact == "hidden")
    assert ours is refused
