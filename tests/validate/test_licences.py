"""Licences of real repositories: who is under which, what a looser statement is told, and what right ones are not told.

``licences.tsv`` was written from cards, licence files and pages, never from the table under test; each row says where it
was read. ``base`` is what the model was made from, whose terms stay with it.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest

from convert.validate.check import validate
from convert.validate.published import lineage
from convert.validate.report import report_text
from convert.validate.terms import TERMS, Strictness
from convert.validate.under import under
from tests.validate.changes import ABSENT, adapter_config, card, file, manifest, to_adapter, without
from tests.validate.fixtures import body, mit_text
from tests.validate.repository import APACHE, Change, changed

LIST = (Path(__file__).parent / "licences.tsv").read_text("utf-8")
ROWS = list(csv.DictReader(LIST.splitlines(), delimiter="\t"))
BY_ID = {row["id"]: row for row in ROWS}
DISTILL, LLAMA3 = "deepseek-ai/DeepSeek-R1-Distill-Llama-8B", "meta-llama/Meta-Llama-3-8B-Instruct"
LLAMA31_TEXT = "LLAMA 3.1 COMMUNITY LICENSE AGREEMENT\n"
LLAMA31_NOTICE = "Llama 3.1 is licensed under the Llama 3.1 Community License, Copyright Meta Platforms, Inc."


def chain(name: str) -> Iterator[str]:
    """The licences that the list gives a model, and those of what it was made from."""
    while name:
        yield BY_ID[name]["licence"]
        name = BY_ID[name]["base"]


def told(tmp_path: Path, *changes: Change, name: str = "") -> dict[str, list[str]]:
    """Messages of the group `licence` by rule, without the note on duties."""
    found: dict[str, list[str]] = {}
    for finding in validate(changed(changes).write(tmp_path / "out"), only=["licence"], name=name).findings:
        found.setdefault(finding.rule.id, []).append(finding.message)
    found.pop("licence-duties", None)
    return found


def other(name: str, **keys: object) -> dict[str, object]:
    return {"license": "other", "license_name": name, "license_link": "LICENSE", **keys}


def test_the_list_is_long_and_every_row_says_where_it_was_read() -> None:
    assert len(ROWS) >= 150 and len(BY_ID) == len(ROWS)
    assert all(row["source"] and "/" in row["id"] for row in ROWS)
    assert {row["base"] for row in ROWS} - {""} <= set(BY_ID)
    assert {row["licence"] for row in ROWS} - {"unknown"} <= set(TERMS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
def test_a_repository_is_under_the_licence_that_was_read_and_under_its_bases(row: dict[str, str]) -> None:
    found = [published.licence for _, published in lineage(row["id"])]
    assert found == ([] if row["licence"] == "unknown" else list(chain(row["id"])))


def test_no_model_that_is_under_more_than_permissive_terms_is_called_permissive() -> None:
    for row in ROWS:
        found = under([row["id"]], "apache-2.0", "", {})
        if row["licence"] != "unknown":
            strictest = max(TERMS[licence].strictness for licence in chain(row["id"]))
            assert {part.terms.strictness for part in found.holding} == {strictest}, row["id"]


@pytest.mark.parametrize(
    "base",
    [
        LLAMA3, "NousResearch/Meta-Llama-3-70B", "Qwen/Qwen2-72B-Instruct", "Qwen/Qwen2.5-72B", "Qwen/Qwen2.5-3B",
        "Qwen/Qwen1.5-7B-Chat", "mistralai/Codestral-22B-v0.1", "deepseek-ai/deepseek-coder-6.7b-base",
        "openbmb/MiniCPM-2B-sft-bf16", "internlm/internlm2-7b", "lmsys/vicuna-7b-v1.3", "chavinlo/alpaca-native",
        "hfl/chinese-alpaca-plus-lora-7b", "THUDM/glm-4-9b-chat", "baichuan-inc/Baichuan-7B", DISTILL,
    ],
)  # fmt: skip
def test_a_looser_licence_is_an_error_whatever_the_model(base: str, tmp_path: Path) -> None:
    licence = "apache-2.0" if base != "deepseek-ai/deepseek-coder-6.7b-base" else "mit"
    assert any(base in message for message in told(tmp_path, card(license=licence, base_model=base))["licence-changed"])


def test_the_licence_of_a_distilled_models_base_is_asked_for_though_its_publisher_states_a_looser_one(tmp_path: Path) -> None:
    found = told(tmp_path, card(license="mit", base_model=DISTILL), file("LICENSE", mit_text()))
    assert "licence-changed" not in found and "Llama 3.1" in found["licence-inherited"][0]
    assert {"licence-text-missing", "licence-notice", "licence-built-with", "licence-name"} <= set(found)


def test_a_distilled_model_that_does_what_both_licences_ask_is_only_told_that_there_are_two(tmp_path: Path) -> None:
    right = (
        card(license="mit", base_model=DISTILL), file("LICENSE", mit_text()), file("LICENSE-LLAMA", LLAMA31_TEXT),
        file("NOTICE", LLAMA31_NOTICE), body("\n# Llama distilled\n\nBuilt with Llama, and many words on what it is.\n"),
    )  # fmt: skip
    assert set(told(tmp_path, *right)) == {"licence-inherited"}


@pytest.mark.parametrize(
    ("keys", "files"),
    [
        ({"license": "mit", "base_model": "zai-org/GLM-4-9B-0414"}, {"LICENSE": mit_text()}),
        ({"license": "apache-2.0", "base_model": "baichuan-inc/Baichuan-M2-32B"}, {"LICENSE": APACHE}),
        (
            other("deepseek", base_model="deepseek-ai/DeepSeek-V3"),
            {"LICENSE": b"", "LICENSE-CODE": mit_text(), "LICENSE-MODEL": "DEEPSEEK LICENSE AGREEMENT\n"},
        ),
        (
            other("tongyi-qianwen", base_model="Qwen/Qwen-7B"),
            {
                "LICENSE": APACHE, "Tongyi Qianwen LICENSE AGREEMENT": "Tongyi Qianwen LICENSE AGREEMENT\n",
                "NOTICE": "Tongyi Qianwen is licensed under the Tongyi Qianwen LICENSE AGREEMENT, Copyright (c) Alibaba Cloud.",
            },
        ),
        (
            other("tongyi-qianwen-research", base_model="Qwen/Qwen-1_8B"),
            {
                "LICENSE": "Tongyi Qianwen RESEARCH LICENSE AGREEMENT\n",
                "NOTICE": "Tongyi Qianwen is licensed under the Tongyi Qianwen RESEARCH LICENSE AGREEMENT, Copyright (c)",
            },
        ),
        (
            {"license": "llama3.1", "base_model": ["meta-llama/Llama-3.1-8B", "01-ai/Yi-1.5-9B"]},
            {"LICENSE": LLAMA31_TEXT, "LICENSE-YI": APACHE, "NOTICE": LLAMA31_NOTICE},
        ),
        (
            other("llama4", base_model="meta-llama/Llama-4-Scout-17B-16E-Instruct"),
            {
                "LICENSE": "LLAMA 4 COMMUNITY LICENSE AGREEMENT\n",
                "NOTICE": "Llama 4 is licensed under the Llama 4 Community License, Copyright Meta",
            },
        ),
        (
            other("qwen", base_model="Qwen/Qwen2.5-72B"),
            {
                "LICENSE": "Qwen LICENSE AGREEMENT\n",
                "NOTICE": "Qwen is licensed under the Qwen LICENSE AGREEMENT, Copyright (c) Alibaba Cloud.",
            },
        ),
    ],
    ids=lambda one: str(one.get("base_model", "")) if isinstance(one, dict) else None,
)  # fmt: skip
def test_a_repository_as_it_should_be_has_no_finding(keys: dict[str, object], files: dict[str, str], tmp_path: Path) -> None:
    words = body("\n# Llama of the tests\n\nBuilt with Llama. Built with Qwen. It is used by the tests of the validator.\n")
    assert told(tmp_path, card(**keys), words, *(file(name, text) for name, text in files.items())) == {}


def test_a_merge_is_under_the_strictest_of_its_parts_and_names_all(tmp_path: Path) -> None:
    bases = ["huggyllama/llama-7b", "meta-llama/Llama-3.1-8B", "someone/unknown"]
    found = told(tmp_path, card(license="apache-2.0", base_model=bases))
    assert "LLaMA 1 licence (non-commercial)" in found["licence-changed"][0] and "Llama 3.1" not in found["licence-changed"][0]
    assert all(base in found["licence-merge"][0] for base in bases[:2])


@pytest.mark.parametrize("parts", [("mistralai/Codestral-22B-v0.1", "meta-llama/Llama-2-7b-hf"),
                                   ("mistralai/Mistral-7B-v0.1", LLAMA3)])  # fmt: skip
def test_merges_with_llama_3_and_with_codestral_are_told(parts: tuple[str, str], tmp_path: Path) -> None:
    assert {"licence-changed", "licence-merge"} <= set(told(tmp_path, card(license="mit", base_model=[*parts])))


@pytest.mark.parametrize("base", [row["id"] for row in ROWS if row["licence"] == "unknown"])
def test_what_nobody_knows_is_never_ready(base: str, tmp_path: Path) -> None:
    report = validate(changed([card(license="apache-2.0", base_model=base)]).write(tmp_path / "out"))
    text = report_text(report)
    assert "unknown: read the source's card" in text and base in text
    assert "ready to publish" not in text and not report.to_json()["ready"]


def test_a_conversion_that_names_no_base_is_never_ready(tmp_path: Path) -> None:
    report = validate(changed([card(base_model=ABSENT), manifest()]).write(tmp_path / "out"))
    assert "ready to publish" not in report_text(report)


def test_the_cards_of_a_source_that_no_table_knows_are_followed(tmp_path: Path) -> None:
    """The manifest keeps what the source's card said of its licence and of its own base."""
    source = {"family": "llama", "card": {"license": "apache-2.0", "base_model": [LLAMA3]}}
    spoilt = (card(license="apache-2.0", base_model="someone/tuned"), manifest(source=source))
    found = told(tmp_path, *spoilt)
    assert LLAMA3 in found["licence-inherited"][0] and "licence-notice" in found
    assert "licence" not in str(validate(tmp_path / "out").unjudged)


