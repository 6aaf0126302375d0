"""Every golden case converted in every direction that its family has, and verified against what it was."""

from typing import Any

import pytest

from convert.checkpoint import open_checkpoint
from convert.planning import weakest
from convert.verification.movement import prove
from convert.verification.run import verify
from convert.verified import variant_of
from convert.writing import write
from tests.goldens import Golden
from tests.verification.test_movement import CASES, plans
from tests.verification.test_movement import variant_of as variant_of_case


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_golden_case_verifies_against_itself_in_every_direction(case: Golden, tmp_path):
    found = plans(case)
    assert found
    for target, plan in found.items():
        write(plan, tmp_path / target)
        promised: Any = str(weakest(plan.files))
        verdict = verify(
            open_checkpoint(case.checkpoint),
            open_checkpoint(tmp_path / target),
            exactness=promised,
            variant=variant_of_case(case),
            output_variant=variant_of(plan.target),
        )
        assert verdict.passed, (target, verdict.sentence, [finding.line for finding in verdict.findings])
        lineage = prove(plan, variant=variant_of_case(case))
        assert lineage is not None and lineage.passed, (target, lineage)
