"""Every cell that `weightsmith families` advertises, carried out: converted, verified as `run` does, and turned back.

A starred cell needs a checkpoint that meets its conditions, which few golden cases do, so each source is made to: the
facts that its config leaves at their defaults, and of the others what the target has. Judged by the reference decoders,
the configs' meanings and the formulas of placement, none of which reads a table, and by transformers' classes.

Slow: more than two hundred conversions, each written and run.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from convert.checkpoint import open_checkpoint
from convert.prepare import plan_conversion
from convert.verification.movement import prove
from convert.verification.run import verify
from convert.wish import variant_of
from convert.writing import write
from mappings import families
from mappings.compare import Direction, directions, typical
from mappings.config import recognise
from mappings.family import Family, Fixed, Of, Setting
from mappings.via import SAME
from surgery.facts import FACTS, Facts
from surgery.legalise import Unexpressible
from tests.oracle import native_logits
from tests.pairs.imagined import filled
from tests.pairs.test_written import FLOAT32, WITHOUT_CLASS

ADVERTISED = [way for way in directions() if way.exactness is not None]
WAYS = {(way.source.name, way.target.name) for way in ADVERTISED}
IDS = torch.randint(320, (2, 40), generator=torch.Generator().manual_seed(5))

pytestmark = pytest.mark.slow


def wanted(target: Family, fact: str, facts: Facts) -> object:
    """What a target has of a fact: what its code hard-wires, else what a plain Llama does."""
    fixed = [s.value for s in target.settings if isinstance(s, Fixed) and s.fact == fact]
    if not fixed:
        return FACTS[fact].neutral
    value = fixed[0]
    if isinstance(value, Of):
        return value.times * facts[value.fact] // (facts[value.over] if value.over else 1)
    return value


def together(source: Family, meant: dict[str, object]) -> dict[str, object]:
    """The same for every fact that one key of the source states with one of them."""
    settings = [s for s in source.settings if isinstance(s, Setting) and s.via is SAME]
    return meant | {fact: meant[known] for known in meant for s in settings if known in s.facts for fact in s.facts}


def plan_of(folder: Path, source: Family, to: str):
    checkpoint = open_checkpoint(folder)
    open_question = len(recognise(families(), checkpoint.config)) > 1
    return plan_conversion(checkpoint, to, variant=source.variant if open_question else None)


def source_of(way: Direction, folder: Path) -> Path:
    """A checkpoint that meets the cell's conditions: grouped keys where both sides have them."""
    grouped = any("kv" in setting.facts for setting in way.source.settings if isinstance(setting, Setting))
    hardwired = any(setting.fact == "kv" for setting in way.source.settings if isinstance(setting, Fixed))
    for kv in (2, 4) if grouped and not hardwired else (4,):
        facts = typical(way.source).with_({"kv": kv}, "a test")
        for attempt in range(3):
            at = folder / f"{kv}-{attempt}"
            filled(way.source, facts, at)
            try:
                plan_of(at, way.source, way.target.name)
            except Unexpressible as refused:
                meant = {r.fact: wanted(way.target, r.fact, facts) for r in refused.refusals}
                facts = facts.with_(together(way.source, meant), "a test")
            else:
                return at
    raise AssertionError(f"no source meets the conditions of {way.source.label} -> {way.target.name}")


def faults(source: Path, plan, out: Path) -> list[str]:
    """What the verifier says against an output, after it was written."""
    write(plan, out)
    variants = variant_of(plan.source), variant_of(plan.target)
    verdict = verify(
        open_checkpoint(source), open_checkpoint(out), exactness=str(plan.exactness), variant=variants[0],
        output_variant=variants[1],
    )  # fmt: skip
    lineage = prove(plan, variant=variants[0])
    assert lineage is not None
    found = [] if verdict.passed else [verdict.sentence, *(f.line for f in verdict.findings if f.status == "fails")]
    return [*found, *([] if lineage.passed else [lineage.sentence])]


@pytest.mark.parametrize("way", ADVERTISED, ids=lambda way: f"{way.source.label}-{way.target.name}")
def test_what_is_advertised_is_verified_and_comes_back(way, tmp_path):
    source = source_of(way, tmp_path / "source")
    plan = plan_of(source, way.source, way.target.name)
    told = faults(source, plan, tmp_path / "out")
    published = bool(way.source.recognise.one_of)  # by its sizes alone, which are not those of a test
    if (way.target.name, way.source.name) in WAYS and not way.source.partial and not published:
        back = plan_of(tmp_path / "out", way.target, way.source.name)
        told += [f"back: {one}" for one in faults(tmp_path / "out", back, tmp_path / "back")]
    if way.target.name not in WITHOUT_CLASS and way.source.name not in WITHOUT_CLASS and not way.source.partial:
        truth, made = native_logits(source, IDS), native_logits(tmp_path / "out", IDS)
        apart = ((made - truth).abs().max() / truth.abs().max()).item()
        told += [] if apart <= FLOAT32 else [f"transformers: logits {apart} apart"]
    assert not told
