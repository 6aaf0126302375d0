"""What is told, in every form in which it can be asked for."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from convert.validate.check import validate
from convert.validate.html_page import html_page
from convert.validate.report import report_text
from convert.validate.rule import CONSUMERS
from convert.validate.rules import rules
from convert.validate.sarif import sarif
from surgery.errors import UsageError
from tests.validate.changes import card, config, file, generation
from tests.validate.fixtures import FIXTURES
from tests.validate.repository import Change, changed

TWO = (config(eos_token_id=9999), card(library_name=[]))
HOSTILE = "a\x1b[31m<script>alert(1)</script>.py"


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    return lambda *changes: changed(changes).write(tmp_path / "made")


LICENCE = [rule.id for rule in rules() if rule.group == "licence"]


def test_findings_stand_under_their_files_with_reason_and_fix(make: Callable[..., Path]) -> None:
    text = report_text(validate(make(*TWO)))
    lines = text.splitlines()
    assert (
        lines[0].endswith("a model of the family llama; 133 rules, headers only") or "rules, headers only" in lines[0]
    )
    at = lines.index("config.json")
    assert lines[at + 1].startswith("  error   special-ids: eos_token_id is 9999; the embedding has 272 rows")
    assert "fix: correct the id" in lines[at + 3]
    assert lines.index("README.md") < at
    assert lines[-1] == "not ready to publish: 1 error, 2 warnings"


def test_a_repository_without_findings_is_ready(make: Callable[..., Path]) -> None:
    assert report_text(validate(make())).splitlines()[-1] == "ready to publish: no findings"


def test_nothing_is_called_ready_of_which_only_a_part_was_asked(make: Callable[..., Path]) -> None:
    report = validate(make(), only=["licence"])
    text = report_text(report)
    assert report.passed(strict=True) and "ready to publish" not in text
    assert text.splitlines()[-1] == f"{len(LICENCE)} of {len(rules())} rules asked: no findings"
    assert f"asked: {', '.join(LICENCE)}" in text
    assert f"not asked: {len(rules()) - len(LICENCE)} left out by --only" in text
    told = report.to_json()
    assert not told["ready"] and len(told["rules_not_asked"]["--only"]) == len(rules()) - len(LICENCE)


@pytest.mark.parametrize(
    ("change", "rule", "why"),
    [
        (config(architectures=["MineForCausalLM"], model_type="mine"), "tensor-missing", "MineForCausalLM"),
        (config(quantization_config={"quant_method": "gptq", "bits": 4}), "tensor-shape", "gptq"),
        (FIXTURES["tokenizer-unreadable"][0][0], "tokenizer-ids", "tokenizer.json"),
        (FIXTURES["shard-missing"][0][0], "index-total-size", "weight file"),
    ],
)
def test_nothing_is_called_ready_where_a_rule_could_not_be_judged(
    make: Callable[..., Path], change: Change, rule: str, why: str
) -> None:
    report = validate(make(change))
    ((reason, found),) = [(r, rules) for r, rules in report.unjudged.items() if rule in {one.id for one in rules}]
    assert why in reason and len(found) > 1
    assert "ready" not in report_text(report).splitlines()[-1].removeprefix("not ready")
    assert f"could not be judged: {found[0].id}" in report_text(report) and reason in html_page(report).replace("&#x27;", "'")
    assert rule in report.to_json()["rules_not_judged"][reason]


def test_a_report_says_which_rules_wait_for_which_flag(make: Callable[..., Path]) -> None:
    path = make()
    assert validate(path, deep=True, consumers=CONSUMERS).unasked == {}
    waiting = validate(path).unasked
    assert set(waiting) == {"--deep", *(f"--for {program}" for program in CONSUMERS)}
    assert all(rule.deep for rule in waiting["--deep"])
    assert re.search(r"^not asked: \d+ of --deep, \d+ of --for transformers", report_text(validate(path)), re.MULTILINE)


def test_warnings_count_only_when_strict(make: Callable[..., Path]) -> None:
    report = validate(make(card(library_name=[])))
    assert report.passed() and not report.passed(strict=True)


def test_an_ignored_rule_is_told_with_its_reason_and_does_not_count(make: Callable[..., Path]) -> None:
    ignore = {"special-ids": "the ids are made up"}
    report = validate(make(config(eos_token_id=9999)), ignore=ignore, only=["config"])
    assert report.passed(strict=True)
    assert "ignored: the ids are made up" in report_text(report)
    assert [finding["ignored"] for finding in report.to_json()["findings"]] == ["the ids are made up"]
    (result,) = sarif(report)["runs"][0]["results"]
    assert result["suppressions"] == [{"kind": "external", "justification": "the ids are made up"}]


@pytest.mark.parametrize("only", [["config"], ["special-ids"]])
def test_only_what_was_asked_is_told(make: Callable[..., Path], only: list[str]) -> None:
    assert {finding.rule.id for finding in validate(make(*TWO), only=only).findings} == {"special-ids"}


@pytest.mark.parametrize("options", [{"only": ["special-id"]}, {"ignore": {"special-id": "x"}}, {"consumers": ["vlm"]}])
def test_unknown_names_are_refused_with_the_nearest(make: Callable[..., Path], options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"special-ids|vllm"):
        validate(make(), **options)  # type: ignore[arg-type]


def test_rules_of_a_program_say_how_they_are_known(make: Callable[..., Path]) -> None:
    path = make(config(hidden_act="gelu"))
    assert validate(path, only=["consumers"]).findings == ()
    text = report_text(validate(path, only=["consumers"], consumers=["vllm"]))
    assert "vllm-activation" in text and "[read in its source]" in text and "llama-cpp" not in text


def test_sarif_has_what_its_schema_demands(make: Callable[..., Path]) -> None:
    log = json.loads(json.dumps(sarif(validate(make(*TWO), consumers=CONSUMERS))))
    assert log["version"] == "2.1.0" and log["$schema"].endswith("sarif-schema-2.1.0.json")
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert len({rule["id"] for rule in rules}) == len(rules) > 140
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("error", "warning", "note")
        assert result["message"]["text"]
        assert re.fullmatch(r"[\w.%/-]+", result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"])


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "action")]


def test_the_page_needs_nothing_else_and_runs_nothing(make: Callable[..., Path]) -> None:
    page = Page()
    page.feed(text := html_page(validate(make(*TWO, file(HOSTILE.replace("/", "")))), strict=True))
    assert "script" not in page.tags and "link" not in page.tags and "img" not in page.tags
    assert page.addresses == [] and "url(" not in text and "@import" not in text
    assert "not ready to publish (strict)" in text and "special-ids" in text


@pytest.mark.parametrize(
    "change",
    [
        file(HOSTILE.replace("/", "")),
        config(architectures=["\x1b[31mX"], model_type="\x1b]0;x\x07"),
        generation(top_p="\x1b[31m"),
        card(license="\x1b[31m"),
        config(**{"\x1b[31mkey": 3}),
    ],
)
def test_nothing_from_the_repository_reaches_the_terminal_as_it_is(make: Callable[..., Path], change: Change) -> None:
    report = validate(make(change), consumers=CONSUMERS)
    assert report.findings
    assert "\x1b" not in report_text(report)
    assert "\x07" not in report_text(report)


def test_the_json_form_is_plain_values(make: Callable[..., Path]) -> None:
    told = validate(make(*TWO), deep=True, sha256=True).to_json()
    assert json.loads(json.dumps(told)) == told
    assert told["counts"] == {"error": 1, "warning": 2, "note": 0}
    assert set(told["sha256"]) == set(told["xxh3_128"]) and len(told["sha256"]) == 2
