"""The card's block of YAML as the Hub takes it: what it refuses is an error, and nothing in it grows without end."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from convert.validate.check import validate
from convert.validate.repair import repairs
from convert.validate.subject import Subject
from tests.validate.changes import card
from tests.validate.repository import changed, good


def index_of(**changes: Any) -> list[dict[str, Any]]:
    result = {
        "task": {"type": "text-generation"}, "dataset": {"type": "org/set", "name": "A set"},
        "metrics": [{"type": "accuracy", "value": 0.5}],
    }  # fmt: skip
    return [{"name": "a-model", "results": [{key: v for key, v in {**result, **changes}.items() if v is not None}]}]


#: results as cards have stated them; the last ones are fine
RESULTS: list[Any] = [
    "not correct", [], {}, ["a-model"], [{"results": []}], [{"name": "a-model"}], [{"name": "a-model", "results": "none"}],
    index_of(task=None), index_of(task={"name": "Text"}), index_of(task="text-generation"), index_of(dataset=None),
    index_of(dataset={"type": "org/set"}), index_of(dataset={"name": "A set"}), index_of(metrics=None),
    index_of(metrics=[{"type": "accuracy"}]), index_of(metrics=[{"value": 0.5}]), index_of(metrics={"type": "x"}),
    index_of(), index_of(dataset={"type": "org/set", "name": "A set", "config": "en", "split": "test"}),
    [{"name": "a-model", "results": []}], index_of(metrics=[{"type": "f1", "value": "0.5", "name": "F1", "verified": True}]),
]  # fmt: skip


@pytest.mark.parametrize("stated", RESULTS, ids=str)
def test_results_that_huggingface_hub_cannot_read_are_an_error(stated: Any, tmp_path: Path) -> None:
    from huggingface_hub import ModelCardData

    path = changed((card(**{"model-index": stated}),)).write(tmp_path / "made")
    found = {finding.rule.id for finding in validate(path, only=["card"]).findings}
    try:
        refused = not stated  # the Hub's own word on an empty list; the library takes it for none
        ModelCardData(**{"model-index": stated})
    except (ValueError, AttributeError):
        refused = True
    assert found == ({"model-index"} if refused else set())


@pytest.mark.parametrize("key", ["config", "split", "revision"])
def test_the_words_of_results_are_words(key: str, tmp_path: Path) -> None:
    """The Hub's answer (huggingface_hub #1927): model-index[0].results[0].dataset.config must be a string."""
    stated = index_of(dataset={"type": "org/set", "name": "A set", key: 3})
    path = changed((card(**{"model-index": stated}),)).write(tmp_path / "made")
    (found,) = validate(path, only=["card"]).findings
    assert found.rule.id == "model-index" and f"model-index[0].results[0].dataset.{key} is 3" in found.message


def nine_times(first: str, of: Callable[[str], str]) -> str:
    """Thirty lines, each of which holds the one before it nine times."""
    lines = (f"a{n}: &a{n} {of(', '.join([f'*a{n - 1}'] * 9))}" for n in range(1, 30))
    return "\n".join([f"a0: &a0 {first}", *lines])


ENDLESS = {
    "a list in itself": "a: &a [*a]",
    "a table in itself": "a: &a\n  b: *a",
    "the block in itself": "&a {b: *a}",
    "laughs": nine_times("[x, x, x]", "[{}]".format),
    "merges": nine_times("{x: 1}", "{{<<: [{}]}}".format),
    "lists in lists": "a: " + "[" * 100_000,
    "keys in keys": "? " * 100_000,
    "a long word": "x: " + "y" * (3 << 20),
}


@pytest.mark.parametrize("block", ENDLESS.values(), ids=ENDLESS)
def test_a_block_that_grows_without_end_is_a_damaged_one(block: str, tmp_path: Path) -> None:
    path = good().write(tmp_path / "made")
    (path / "README.md").write_text(f"---\nlicense: mit\n{block}\n---\n# A model\n")
    report = validate(path)
    assert {"card-yaml"} == {finding.rule.id for finding in report.findings if finding.file == "README.md"} - {"card-empty"}
    json.dumps(report.to_json())
    repairs(Subject(path), {finding.rule.id for finding in report.findings})


def test_anchors_that_stay_small_are_read(tmp_path: Path) -> None:
    made = good()
    made.card = None
    made.files["README.md"] = b"---\nlanguage: &l [en, zh]\nmetrics: *l\nlicense: mit\n---\n# A model\n"
    assert Subject(made.write(tmp_path / "made")).card.data["metrics"] == ["en", "zh"]
