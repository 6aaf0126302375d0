"""Every rule has a repository that breaks it and one near by that does not; a rule that lacks either fails here."""

from pathlib import Path

import pytest

from convert.validate.check import validate
from convert.validate.rule import CONSUMERS, Rule
from convert.validate.rules import rules
from tests.validate.fixtures import FIXTURES
from tests.validate.repository import adapter, changed, good

EVERY = pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.id)


def found(rule: Rule, path: Path) -> list[str]:
    consumers = [rule.consumer] if rule.consumer else []
    report = validate(path, only=[rule.id], deep=rule.deep, consumers=consumers)
    return [finding.message for finding in report.findings]


def test_every_rule_has_a_bad_and_a_good_fixture_and_every_fixture_a_rule() -> None:
    assert set(FIXTURES) == {rule.id for rule in rules()}


def test_ids_are_unique_and_every_rule_explains_itself() -> None:
    assert len({rule.id for rule in rules()}) == len(rules())
    for rule in rules():
        assert all((rule.what, rule.why, rule.fix, rule.source)), rule.id
        assert (rule.consumer in CONSUMERS) == (rule.proof is not None) == (rule.group == "consumers"), rule.id
        assert not rule.what.endswith(".") and not rule.fix.endswith("."), rule.id


@EVERY
def test_a_rule_fires_on_its_bad_fixture(rule: Rule, tmp_path: Path) -> None:
    assert found(rule, changed(FIXTURES[rule.id][0]).write(tmp_path / "bad"))


@EVERY
def test_a_rule_is_silent_on_its_good_fixture(rule: Rule, tmp_path: Path) -> None:
    assert found(rule, changed(FIXTURES[rule.id][1]).write(tmp_path / "good")) == []


@EVERY
def test_a_bad_fixture_never_makes_a_rule_raise(rule: Rule, tmp_path: Path) -> None:
    """All rules are put to it, since in a damaged repository any of them meets what it did not expect."""
    report = validate(changed(FIXTURES[rule.id][0]).write(tmp_path / "bad"), deep=True, consumers=CONSUMERS)
    assert rule.id in {finding.rule.id for finding in report.findings}
    for finding in report.findings:
        assert finding.file and finding.message and "\x1b" not in finding.message


@pytest.mark.parametrize("start", [good, adapter], ids=["model", "adapter"])
def test_a_good_repository_has_no_findings_at_all(start: object, tmp_path: Path) -> None:
    report = validate(start().write(tmp_path / "good"), deep=True, consumers=CONSUMERS)  # type: ignore[operator]
    expected = set() if start is good else {"mlx-files"}
    assert {finding.rule.id for finding in report.findings} == expected
    assert report.passed(strict=True) == (start is good)