def test_no_fix_tells_anybody_to_overwrite_a_publishers_file(tmp_path: Path) -> None:
    """Qwen's own NOTICE holds the notices of others; the sentence goes behind them."""
    changes = (card(**other("tongyi", base_model="Qwen/Qwen-7B")), file("NOTICE", "Notices of others: NVIDIA ...\n"))
    report = validate(changed(changes).write(tmp_path / "out"), only=["licence-notice"])
    (finding,) = report.findings
    assert finding.file == "NOTICE" and "append" in finding.rule.fix and "stay" in finding.rule.fix
    for rule in validate(tmp_path / "out", only=["licence"]).asked:
        assert "replace" not in rule.fix and "overwrite" not in rule.fix, rule.id


@pytest.mark.parametrize("base", ["meta-llama/Meta-Llama-3-8B", "THUDM/glm-4-9b", "openbmb/MiniCPM-2B-sft-bf16"])
def test_the_words_and_the_name_that_a_licence_asks_for_are_missed(base: str, tmp_path: Path) -> None:
    assert {"licence-built-with", "licence-name"} <= set(told(tmp_path, card(**other("x", base_model=base)), name="org/mine"))


@pytest.mark.parametrize(("base", "name"), [("meta-llama/Meta-Llama-3-8B", "org/Meta-Llama-3-8B-AWQ"),
                                            ("meta-llama/Llama-3.1-8B", "org/Meta-Llama-3.1-8B-GPTQ"),
                                            ("THUDM/glm-4-9b", "org/GLM-4-9B-llama")])  # fmt: skip
