"""A good converted directory is clean; spoilt in any of ninety-seven ways, the right rule names the right file."""

from pathlib import Path

import pytest

from tests.shared import needs_shared
from tests.validate.damage import DAMAGES, STORIES, Damage, found, look, prepare, small_baichuan, told


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("converted")
    return prepare(folder, small_baichuan(folder / "small"))


def clean(good: Path) -> None:
    report = look(good)
    assert report.passed(strict=True), [finding.message for finding in report.findings]
    assert {finding.rule.id for finding in report.findings} == {"licence-duties"}


def test_the_unharmed_directory_is_clean_even_when_warnings_count(good: Path) -> None:
    clean(good)


@pytest.mark.parametrize("damage", [d for d in DAMAGES if d.seen], ids=lambda d: d.name)
def test_a_damage_is_found_by_the_right_rule_in_the_right_file(good: Path, damage: Damage, tmp_path: Path) -> None:
    assert found(good, damage, tmp_path), told(good, damage, tmp_path)


@pytest.mark.parametrize("damage", [d for d in DAMAGES if not d.seen], ids=lambda d: d.name)
def test_what_only_the_verifier_can_see_is_listed_as_such(good: Path, damage: Damage, tmp_path: Path) -> None:
    """If a rule learns to see one of these, the list must say so."""
    assert told(good, damage, tmp_path) == ["licence-duties README.md"]


@needs_shared
def test_a_real_model_is_clean_until_it_is_damaged_and_then_found_by_the_same_rules(tmp_path: Path) -> None:
    good = prepare(tmp_path / "converted", STORIES)
    clean(good)
    assert [damage.name for damage in DAMAGES if damage.seen and not found(good, damage, tmp_path)] == []
    assert {word for damage in DAMAGES if not damage.seen for word in told(good, damage, tmp_path)} == {
        "licence-duties README.md"
    }


def test_no_more_than_one_damage_in_twenty_goes_unseen() -> None:
    assert len(DAMAGES) >= 60
    assert sum(not damage.seen for damage in DAMAGES) * 20 <= len(DAMAGES)
