"""The check at the end of a run: the verifier as the writer's callback, and what of its verdict is recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convert.checkpoint import Checkpoint, read_json
from convert.checkpoint.files import list_folder
from convert.edits.checksum import check_total
from convert.manifest import NAME as MANIFEST
from convert.planning import Plan, weakest
from convert.prepare import plan_conversion
from convert.verification.added import additions_of
from convert.verification.movement import Lineage, prove
from convert.verification.verdict import Verdict
from convert.verification.witness.witness import Witness, hindrance, wanted_witness
from convert.verification.witness.witness import witness as ask
from surgery.errors import ConversionError, UsageError
from surgery.values import Exactness


@dataclass(frozen=True)
class Checked:
    """All that was found of an output: the verdict, the lineage of the plan that made it, what the library said."""

    verdict: Verdict
    lineage: Lineage | None = None  # None: the plan edits the model, so that no formula says where elements come from
    witness: Witness = field(default_factory=lambda: Witness(False, "it was not asked for"))

    @property
    def passed(self) -> bool:
        return self.verdict.passed and (self.lineage is None or self.lineage.passed) and self.witness.passed

    @property
    def sentence(self) -> str:
        """What was proved, no more: layers and lineage, or logits. What differs comes first, if anything does."""
        lineage = [(self.lineage.passed, self.lineage.sentence)] if self.lineage is not None else []
        parts = [(self.verdict.passed, self.verdict.sentence), *lineage, (self.witness.passed, self.witness.sentence)]
        wrong, right = ([said for passed, said in parts if passed is wanted] for wanted in (False, True))
        return "; ".join(right) if not wrong else "; ".join(wrong) + (f"; nevertheless {'; '.join(right)}" if right else "")

    def lines(self) -> list[str]:
        told = [finding.line for finding in self.verdict.findings if finding.status != "explained"]
        return [self.sentence, *told, f"tolerance: {self.verdict.tolerance.because}"]

    def record(self) -> dict[str, Any]:
        """What the manifest keeps: what was proved and allowed, but no measured number, so that bytes stay the same."""
        return {
            "verdict": "passed" if self.passed else "failed",
            "mode": self.verdict.mode,
            "compute": self.verdict.compute,
            "proved": self.verdict.proved,
            "witness": self.witness.record(),
            "lineage": "not proved" if self.lineage is None else f"{self.lineage.which}, against {self.lineage.how}",
            "findings": [{"fact": finding.fact, "status": finding.status} for finding in self.verdict.findings],
            "tolerance": self.verdict.tolerance.because,
        }


def verifier(
    plan: Plan, mode: str, *, variant: str | None = None, witness: str | None = None
) -> Callable[[Path], Checked] | None:
    """The check that a plan's output gets; None when it is to be left unverified, by the witness too.

    ``UsageError`` where a witness is required that cannot be had.
    """
    wanted = wanted_witness(witness)
    if wanted == "required" and (because := "the verification is off" if mode == "off" else hindrance(plan)):
        raise UsageError(f"the witness is required, and cannot run: {because}. Nothing was written.")
    if mode == "off":
        if any(one.options.get("total") is not None for one in plan.checkpoint.additions):
            raise UsageError("the sum of the weights is a part of the verification: leave out --verify off, or the sum.")
        return None
    source_variant = variant or variant_of(plan.source)

    def check(staged: Path) -> Checked:
        from convert.verification.child import run_child

        verdict = run_child(
            plan.checkpoint.path,
            staged,
            # what the stored values went through: frequencies computed another way add no more than arithmetic does
            exactness=str(weakest(plan.files, kept=plan.shared is not None)),  # type: ignore[arg-type]
            mode=mode,  # type: ignore[arg-type]
            variant=source_variant,
            output_variant=variant_of(plan.target),
            additions=additions_of(plan),
            shared=plan.shared,
        )
        for one in plan.checkpoint.additions:
            if verdict.passed and one.options.get("total") is not None:
                check_total(staged, one.options["total"])
        edited = plan.checkpoint.additions or plan.shared is not None
        lineage = None if edited else prove(plan, variant=source_variant)
        # asked last, and not at all of an output that has failed already
        sound = verdict.passed and (lineage is None or lineage.passed)
        found = ask(plan, staged, wanted) if sound else Witness(False, "the output had failed before it was asked")
        return Checked(verdict, lineage, found)

    return check


def variant_of(label: str) -> str | None:
    """The variant in a label such as ``baichuan-2-7b``."""
    return label.partition("-")[2] or None


def remade_plan(source: Checkpoint, output: Checkpoint, variant: str | None = None) -> Plan | None:
    """The plan by which ``output`` was made of ``source``, if its manifest says so and the plan still gives its tensors.

    An edit, another version, or another source has no such plan: that is said, and no failure.
    """
    try:
        told = _manifest(output)
        family = told["target"].partition("-")[0]
        plan = plan_conversion(source, family, variant=variant or variant_of(told["source"]["family"]), **told["options"])
        if list(plan.steps) != told["steps"]:
            return None
    except (ValueError, KeyError, TypeError, AttributeError, ConversionError):
        return None
    planned = {output_.name: output_.shape for file in plan.files for output_ in file.outputs}
    return plan if planned == {name: stored.shape for name, stored in output.tensors.items()} else None


def promised(output: Checkpoint) -> str | None:
    """The exactness that an output's manifest states; None where it states none."""
    told = _manifest(output).get("exactness")
    return told if told in {str(each) for each in Exactness} else None


def _manifest(output: Checkpoint) -> Mapping[str, Any]:
    """``weightsmith.json`` beside an output, as far as there is one that can be read."""
    path = output.path / MANIFEST
    try:
        told = read_json(list_folder(output.path).find(MANIFEST)) if path.is_file() else {}
    except ConversionError:
        return {}
    return told if isinstance(told, Mapping) else {}
