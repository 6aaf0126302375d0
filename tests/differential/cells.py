"""Sweep `cell`: every cell that `convert families` prints, on every golden of its row: converted, verified, turned back.

The truth are the logits that the vendor's own code computed. The judge is transformers where it has a class for what was
written, and else the reference decoder of that family, which is the second best: it is ours.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from convert.planning import Plan
from mappings import families
from mappings.compare import directions
from surgery.errors import ConversionError
from surgery.model import Artefact
from surgery.values import Exactness
from tests.differential import judge, product
from tests.differential.case import Fault, Outcome, brief, concluded, unjudged
from tests.differential.judge import Unloadable
from tests.differential.room import Room
from tests.goldens import Golden, golden, goldens
from tests.pairs.test_plans import VARIANTS
from tests.pairs.test_written import WITHOUT_CLASS, allowed, returned, stored
from tests.verification.decoding import decoded

EDITS = ("lora-", "delta-")  # two checkpoints in one folder


@dataclass(frozen=True)
class CellCase:
    """One golden towards one family."""

    golden: str
    label: str
    target: str
    conditional: bool  # the cell has a star

    @property
    def id(self) -> str:
        return f"cell/{self.golden}->{self.target}"

    @property
    def source(self) -> str:
        return f"cell/{self.golden}"

    def judged(self, room: Room) -> Outcome:
        case = golden(self.golden)
        artefact = opened(case)

        def judged(plan: Plan) -> Outcome:
            return concluded(self.id, _faults(case, artefact, plan, room))

        outcome = product.tried(self.id, lambda: product.plan_artefact(artefact, self.target), judged)
        if outcome.verdict == "refused" and not self.conditional:
            return concluded(self.id, [Fault("refused", f"a cell without conditions: {outcome.because}")])
        return outcome


@dataclass(frozen=True)
class EmptyCell:
    """A cell of a row that no golden is of."""

    label: str
    target: str

    @property
    def id(self) -> str:
        return f"cell/{self.label}->{self.target}"

    @property
    def source(self) -> str:
        return f"cell/{self.label}"

    def judged(self, room: Room) -> Outcome:
        return unjudged(self.id, f"no golden is of {self.label}")


def cases() -> Iterator[CellCase | EmptyCell]:
    """Every printed cell, by goldens."""
    of: dict[str, list[str]] = {}
    for case in goldens():
        if not case.name.startswith(EDITS):
            of.setdefault(opened(case).label, []).append(case.name)
    for family in families():
        ways = {
            way.target.name: bool(way.conditions)
            for way in directions()
            if way.source == family and way.exactness is not None
        }
        if not family.partial:
            ways[family.name] = False
        for name in of.get(family.label, ()):
            yield from (CellCase(name, family.label, target, starred) for target, starred in sorted(ways.items()))
        if family.label not in of:
            yield from (EmptyCell(family.label, target) for target in sorted(ways))


@cache
def opened(case: Golden) -> Artefact:
    """A golden in the hub's words."""
    return product.opened(case.checkpoint, variant=VARIANTS.get(case.name))


def _faults(case: Golden, artefact: Artefact, plan: Plan, room: Room) -> list[Fault]:
    truth = load_file(case.logits)
    variant = VARIANTS.get(case.name)
    tolerance = allowed(case, str(plan.exactness)) / max(1.0, truth["logits"].abs().max().item())
    output = product.written(plan, room, lambda folder: logits_of(folder, plan.target, truth["input_ids"], variant), variant)
    faults = output.verified(plan).faults(truth["logits"], max(tolerance, judge.SAME))
    if not isinstance(output.logits, str):
        back = room.fresh("back")
        faults += _of_inverse(case, artefact, plan, output.folder, back)
        shutil.rmtree(back, ignore_errors=True)
    output.gone()
    return faults


def _of_inverse(case: Golden, artefact: Artefact, plan: Plan, out: Path, back: Path) -> list[Fault]:
    """The output planned back to the family of the source: its bytes where all were moved, else its function."""
    variant = VARIANTS.get(case.name)
    if any(family.partial and family.label == artefact.label for family in families()):
        return []
    files = len(list(case.checkpoint.glob("consolidated.*.pth"))) or 1
    options = {"tensor_parallel": files} if artefact.family == "meta" else {}
    try:
        again = product.opened(out, variant=variant if plan.target.partition("-")[0] == artefact.family else None)
        made = product.plan_artefact(again, artefact.family, **options)
        product.write(made, back, verify=None)
    except ConversionError as error:
        return [Fault("inverse", f"refused: {brief(error)}")]
    if plan.exactness == Exactness.BYTE and made.exactness == Exactness.BYTE:
        lost = returned(stored(case.checkpoint), stored(back), {_plain(name) for name in artefact.left})
        return [Fault("inverse", f"did not come back: {', '.join(lost[:3])}")] if lost else []
    truth = load_file(case.logits)
    try:
        found = logits_of(back, artefact.family, truth["input_ids"], variant)
    except Unloadable as error:
        return [Fault("inverse", f"does not load: {error}")]
    twice = 2 * allowed(case, "algebraic") / max(1.0, truth["logits"].abs().max().item())  # rounded there and back
    words = judge.apart(truth["logits"], found, max(judge.SAME, twice))
    return [Fault("inverse", words)] if words else []


def logits_of(folder: Path, target: str, ids: Tensor, variant: str | None) -> Tensor:
    """Logits of a folder of this family, by transformers' class, else by the reference decoder."""
    if target.partition("-")[0] not in WITHOUT_CLASS:
        return judge.logits(folder, ids)
    try:
        return decoded(folder, ids, variant)[0].float()
    except ConversionError as error:
        raise Unloadable(f"its reference decoder: {brief(error)}") from error


def _plain(name: str) -> str:
    return name.removeprefix("transformer.").removeprefix("language_model.")
