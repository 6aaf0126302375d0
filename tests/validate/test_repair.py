"""--fix: shown first, written whole or not at all, and afterwards the rule is silent."""

import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from convert.validate.check import validate
from convert.validate.repair import MENDED, Metadata, Mode, Rewrite, apply, repairs
from convert.validate.rules import rules
from convert.validate.subject import Subject
from surgery.errors import UnsafeInput
from tests.validate.changes import ABSENT, after, config
from tests.validate.damage import load
from tests.validate.fixtures import FIXTURES
from tests.validate.repository import INDEX, SHARDS, Change, changed, good

CONSUMER = {rule.id: [rule.consumer] if rule.consumer else [] for rule in rules()}


def broken(path: Path, rule: str) -> set[str]:
    return {finding.rule.id for finding in validate(path, only=[rule], consumers=CONSUMER[rule]).findings}


def mend(path: Path, *ids: str) -> str:
    found = repairs(Subject(path), set(ids))
    shown = "".join(repair.shown() for repair in found)
    apply(Subject(path), found)
    return shown


@pytest.mark.parametrize("rule", sorted(MENDED))
def test_what_is_said_to_be_mended_is_mended(rule: str, tmp_path: Path) -> None:
    path = changed(FIXTURES[rule][0]).write(tmp_path / "bad")
    assert broken(path, rule) == {rule}
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    assert mend(path, rule)
    assert broken(path, rule) == set()
    report = validate(path, deep=True)
    assert not [f for f in report.findings if f.rule.severity == "error" and f.rule.id not in ("tokenizer-ids",)]
    assert mend(path, rule) == ""
    assert set(before) <= {file.name for file in path.iterdir()}
    assert not [file for file in path.iterdir() if file.name.startswith(".")]


def test_the_rules_say_that_they_are_mended_exactly_where_they_are() -> None:
    for rule in rules():
        if "`--fix`" in rule.fix:
            assert rule.id in MENDED or "--fix" in rule.fix, rule.id
    assert {rule.id for rule in rules() if "--fix" in rule.fix} >= MENDED - {"card-no-metadata"}


def test_the_diff_shows_what_changes_and_nothing_else(tmp_path: Path) -> None:
    path = changed(FIXTURES["generation-sampling"][0]).write(tmp_path / "bad")
    (repair,) = repairs(Subject(path), {"generation-sampling"})
    assert isinstance(repair, Rewrite)
    lines = repair.shown().splitlines()
    assert lines[:2] == ["--- a/generation_config.json", "+++ b/generation_config.json"]
    assert '-  "temperature": 0.7' in lines
    assert json.loads(repair.after) == {
        "bos_token_id": 256, "eos_token_id": [257, 260], "pad_token_id": 258, "do_sample": False,
    }  # fmt: skip


def test_the_index_gets_the_true_sums(tmp_path: Path) -> None:
    path = changed(FIXTURES["index-total-size"][0]).write(tmp_path / "bad")
    mend(path, "index-total-size")
    made = good()
    assert made.index is not None
    assert json.loads((path / INDEX).read_text()) == made.index


@pytest.mark.parametrize(
    ("parameters", "theta", "scaling"),
    [
        ({"rope_type": "default", "rope_theta": 5e6}, 5e6, None),
        (
            {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0},
            10000.0,
            {"rope_type": "linear", "factor": 2.0},
        ),
    ],
)
def test_both_forms_of_rope_are_written(
    parameters: dict[str, object], theta: float, scaling: dict[str, object] | None, tmp_path: Path
) -> None:
    path = changed([config(rope_theta=ABSENT, rope_scaling=ABSENT, rope_parameters=parameters)]).write(tmp_path / "new")
    mend(path, "rope-new-form-only")
    told = json.loads((path / "config.json").read_text())
    assert told["rope_theta"] == theta and told.get("rope_scaling") == scaling
    assert told["rope_parameters"] == parameters


def test_metadata_is_added_without_touching_a_tensor(tmp_path: Path) -> None:
    path = changed(FIXTURES["header-no-format"][0]).write(tmp_path / "bad")
    before = {name: load(path / name)[0] for name in SHARDS}
    shown = mend(path, "header-no-format")
    assert '{"format": "pt"}' in shown
    for name in SHARDS:
        tensors, metadata = load(path / name)
        assert metadata == {"format": "pt"} and set(tensors) == set(before[name])
        for tensor, value in tensors.items():
            np.testing.assert_array_equal(value, before[name][tensor])


def test_modes_become_what_the_umask_allows(tmp_path: Path) -> None:
    path = changed(FIXTURES["file-mode"][0]).write(tmp_path / "bad")
    (repair,) = repairs(Subject(path), {"file-mode"})
    assert repair == Mode(SHARDS[0], 0o600, 0o644)
    apply(Subject(path), [repair])
    assert stat.S_IMODE((path / SHARDS[0]).stat().st_mode) == 0o644


def test_two_repairs_of_one_file_are_one(tmp_path: Path) -> None:
    changes = (config(dtype="float16"), config(rope_theta=ABSENT, rope_scaling=ABSENT))
    path = changed(changes).write(tmp_path / "bad")
    (repair,) = repairs(Subject(path), {"dtype-config", "rope-new-form-only"})
    assert isinstance(repair, Rewrite) and "rope_theta" in repair.shown() and '"dtype": "float32"' in repair.shown()


def test_a_card_is_completed_and_keeps_its_words(tmp_path: Path) -> None:
    path = changed(FIXTURES["library-missing"][0]).write(tmp_path / "bad")
    body = (path / "README.md").read_text().partition("---\n\n")[2]
    mend(path, "library-missing")
    text = (path / "README.md").read_text()
    assert text.endswith(body) and body and "library_name: transformers" in text and "license: apache-2.0" in text


def test_a_licence_is_never_made_up(tmp_path: Path) -> None:
    path = changed(FIXTURES["card-missing"][0]).write(tmp_path / "bad")
    mend(path, "card-missing")
    assert "license" not in (path / "README.md").read_text()


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    def to_link(path: Path) -> None:
        (path / "generation_config.json").rename(path / "real.json")
        (path / "generation_config.json").symlink_to("real.json")

    bad: tuple[Change, ...] = (*FIXTURES["generation-sampling"][0], after(to_link))
    path = changed(bad).write(tmp_path / "bad")
    with pytest.raises(UnsafeInput, match="is a link"):
        repairs(Subject(path), {"generation-sampling"})


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = changed(FIXTURES["header-no-format"][0]).write(tmp_path / "bad")
    before = (path / SHARDS[0]).read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    repair = Metadata(SHARDS[0], {"format": "pt"}, 0)
    with pytest.raises(Exception, match="No space left"):
        repair.apply(path)
    assert (path / SHARDS[0]).read_bytes() == before
    assert not [file for file in path.iterdir() if file.name.startswith(".")]
