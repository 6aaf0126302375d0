"""Legalising: passes run where they help, in the order of the tuple, and a rival only where it is preferred."""

from __future__ import annotations

import pytest

from surgery.facts import FACTS, Facts
from surgery.legalise import Refusal, Unexpressible, legalise
from surgery.model import Model
from surgery.passes import PASSES, Pass
from surgery.values import Exactness


def refusing(*facts):
    """A target that wants each of these facts neutral."""
    return lambda known: tuple(Refusal(f, str(known[f]), "") for f in facts if known[f] != FACTS[f].neutral)


def changing(name, mends, changes, **options):
    to = {fact.replace(".", "__"): value for fact, value in changes.items()}
    return Pass(name, mends, name, Exactness.BYTE, lambda model, refused: model.having(name, **to), **options)


def model(**facts):
    return Model(Facts().with_({fact.replace("__", "."): value for fact, value in facts.items()}, "a test"), {})


PLAIN = changing("plain", ("window",), {"window": None})
RIVAL = changing("rival", ("window",), {"window": None, "context": 7}, instead_of="plain")


@pytest.mark.parametrize(("prefer", "ran"), [((), ["plain"]), (("plain",), ["plain"]), (("rival",), ["rival"])])
def test_a_rival_runs_where_it_is_preferred_and_only_there(prefer, ran):
    legal, passes = legalise(model(window=4), refusing("window"), prefer=prefer, passes=(RIVAL, PLAIN))
    assert [p.name for p in passes] == ran
    assert legal.facts["context"] == (7 if ran == ["rival"] else None)


def test_where_a_preferred_rival_cannot_help_the_default_does():
    helpless = changing("helpless", ("window",), {}, instead_of="plain")
    _, passes = legalise(model(window=4), refusing("window"), prefer=("helpless",), passes=(helpless, PLAIN))
    assert [p.name for p in passes] == ["plain"]


def test_a_rival_that_nobody_prefers_runs_where_the_default_cannot_help():
    helpless = changing("plain", ("window",), {})
    legal, passes = legalise(model(window=4), refusing("window"), passes=(RIVAL, helpless))
    assert passes == (RIVAL,) and legal.facts["window"] is None


def test_a_pass_that_would_put_one_refusal_in_the_place_of_another_is_not_applied():
    swap = changing("swap", ("window",), {"window": None, "tied": True})
    with pytest.raises(Unexpressible) as refused:
        legalise(model(window=4), refusing("window", "tied"), passes=(swap,))
    assert [r.fact for r in refused.value.refusals] == ["window"]
    legal, passes = legalise(model(window=4), refusing("window"), passes=(swap,))
    assert passes == (swap,) and legal.facts["tied"] is True


def test_partial_rotary_that_a_target_cannot_say_at_all_is_refused_as_what_it_is():
    glm = model(layer=1, hidden=8, heads=2, kv=2, head=4, context=16, rope__share=0.5)
    with pytest.raises(Unexpressible) as refused:
        legalise(glm, refusing("rope.share", "rope.scaling"))
    assert [(r.fact, r.value) for r in refused.value.refusals] == [("rope.share", "0.5")]


def test_every_rival_stands_before_the_pass_that_it_replaces():
    order = [p.name for p in PASSES]
    assert len(set(order)) == len(order)
    rivals = {p.name: p.instead_of for p in PASSES if p.instead_of}
    assert rivals == {"gauge": "fold", "proportional": "longrope"}
    assert all(order.index(name) < order.index(other) for name, other in rivals.items())


def test_passes_speak_of_facts_that_exist():
    for one in PASSES:
        assert one.mends and set(one.mends) | set(one.introduces) <= FACTS.keys()
        assert bool(one.wants) == bool(one.why_wants) and bool(one.asked) == bool(one.costs)


def test_each_fact_that_can_be_mended_is_and_a_refusal_names_the_others_alone():
    both = changing("both", ("window", "tied"), {"window": None, "tied": False})
    half = Pass("half", ("window", "tied"), "", Exactness.BYTE, lambda m, refused: m.having("half", window=None))
    assert [p.name for p in legalise(model(window=4, tied=True), refusing("window", "tied"), passes=(both,))[1]] == ["both"]
    with pytest.raises(Unexpressible) as refused:
        legalise(model(window=4, tied=True), refusing("window", "tied"), passes=(half,))
    assert [r.fact for r in refused.value.refusals] == ["tied"]


def test_a_pass_goes_to_the_value_that_the_target_has():
    def to(value):
        return lambda m, refused: m.having("scaled", embed__scale=value)

    def wants(value):
        return lambda known: () if known["embed.scale"] == value else (Refusal("embed.scale", "", ""),)

    scale = Pass("scale", ("embed.scale",), "", Exactness.BYTE, to(1.0), otherwise=to("root of hidden"))
    for value in (1.0, "root of hidden"):
        legal, _ = legalise(model(embed__scale=12), wants(value), passes=(scale,))
        assert legal.facts["embed.scale"] == value
