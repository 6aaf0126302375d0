"""SRC against OUT, as strict as it gets: the function, what the manifest claims, the documents, the lineage, the witness.

The command ``verify`` and ``convert.verify`` are this, so that both say the same of the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from convert.checkpoint import Checkpoint
from convert.claims import claim, compared_tokens, explained, remade_plan
from convert.companions import differences
from convert.planning import Plan
from convert.unread import unread
from convert.verification.verdict import Exactness, Finding, Verdict
from convert.verified import Checked
from surgery.errors import CannotJudge, UsageError, VerificationFailed

_ASKED = "you said so (--other-rows)"


@dataclass(frozen=True)
class Judgement:
    """What was found of two checkpoints, the plan that made one of the other if it can be remade, and the class held to."""

    checked: Checked
    plan: Plan | None
    promise: Exactness

    @property
    def passed(self) -> bool:
        return self.checked.passed

    def refuse(self) -> None:
        """Raises where OUT failed, or could not be judged."""
        checked = self.checked
        if checked.passed:
            return
        first = "; ".join(checked.wrong) if checked.verdict.passed else _first(checked.verdict)
        kind = CannotJudge if checked.undecided else VerificationFailed
        raise kind(f"{first}. Next: {checked.advice}.")

    @property
    def verdict(self) -> Verdict:
        """All of it as one verdict: a wrong lineage and what the library said are findings."""
        more = []
        if self.checked.lineage is not None and not self.checked.lineage.passed:
            more.append(Finding("lineage", "", "", "fails", self.checked.lineage.sentence))
        if not self.checked.witness.passed:
            more.append(Finding("witness", "", "", "fails", self.checked.witness.sentence))
        return self.checked.verdict.with_findings(more)


def judgement(
    source: Checkpoint,
    output: Checkpoint,
    *,
    exactness: Exactness | None = None,
    variant: str | None = None,
    other_rows: bool = False,
    witness: str | None = None,
    **options: Any,
) -> Judgement:
    """Compare two checkpoints; ``options`` are those of ``run_child``, None among them as good as left out.

    ``exactness`` is the user's word for what OUT may be off by; without it OUT is held to what its files explain.
    ``other_rows``: rows that only one side has were asked for.
    """
    from convert.verification.child import run_child
    from convert.verification.movement import prove
    from convert.witness.child import wanted_witness
    from convert.witness.child import witness as ask

    plan = remade_plan(source, output, variant)
    edits = plan.wish is not None and plan.wish.edits if plan is not None else ()
    promise: Exactness = exactness or str(explained(plan))  # type: ignore[assignment]
    tokens = compared_tokens(source, output, _ASKED if other_rows else "")
    verdict = run_child(
        source.path, output.path, exactness=promise, variant=variant, shared=tokens.shared,
        asked=replace(
            tokens.asked, narrower=exactness is not None or plan is not None, shorter=plan is not None and plan.limited
        ),
        **options,
    )  # fmt: skip
    if absent := [run.because for run in verdict.stock if run.side == "output" and run.logits is None and not run.fault]:
        raise UsageError(f"--with transformers cannot run OUT: {absent[0]}. Leave it out, or mend that.")
    verdict = verdict.with_findings(
        (*claim(output, plan, exactness), *unread(source, output), *differences(source, output, tokens))
    )
    lineage = prove(plan, variant=variant) if plan is not None and not edits else None
    seen = ask(plan, output.path, wanted_witness(witness))
    return Judgement(Checked(verdict, lineage, seen), plan, promise)


def told(found: Judgement) -> Mapping[str, Any]:
    """A judgement as JSON values: what differs first, and ``passed`` of all of it."""
    checked, lineage = found.checked, found.checked.lineage
    return {
        **checked.verdict.to_json(),
        "passed": checked.passed,
        "undecided": checked.undecided,
        "differs": list(checked.wrong),
        "proved_nevertheless" if checked.wrong else "proved_all": list(checked.right),
        "next": checked.advice,
        "sentence": checked.sentence,
        "lineage": lineage_told(lineage),
        "witness": checked.witness.to_json(),
    }


def lineage_told(lineage: Any) -> dict[str, Any] | None:
    """A lineage as JSON values."""
    if lineage is None:
        return None
    return {
        "passed": lineage.passed,
        "tensors": lineage.tensors,
        "addresses": lineage.addresses,
        "complete": lineage.complete,
        "against": lineage.how,
        "faults": list(lineage.faults),
        "unfollowed": list(lineage.unfollowed),
    }


def _first(verdict: Verdict) -> str:
    if verdict.undecided:
        open_ = next(finding for finding in verdict.findings if finding.status == "open")
        return f"whether OUT computes what SRC computes cannot be judged: {open_.because}"
    return f"OUT does not compute what SRC computes (first different: {verdict.first_divergence})"
