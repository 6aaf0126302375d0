"""The documents beside the weights, compared by what a library makes of them, or said not to be."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from convert import companions
from convert.checkpoint import open_checkpoint
from convert.claims import Compared
from convert.verification.verdict import Finding
from tests.vocabulary.models import llama
from tests.vocabulary.test_extend import small_json

TEMPLATE = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{% endfor %}"
SETTINGS = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|end|>", "chat_template": TEMPLATE}


def found(source: Path, output: Path) -> tuple[Finding, ...]:
    return companions.differences(open_checkpoint(source), open_checkpoint(output), Compared(None))


def status(source: Path, output: Path) -> dict[str, str]:
    return {finding.fact: finding.status for finding in found(source, output)}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("companions") / "base"
    generation = {"eos_token_id": 2, "do_sample": True, "top_p": 0.9}
    value = small_json()
    value["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<|end|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<|end|>": {"id": "<|end|>", "ids": [value["added_tokens"][0]["id"]], "tokens": ["<|end|>"]}},
    }  # fmt: skip
    llama(folder, rows=701, files={
        "tokenizer.json": json.dumps(value).encode(), "tokenizer_config.json": json.dumps(SETTINGS).encode(),
        "generation_config.json": json.dumps(generation).encode(),
    })  # fmt: skip
    return folder


def changed(base: Path, to: Path, name: str, edit: Callable[[dict[str, Any]], None]) -> Path:
    shutil.copytree(base, to)
    value = json.loads((to / name).read_text())
    edit(value)
    (to / name).write_text(json.dumps(value))
    return to


def few_merges(value: dict[str, Any]) -> None:
    value["model"]["merges"] = value["model"]["merges"][:10]


def lower_case(value: dict[str, Any]) -> None:
    value["normalizer"] = {"type": "Lowercase"}


def no_post_processor(value: dict[str, Any]) -> None:
    value["post_processor"] = None


def no_decoder(value: dict[str, Any]) -> None:
    value["decoder"] = None


def test_a_tokenizer_that_reads_its_ids_otherwise_fails(base: Path, tmp_path: Path):
    assert status(base, changed(base, tmp_path / "out", "tokenizer.json", no_decoder)) == {"decoded text": "fails"}


@pytest.mark.parametrize("edit", [few_merges, lower_case, no_post_processor], ids=lambda edit: edit.__name__)
def test_a_tokenizer_that_cuts_text_otherwise_fails(base: Path, tmp_path: Path, edit: Callable[[dict[str, Any]], None]):
    assert status(base, changed(base, tmp_path / "out", "tokenizer.json", edit))["tokenizer"] == "fails"


def test_another_chat_template_fails_and_the_same_said_otherwise_is_no_difference(base: Path, tmp_path: Path):
    def other(value: dict[str, Any]) -> None:
        value["chat_template"] = TEMPLATE.replace("<|{{", "<{{")

    def spaced(value: dict[str, Any]) -> None:
        value["chat_template"] = TEMPLATE.replace("m['role']", "m.role").replace("{{ m['content'] }}", "{{m['content']}}")

    def gone(value: dict[str, Any]) -> None:
        del value["chat_template"]

    assert status(base, changed(base, tmp_path / "other", "tokenizer_config.json", other)) == {"chat template": "fails"}
    assert status(base, changed(base, tmp_path / "spaced", "tokenizer_config.json", spaced)) == {}
    assert status(base, changed(base, tmp_path / "gone", "tokenizer_config.json", gone)) == {"chat template": "fails"}


@pytest.mark.parametrize(("change", "fact", "how"), [
    ({"eos_token_id": 5}, "end of generation", "fails"), ({"eos_token_id": [2, 5]}, "end of generation", "warns"),
    ({"repetition_penalty": 5.0}, "generation: repetition_penalty", "fails"),
    ({"suppress_tokens": [3]}, "generation: suppress_tokens", "fails"), ({"top_p": 0.1}, "generation: top_p", "fails"),
    ({"do_sample": False}, "generation: do_sample", "fails"), ({"max_new_tokens": 5}, "generation: max_new_tokens", "warns"),
], ids=str)  # fmt: skip
def test_settings_of_generation_that_have_an_effect_are_findings(
    base: Path, tmp_path: Path, change: dict[str, Any], fact: str, how: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(companions, "_built", lambda *sides: {"because": "of this test"})
    assert status(base, changed(base, tmp_path / "out", "generation_config.json", lambda v: v.update(change)))[fact] == how


@pytest.mark.parametrize(("change", "told"), [
    ({"max_new_tokens": 5}, {"generation: max_new_tokens": "warns"}),
    ({"num_assistant_tokens": 3}, {"generation: num_assistant_tokens": "fails"}),
    ({"suppress_tokens": [3]}, {"generation: suppress_tokens": "fails"}),
    ({"sequence_bias": [[[3], 1.0]]}, {"generation: sequence_bias": "fails"}),
], ids=str)  # fmt: skip
def test_where_ids_have_moved_numbers_that_are_no_ids_are_compared_all_the_same(
    base: Path, tmp_path: Path, change: dict[str, Any], told: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(companions, "_tokenizers", lambda *sides: ())
    out = changed(base, tmp_path / "out", "generation_config.json", lambda value: value.update(change))
    same = list(range(701))
    findings = companions.differences(open_checkpoint(base), open_checkpoint(out), Compared((same, same)))
    assert {finding.fact: finding.status for finding in findings} == told


def test_ids_in_settings_are_compared_under_their_new_numbers(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(companions, "_tokenizers", lambda *sides: ())
    one, right, wrong = (
        changed(base, tmp_path / name, "generation_config.json", lambda value, ids=ids: value.update(suppress_tokens=ids))
        for name, ids in (("one", [3, 9]), ("right", [4]), ("wrong", [3]))
    )
    moved = Compared(([2, 3], [2, 4]))  # 3 has become 4, and 9 is gone
    told = [companions.differences(open_checkpoint(one), open_checkpoint(out), moved) for out in (right, wrong)]
    assert [[finding.fact for finding in each] for each in told] == [[], ["generation: suppress_tokens"]]


@pytest.mark.parametrize("special", [True, False])
def test_a_token_that_text_was_decoded_without_and_is_not_any_more_fails(base: Path, tmp_path: Path, special: bool):
    def added(flag: bool) -> Callable[[dict[str, Any]], None]:
        def edit(value: dict[str, Any]) -> None:
            value["added_tokens"].append({**value["added_tokens"][0], "content": "<|stop|>", "id": 702, "special": flag})

        return edit

    one = changed(base, tmp_path / "one", "tokenizer.json", added(special))
    other = changed(base, tmp_path / "other", "tokenizer.json", added(not special))
    assert status(one, one) == {}
    (finding,) = found(one, other)
    assert (finding.fact, finding.status) == ("special tokens", "fails") and '"<|stop|>"' in finding.because.replace("'", '"')


def test_settings_that_have_no_effect_are_no_difference(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(companions, "_tokenizers", lambda *sides: ())
    idle = {"repetition_penalty": 1.0, "transformers_version": "4.0", "top_k": 50, "suppress_tokens": None}
    assert status(base, changed(base, tmp_path / "out", "generation_config.json", lambda v: v.update(idle))) == {}


def test_what_was_not_compared_is_said_by_name(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shutil.copytree(base, tmp_path / "out")
    (tmp_path / "out" / "tokenizer.json").unlink()
    told = {one.fact: one.because for one in found(base, tmp_path / "out")}
    assert told == {
        "tokenizer": "not compared: the output has none", "chat template": "not compared: the output has no tokenizer",
    }  # fmt: skip
    monkeypatch.setattr(companions, "_SECONDS", 0.01)
    assert all("did not end within" in one.because for one in found(base, base))


def test_a_tokenizer_that_would_take_all_memory_is_not_compared(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def bomb(value: dict[str, Any]) -> None:
        step = {"type": "Replace", "pattern": {"String": "e"}, "content": "ee"}
        value["normalizer"] = {"type": "Sequence", "normalizers": [step] * 40}

    monkeypatch.setattr(companions, "_MEMORY", 2 << 30)
    monkeypatch.setattr(companions, "_SECONDS", 120.0)
    told = found(base, changed(base, tmp_path / "out", "tokenizer.json", bomb))
    assert {one.fact for one in told} == {"tokenizer", "chat template"}
    assert all(one.because.startswith("not compared: ") for one in told)