def test_a_quantised_model_may_keep_its_publishers_name(base: str, name: str, tmp_path: Path) -> None:
    assert "licence-name" not in told(tmp_path, card(**other("x", base_model=base)), name=name)


@pytest.mark.parametrize("base", ["Qwen/Qwen-7B", "deepseek-ai/DeepSeek-V2", "google/gemma-2b", "mistralai/Mistral-7B-v0.1"])
def test_a_conversion_that_does_not_say_that_files_were_changed_is_told(base: str, tmp_path: Path) -> None:
    keys = card(license="apache-2.0", base_model=base)
    assert "licence-modified" in told(tmp_path, keys, manifest())
    assert "licence-modified" not in told(tmp_path, keys, manifest(), file("NOTICE", "The weights were changed.\n"))
    assert "licence-modified" not in told(tmp_path / "own", keys)


def test_a_copy_of_a_permissive_licence_is_asked_for_by_a_warning(tmp_path: Path) -> None:
    keys = card(license="apache-2.0", base_model="mistralai/Mistral-7B-v0.1")
    assert set(told(tmp_path, keys, without("LICENSE"))) == {"licence-copy"}


@pytest.mark.parametrize(
    ("name", "licence"),
    [
        ("minicpm-model-license", "minicpm"), ("qwen", "qwen"), ("qwen-research", "qwen-research"), ("tongyi-qianwen", "tongyi"),
        ("tongyi-qianwen-research", "tongyi-research"), ("tongyi-qianwen-license-agreement", "tongyi"), ("glm-4", "glm4"),
        ("chatglm", "chatglm"), ("deepseek", "deepseek"), ("baichuan", "baichuan"), ("internlm", "internlm"), ("mnpl", "mnpl"),
        ("mrl", "mrl"), ("llama-3", "llama3"), ("llama4", "llama4"), ("llama-license", "llama1"), ("yi-license", "yi"),
        ("gemma-terms-of-use", "gemma"),
    ],
)  # fmt: skip
def test_a_licence_that_only_the_card_names_is_known_by_its_name(name: str, licence: str) -> None:
    found = under(["someone/x"], "other", name, {})
    assert [part.terms for part in found.parts] == [TERMS[licence]]


