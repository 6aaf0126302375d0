"""Every golden case converted in every direction that its family has, and verified against what it was."""

import pytest

from convert.verified import Checked
from tests.goldens import Golden
from tests.verification.test_movement import CASES, plans
from tests.writing import write


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_golden_case_verifies_against_itself_in_every_direction(case: Golden, tmp_path):
    found = plans(case)
    assert found
    for target, plan in found.items():
        checked = write(plan, tmp_path / target).verdict
        assert isinstance(checked, Checked) and checked.passed, target
        assert checked.lineage is not None, target
