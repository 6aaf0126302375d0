"""Scales of MiniCPM and Gemma: folded or gauged, the function is the same, and so it is on the way back."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgery.facts import Facts
from surgery.model import Model
from surgery.passes.gauge import gauge_scales
from surgery.passes.norm_offset import shift_norms
from surgery.passes.scales import ROOT, SCALES, fold_scales
from surgery.passes.untie import untie
from tests.surgery.passes.configs import gemma, minicpm
from tests.surgery.passes.tiny import apart, tiny

WAYS = [fold_scales, gauge_scales]
quick = settings(deadline=None, max_examples=25)


@pytest.mark.parametrize("mend", WAYS)
@given(config=minicpm(), seed=st.integers(0, 99))
@quick
def test_minicpm_without_its_scales_is_a_llama_of_the_same_function(mend, config, seed):
    source = tiny(config, seed)
    assert apart(source, source.written(mend(source.model), "llama")) < 1e-12


@pytest.mark.parametrize("mend", WAYS)
@given(config=minicpm(), which=st.sets(st.sampled_from(SCALES)).map(frozenset))
@quick
def test_any_of_the_scales_may_stay(mend, config, which):
    source = tiny(config)
    mended = mend(source.model, which)
    assert {f for f in SCALES if mended.facts[f] != source.model.facts[f]} <= which
    assert apart(source, source.written(mended, "minicpm")) < 1e-12


@pytest.mark.parametrize("mend", WAYS)
@given(config=gemma(), seed=st.integers(0, 99))
@quick
def test_gemma_becomes_llama_and_gemma_again(mend, config, seed):
    source = tiny(config, seed)
    llama = source.written(mend(shift_norms(source.model)), "llama")
    assert apart(source, llama) < 1e-12
    back = llama.written(mend(shift_norms(llama.model, 1.0), embed_scale=ROOT), "gemma")
    assert apart(source, back) < 1e-12


@given(config=minicpm())
@quick
def test_the_gauge_keeps_embeddings_head_and_tie_as_they_are(config):
    model = tiny(config).model
    gauged = gauge_scales(model)
    assert gauged.facts["tied"] == model.facts["tied"]
    assert {name: gauged.tensors.get(name) for name in ("embed", "head")} == {
        name: model.tensors.get(name) for name in ("embed", "head")
    }
    assert gauged.facts["norm.eps"] == pytest.approx(config["rms_norm_eps"] / config["scale_emb"] ** 2)


def test_folding_ends_a_tie_only_where_embeddings_or_logits_are_scaled():
    sizes = {"layer": 4, "hidden": 16, "tied": True}
    branches = Model(Facts().with_({**sizes, "residual.depth": 1.4}, "a test"), {})
    assert fold_scales(branches).facts["tied"] is True
    for scale in ({"embed.scale": 12}, {"logits.base": 4}):
        assert fold_scales(Model(Facts().with_({**sizes, **scale}, "a test"), {})).facts["tied"] is False


def test_a_depth_that_is_the_root_of_the_layers_is_no_scale():
    model = Model(Facts().with_({"layer": 4, "hidden": 16, "residual.depth": 2.0, "logits.base": 16}, "a test"), {})
    assert fold_scales(model).tensors == gauge_scales(model).tensors == {}
    assert gauge_scales(model).facts["norm.eps"] == model.facts["norm.eps"]


@pytest.mark.parametrize("fact", [{"norm.after": True}, {"layers.moe": (0,)}, {"attention": "latent"}])
@pytest.mark.parametrize("mend", WAYS)
def test_branches_that_are_not_plain_matrices_are_left_alone(mend, fact):
    scales = {"residual.depth": 1.4, "embed.scale": 3}
    model = Model(Facts().with_({"layer": 2, "hidden": 8, **scales, **fact}, "a test"), {})
    assert mend(model) is model


@given(config=minicpm())
@quick
def test_untying_changes_nothing_that_is_computed(config):
    source = tiny({**config, "tie_word_embeddings": True})
    assert apart(source, source.written(untie(source.model), "minicpm")) == 0.0
