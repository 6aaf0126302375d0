"""Models of odd sizes become themselves: one layer, one key head, heads of two, no experts anywhere; in every family.

What is planned is recognised as what it was planned as, states every fact again, and computes the same: transformers'
class where there is one says so of input and output, and the verifier's two entries in any case.
"""

from __future__ import annotations

import pytest
import torch

from convert.checkpoint import open_checkpoint
from convert.prepare import open_artefact, plan_artefact
from convert.verification.movement import prove
from convert.verification.run import verify
from convert.wish import variant_of
from convert.writing import write
from mappings import families
from mappings.family import Family, Fixed, Of, Setting
from mappings.via import BY_THE_TENSORS
from surgery.facts import Facts
from tests.oracle import native_logits
from tests.pairs.imagined import filled
from tests.pairs.test_plans import PRESENT, VARIANTS
from tests.pairs.test_written import WITHOUT_CLASS

BY_LABEL = {family.label: family for family in families()}
#: one golden case of each family and variant, for what its config says otherwise
CASES = {
    "aquila2-7b", "baichuan-7b", "baichuan2-7b", "baichuan-13b", "chatglm1-6b", "chatglm3", "deepseek-v2-lite", "deepseek-v3",
    "gemma1-2b", "gemma2", "gpt2", "internlm-7b", "internlm2-7b", "llama-gqa", "meta-llama1", "meta-llama2-gqa", "meta-llama3",
    "meta-llama31-scaled-rope", "minicpm-2b", "mistral", "mixtral", "nanogpt", "phi3", "qwen-7b", "qwen2",
    "qwen2-sliding-window-on", "qwen2-moe", "qwen3", "stablelm", "yi-6b",
}  # fmt: skip
ODD = {
    "one layer": {"layer": 1},
    "one key head": {"kv": 1},
    "one head": {"heads": 1, "kv": 1},
    "heads of two": {"head": 2},
    "three heads of twelve": {"heads": 3, "kv": 3, "head": 12},
    "no layer with experts": {"layers.moe": ()},
    "tied": {"tied": True},
}
#: what a family's config cannot say, though its setting is about the fact: in Mixtral every layer has experts
UNSAID = {("mixtral", "no layer with experts")}


def odd_facts(family: Family, facts: Facts, changes: dict[str, object]) -> Facts | None:
    """The facts with what follows from the changes; None where the family's code has no other value."""
    hardwired = {s.fact: s.value for s in family.settings if isinstance(s, Fixed)}
    said = [s for s in family.settings if isinstance(s, Setting) and s.via is not BY_THE_TENSORS]
    free = {fact for s in said for fact in s.facts} - hardwired.keys()
    follows = {fact for fact, value in hardwired.items() if isinstance(value, Of)}
    if "kv" in follows and "heads" in changes:
        changes = {**changes, "kv": changes["heads"]}
    if not changes.keys() <= free | (follows if len(changes) > 1 or "head" in changes else set()):
        return None
    if ("layers.moe" in changes and not facts["layers.moe"]) or ("kv" in changes and facts["attention"] == "latent"):
        return None
    known = facts.with_(changes, "a test")
    if known.knows("head"):
        part = int(known["head"] * known["rope.share"])
        if not part or (known["prefix"] and part % 4) or (part % 2 and family.name == "stablelm"):
            return None  # nothing to rotate; not two streams of pairs; transformers' StableLM fails with an odd part
        known = known.with_({"hidden": known["heads"] * known["head"]}, "a test")
    if facts["ffn"] is not None and facts["hidden"] is not None and facts["ffn"] == 4 * facts["hidden"]:
        known = known.with_({"ffn": 4 * known["hidden"]}, "a test")
    every = range(known["layer"] + known["mtp"])
    within = {fact: tuple(i for i in known[fact] if i in every) for fact in ("layers.moe", "window.full", "rope.none")}
    unlimited = {"window": None, "window.full": ()} if len(within["window.full"]) == known["layer"] else {}
    return known.with_(within | unlimited, "a test")


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("case", [case for case in PRESENT if case.name in CASES], ids=str)
def test_a_model_of_odd_sizes_becomes_itself(case, odd, tmp_path):
    golden = open_artefact(open_checkpoint(case.checkpoint), variant=VARIANTS.get(case.name))
    family = BY_LABEL[golden.label]
    facts = odd_facts(family, golden.model.facts, ODD[odd])
    if facts is None or (family.label, odd) in UNSAID:
        return  # this family has no such model
    source = filled(family, facts, tmp_path / "in")
    artefact = open_artefact(open_checkpoint(source), variant=VARIANTS.get(case.name))
    assert artefact.label == family.label
    assert {n: v for n, v in facts.items() if artefact.model.facts[n] != v and v is not None} == {}
    plan = plan_artefact(artefact)
    assert plan.target == artefact.label
    write(plan, tmp_path / "out")
    again = open_artefact(open_checkpoint(tmp_path / "out"), variant=VARIANTS.get(case.name))
    assert again.label == artefact.label and dict(again.model.facts) == dict(artefact.model.facts)
    variant = variant_of(plan.source)
    options = {"variant": variant, "output_variant": variant, "exactness": "byte"}
    verdict = verify(open_checkpoint(source), open_checkpoint(tmp_path / "out"), **options)
    lineage = prove(plan, variant=variant)
    assert verdict.passed, (verdict.sentence, [finding.line for finding in verdict.findings])
    assert lineage is not None and lineage.passed, lineage.sentence
    if family.name not in WITHOUT_CLASS:
        ids = torch.randint(facts["vocab"], (2, 12), generator=torch.Generator().manual_seed(5))
        assert torch.equal(native_logits(source, ids), native_logits(tmp_path / "out", ids))
