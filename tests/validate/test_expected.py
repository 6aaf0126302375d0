"""Every golden case and, where they are, the stories: against expectations that were written down first, in expected.json."""

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from convert.validate.check import validate
from tests.goldens import golden, goldens
from tests.shared import SHARED, needs_shared

TOLD = json.loads((Path(__file__).parent / "expected.json").read_text("utf-8"))
CONFIGS = ("config.json", "params.json", "adapter_config.json", "ckpt.pt")


def place(name: str) -> Path:
    """The folder that ``golden/CASE/...`` or ``real/...`` names."""
    root, case, *below = name.split("/")
    return golden(case).folder.joinpath(*below) if root == "golden" else SHARED / name


def each(names: Iterable[str]) -> list[object]:
    """Parameters, of which the ones outside the repository need ../shared."""
    return [name if name.startswith("golden/") else pytest.param(name, marks=needs_shared) for name in names]


@pytest.mark.parametrize("name", each(TOLD["checkpoints"]))
def test_a_checkpoint_has_the_findings_that_were_foreseen(name: str) -> None:
    report = validate(place(name), deep=True)
    grave = {finding.rule.id for finding in report.findings if finding.rule.severity != "note"}
    assert grave == set(TOLD["checkpoints"][name])


@pytest.mark.parametrize("name", each(TOLD["notes"]))
def test_a_checkpoint_gets_the_notes_that_were_foreseen(name: str) -> None:
    report = validate(place(name))
    assert {finding.rule.id for finding in report.findings} >= set(TOLD["notes"][name])


def test_every_expected_finding_has_its_reason() -> None:
    assert {rule for rules in TOLD["checkpoints"].values() for rule in rules} == set(TOLD["why"])


def below(folder: Path) -> set[str]:
    """Every folder in this one that has a config, relative to it."""
    return {str(path.parent.relative_to(folder)) for config in CONFIGS for path in folder.rglob(config)}


def test_no_golden_checkpoint_is_left_out() -> None:
    folders = {f"golden/{case.name}/{name}" for case in goldens() for name in below(case.folder)}
    assert folders == {name for name in TOLD["checkpoints"] if name.startswith("golden/")}


@needs_shared
def test_no_story_is_left_out() -> None:
    folders = {f"real/{name}" for name in below(SHARED / "real")}
    assert folders == {name for name in TOLD["checkpoints"] if name.startswith("real/")}