def test_a_licence_that_the_card_calls_unknown_is_nobodys() -> None:
    assert under(["someone/x"], "unknown", "", {}).parts == ()


def test_a_finding_says_where_the_sources_licence_was_read(tmp_path: Path) -> None:
    found = told(tmp_path, card(license="mit", base_model="Qwen/Qwen-1_8B"))
    assert "(other; LICENSE, commit 82c8589)" in found["licence-changed"][0]


def test_only_the_smallest_of_the_first_qwen_is_for_research_alone() -> None:
    research = {row["id"] for row in ROWS if row["id"].startswith("Qwen/Qwen-") and row["licence"] == "tongyi-research"}
    assert research == {"Qwen/Qwen-1_8B", "Qwen/Qwen-1_8B-Chat"}
    assert TERMS["tongyi"].strictness == Strictness.CONDITIONS and "72B" not in str(TERMS["tongyi"].duties)


@pytest.mark.parametrize("base", ["meta-llama/Llama-3.1-8B", "Qwen/Qwen2.5-3B-Instruct"])
def test_an_adapter_is_under_the_licence_of_the_model_that_it_is_for(base: str, tmp_path: Path) -> None:
    changes = to_adapter(card(license="apache-2.0", base_model=ABSENT), adapter_config(base_model_name_or_path=base))
    found = {finding.rule.id for finding in validate(changed(changes).write(tmp_path), only=["licence"]).findings}
    assert {"licence-changed", "licence-notice"} & found


def test_an_adapter_of_a_folder_on_the_training_machine_is_under_what_its_card_says(tmp_path: Path) -> None:
    changes = to_adapter(card(license="apache-2.0", base_model=ABSENT), adapter_config(base_model_name_or_path="./out/base"))
    assert not validate(changed(changes).write(tmp_path), only=["licence-changed", "licence-notice"]).findings
