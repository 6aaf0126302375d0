"""Why a mutant may survive: each reason with what it holds for. What none holds for is a hole in the verifier."""

from __future__ import annotations

from tests.mutation.suite import Outcome

_ROUNDED = (
    "The conversion rounds values once in a narrow type, so its class allows every value to be off by half a step; the mistake "
    "is of that size in one value of one tensor. Lineage, not logits, tells such outputs apart."
)


def because(outcome: Outcome) -> str:
    """The reason why this one could not be seen; empty where there is none."""
    if "ulp" in outcome.mutation and outcome.case.endswith(("bf16", "fp16", "fp8")):
        return _ROUNDED
    return ""
