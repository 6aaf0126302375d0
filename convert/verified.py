"""The check at the end of a run: the verifier as the writer's callback, and what of its verdict is recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convert.added import additions_of
from convert.checkpoint import open_checkpoint
from convert.common_tokens import vocabularies
from convert.edits.checksum import check_total
from convert.new_rows import made_rows
from convert.planning import Plan, weakest
from convert.verification.asked import Asked
from convert.verification.movement import Lineage, prove
from convert.verification.verdict import Verdict
from convert.wish import variant_of
from convert.witness.child import Witness, hindrance, wanted_witness
from convert.witness.child import witness as ask
from surgery.errors import UsageError


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
    def undecided(self) -> bool:
        """Whether nothing was refuted, and not everything could be compared."""
        rest = (self.lineage is None or self.lineage.passed) and self.witness.passed
        return self.verdict.undecided and rest

    @property
    def wrong(self) -> tuple[str, ...]:
        """What differs, or cannot be judged."""
        return tuple(said for passed, said in self._parts if not passed)

    @property
    def right(self) -> tuple[str, ...]:
        """What was proved: layers and lineage, or logits, no more."""
        return tuple(said for passed, said in self._parts if passed)

    @property
    def _parts(self) -> list[tuple[bool, str]]:
        lineage = [(self.lineage.passed, self.lineage.sentence)] if self.lineage is not None else []
        return [(self.verdict.passed, self.verdict.sentence), *lineage, (self.witness.passed, self.witness.sentence)]

    @property
    def sentence(self) -> str:
        """What differs first, if anything does; then what was proved."""
        if not self.wrong:
            return "; ".join(self.right)
        return "; ".join(self.wrong) + (f"; nevertheless {'; '.join(self.right)}" if self.right else "")

    @property
    def advice(self) -> str:
        """What to do about a failure; empty where there is none."""
        if self.passed:
            return ""
        if not self.verdict.passed:
            return self.verdict.advice
        if self.lineage is not None and not self.lineage.passed:
            return "the plan puts elements where the formulas do not expect them: convert again, with this version"
        return "our reading of this model and the library's differ: do not publish this output, and report the case"

    def lines(self) -> list[str]:
        told = [finding.line for finding in self.verdict.findings if finding.status != "explained"]
        advice = [f"next: {self.advice}"] if self.advice else []
        return [self.sentence, *told, *advice, f"tolerance: {self.verdict.tolerance.because}"]

    def record(self) -> dict[str, Any]:
        """What the manifest keeps: what was proved and allowed, but no measured number, so that bytes stay the same."""
        return {
            "verdict": "passed" if self.passed else "failed",
            "mode": self.verdict.mode,
            "compute": self.verdict.compute,
            "proved": self.verdict.proved,
            "witness": self.witness.record(),
            "lineage": "not proved" if self.lineage is None else self.lineage.record,
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
            asked=_asked(plan, staged),
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


def _asked(plan: Plan, staged: Path) -> Asked:
    """What the plan allows its output, and how it begins rows that only the output has."""
    edit = plan.options.get("vocabulary")
    if not edit:
        return Asked(shorter=plan.limited)
    both = vocabularies(plan.checkpoint, open_checkpoint(staged), edit["edit"])
    made = made_rows(both, edit, plan.checkpoint.config) if both is not None else ()
    said = f"{edit['edit']} was asked for"
    parts = said if edit["edit"] == "transplant-tokenizer" else ""
    return Asked(shorter=plan.limited, gone=said, further=said, parts=parts, made=made)
