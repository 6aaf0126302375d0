"""The check at the end of a run: the verifier as the writer's callback, and what of its verdict is recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convert.planning import Plan, weakest
from convert.verification.verdict import Verdict


@dataclass(frozen=True)
class Checked:
    """A verdict in the form that the writer asks for."""

    verdict: Verdict

    @property
    def passed(self) -> bool:
        return self.verdict.passed

    def lines(self) -> list[str]:
        return [self.verdict.sentence, f"tolerance: {self.verdict.tolerance.because}"]

    def record(self) -> dict[str, Any]:
        """What the manifest keeps: what was proved and allowed, but no measured number, so that bytes stay the same."""
        return {
            "verdict": "passed" if self.verdict.passed else "failed",
            "mode": self.verdict.mode,
            "compute": self.verdict.compute,
            "proved": self.verdict.proved,
            "tolerance": self.verdict.tolerance.because,
        }


def verifier(plan: Plan, mode: str, *, variant: str | None = None) -> Callable[[Path], Checked] | None:
    """The check that a plan's output gets; None when it is to be left unverified."""
    if mode == "off":
        return None
    source_variant = variant or variant_of(plan.source)

    def check(staged: Path) -> Checked:
        from convert.verification.child import run_child

        verdict = run_child(
            plan.checkpoint.path,
            staged,
            # what the stored values went through: frequencies computed another way add no more than arithmetic does
            exactness=str(weakest(plan.files)),  # type: ignore[arg-type]
            mode=mode,  # type: ignore[arg-type]
            variant=source_variant,
            output_variant=variant_of(plan.target),
            additions=[
                {"kind": one.kind, "path": str(one.path), "options": dict(one.options)} for one in plan.checkpoint.additions
            ],
        )
        return Checked(verdict)

    return check


def variant_of(label: str) -> str | None:
    """The variant in a label such as ``baichuan-2-7b``."""
    return label.partition("-")[2] or None
