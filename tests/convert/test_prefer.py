"""--prefer on the command line: in the help, in the plan, in its digest, and refused where there is no such choice."""

from __future__ import annotations

import json

import pytest

from tests.convert.test_cli import weightsmith
from tests.goldens import golden


def planned(*options):
    return weightsmith("plan", golden("minicpm-2b").checkpoint, "--to", "llama", "--json", *options)


def test_the_plan_says_which_way_was_taken():
    fold, gauge = (json.loads(planned(*options).stdout) for options in ([], ["--prefer", "gauge"]))
    assert "multiplied into the weights" in fold["steps"][0] and "another unit" in gauge["steps"][0]
    assert fold["tensors"] == gauge["tensors"] + 1  # the head that a fold unties
    assert fold["digest"] != gauge["digest"]
    assert fold["rounding_at_most"] == gauge["rounding_at_most"] == 2.0**-24


@pytest.mark.parametrize("name", ["gage", "untie"])
def test_a_name_that_is_no_choice_is_a_usage_error(name):
    done = planned("--prefer", name)
    assert done.returncode == 2 and done.stdout == ""
    assert "fold, gauge" in done.stderr and "Traceback" not in done.stderr
