"""convert chat-check, what inspect says of tokenizers, and the two options of conversions that concern them."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from convert.cli.main import cli
from surgery.errors import ConversionError, VerificationFailed
from tests.tokenizer.small import sentencepiece_model
from tests.vocabulary.models import llama
from tests.vocabulary.test_extend import byte_level_model, pieces_model, small_json

TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"


def run(*words: object) -> Any:
    return CliRunner().invoke(cli, [str(word) for word in words])


def with_template(folder: Path, template: str) -> None:
    byte_level_model(folder)
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")


def test_equal_prompts_pass_and_the_risk_is_told(tmp_path: Path) -> None:
    for name in ("src", "out"):
        with_template(tmp_path / name, TEMPLATE)
    done = run("chat-check", tmp_path / "src", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "19 of 19 conversations give the same tokens" in done.output
    assert "injection: '<|end|>'" in done.output and "split_special_tokens=True" in done.output


def test_a_template_that_strips_is_found_where_it_matters_and_only_there(tmp_path: Path) -> None:
    with_template(tmp_path / "src", TEMPLATE)
    with_template(tmp_path / "out", TEMPLATE.replace("m['content']", "m['content'].strip()"))
    done = run("chat-check", tmp_path / "src", tmp_path / "out", "--json")
    assert isinstance(done.exception, VerificationFailed)
    found = {entry["name"]: entry["same"] for entry in json.loads(done.stdout)["conversations"]}
    assert [name for name, same in found.items() if not same] == ["spaces", "a newline first", "several lines"]


def test_a_turn_that_only_one_side_refuses_is_a_difference(tmp_path: Path) -> None:
    with_template(tmp_path / "src", TEMPLATE)
    with_template(
        tmp_path / "out", "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}" + TEMPLATE
    )
    done = run("chat-check", tmp_path / "src", tmp_path / "out")
    assert isinstance(done.exception, VerificationFailed) and "the output refuses it" in done.output


def test_a_base_model_has_no_prompt_to_compare(tmp_path: Path) -> None:
    byte_level_model(tmp_path / "src")
    done = run("chat-check", tmp_path / "src", tmp_path / "src")
    assert isinstance(done.exception, ConversionError) and "no chat template" in str(done.exception)


def test_inspect_tells_the_tokenizer_and_rows_without_tokens(tmp_path: Path) -> None:
    byte_level_model(tmp_path / "model", rows=710)
    done = run("inspect", tmp_path / "model")
    assert (
        "BPE, byte-level, 701 tokens, ids up to 700" in done.output
        and "9 rows of the embedding have no token" in done.output
    )
    told = json.loads(run("inspect", tmp_path / "model", "--json").stdout)
    assert told["tokenizer"]["size"] == 701 and told["tokenizer"]["specials"] == {"700": "<|end|>"}


def test_inspect_tells_ids_beyond_the_rows_and_damage(tmp_path: Path) -> None:
    byte_level_model(tmp_path / "few", rows=690)
    assert "ids reach beyond the embedding, which has 690 rows" in run("inspect", tmp_path / "few").output
    llama(tmp_path / "damaged", files={"tokenizer.json": b"{"})
    assert "tokenizer.json' is not JSON" in run("inspect", tmp_path / "damaged").output


def test_inspect_starts_no_process_where_there_is_no_tokenizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    llama(tmp_path / "model")
    monkeypatch.setattr("subprocess.run", None)
    done = run("inspect", tmp_path / "model")
    assert done.exit_code == 0 and "tokenizer " not in done.output


def test_more_ids_than_rows_convert_only_when_asked_and_it_is_said(tmp_path: Path) -> None:
    byte_level_model(tmp_path / "model", rows=690)
    words = ("llama-to-mistral", tmp_path / "model", tmp_path / "out", "--verify", "off")
    refused = run(*words)
    assert isinstance(refused.exception, ConversionError) and "--allow-vocab-mismatch" in str(refused.exception)
    assert not (tmp_path / "out").exists()
    done = run(*words, "--allow-vocab-mismatch")
    assert done.exit_code == 0, done.output
    assert "ids up to 700, but the embeddings have 690 rows" in done.output
    assert json.loads((tmp_path / "out/tokenizer.json").read_text())["model"]["vocab"] == small_json()["model"]["vocab"]


def test_tied_scores_become_canonical_when_asked(tmp_path: Path) -> None:
    from surgery.tokenizer.pieces import merge_sentencepiece
    from surgery.tokenizer.sources import read_sentencepiece

    tied = merge_sentencepiece(sentencepiece_model(only_ascii=True), sentencepiece_model(), "published").model
    size = read_sentencepiece("tied", tied).size
    llama(tmp_path / "model", rows=size, files={"tokenizer.model": tied})
    done = run("llama-to-mistral", tmp_path / "model", tmp_path / "out", "--tokenizer", "canonical", "--verify", "off")
    assert done.exit_code == 0, (done.output, done.exception)
    assert "scores are canonical" in done.output and (tmp_path / "out/tokenizer.json").exists()
    assert read_sentencepiece("out", (tmp_path / "out/tokenizer.model").read_bytes()).tied == 0


def test_canonical_scores_of_a_vocabulary_without_ties_are_refused(tmp_path: Path) -> None:
    pieces_model(tmp_path / "model")
    done = run("llama-to-mistral", tmp_path / "model", tmp_path / "out", "--tokenizer", "canonical", "--verify", "off")
    assert isinstance(done.exception, ConversionError) and not (tmp_path / "out").exists()
