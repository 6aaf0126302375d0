"""Every checkpoint of the shared ground, against expectations that were written down first: expected.json."""

import json
from pathlib import Path

import pytest

from convert.validate.check import validate
from tests.shared import SHARED, needs_shared

TOLD = json.loads((Path(__file__).parent / "expected.json").read_text("utf-8"))


@needs_shared
@pytest.mark.parametrize("name", TOLD["checkpoints"])
def test_a_shared_checkpoint_has_the_findings_that_were_foreseen(name: str) -> None:
    report = validate(SHARED / name, deep=True)
    grave = {finding.rule.id for finding in report.findings if finding.rule.severity != "note"}
    assert grave == set(TOLD["checkpoints"][name])


@needs_shared
@pytest.mark.parametrize("name", TOLD["notes"])
def test_a_shared_checkpoint_gets_the_notes_that_were_foreseen(name: str) -> None:
    report = validate(SHARED / name)
    assert {finding.rule.id for finding in report.findings} >= set(TOLD["notes"][name])


def test_every_expected_finding_has_its_reason() -> None:
    assert {rule for rules in TOLD["checkpoints"].values() for rule in rules} == set(TOLD["why"])


@needs_shared
def test_no_shared_checkpoint_is_left_out() -> None:
    configs = ("config.json", "params.json", "adapter_config.json", "ckpt.pt")
    folders = {
        str(path.parent.relative_to(SHARED))
        for root in ("golden", "real")
        for config in configs
        for path in (SHARED / root).rglob(config)
    }
    assert folders == set(TOLD["checkpoints"])
