"""What is given instead of what a command on vocabularies takes, is told for what it is, with what to do."""

from pathlib import Path
from typing import Any

import pytest

from surgery.errors import ConversionError, UsageError
from tests.vocabulary.models import llama
from tests.vocabulary.test_extend import WORDS, byte_level_model, pieces_model, run

SENTENCES = (
    "The lighthouse keeper wrote down every ship that came back.\n"
    "灯塔看守每天晚上都写下所有回来的船只和它们的名字以及船上所有水手的名字和年龄。\n"
) * 3


def refused(done: Any) -> ConversionError:
    assert isinstance(done.exception, ConversionError) and not done.stdout.startswith("Traceback"), (done.output, done.exception)
    return done.exception


@pytest.mark.parametrize("make", [byte_level_model, pieces_model])
@pytest.mark.parametrize(("name", "content", "told"), [
    ("words", WORDS, ("is text, and by its name a SentencePiece model", "ends with .txt")),
    ("words.lst", WORDS, ("is text", "ends with .txt", "train-pieces")),
    ("words.model", WORDS, ("is text", "ends with .txt")),
    ("tokens", '{"model": {"vocab": {}}}', ("is JSON by its content", "ends with .json")),
    ("corpus.txt", SENTENCES, ("is no list of words", "2 of its 2 lines", "train-pieces")),
    ("corpus", SENTENCES, ("is text", "if it is a corpus, train pieces")),
])  # fmt: skip
def test_a_file_of_another_kind_is_told_for_what_it_is(
    make: Any, name: str, content: str, told: tuple[str, ...], tmp_path: Path
) -> None:
    make(tmp_path / "base")
    (tmp_path / name).write_text(content, encoding="utf-8")
    error = refused(run("extend-vocab", tmp_path / "base", tmp_path / "out", "--add", tmp_path / name))
    assert isinstance(error, UsageError) and all(words in str(error) for words in told), error


def test_a_list_of_words_may_have_some_phrases_and_sentences(tmp_path: Path) -> None:
    from surgery.tokenizer.donors import donor_tokens

    content = WORDS + SENTENCES
    assert len(donor_tokens("words.txt", content.encode())) > 5


def test_a_donor_without_a_tokenizer_is_said_to_be_the_donor(tmp_path: Path) -> None:
    byte_level_model(tmp_path / "base")
    llama(tmp_path / "bare")
    (tmp_path / "words.txt").write_text(WORDS, encoding="utf-8")
    words = ("extend-vocab", tmp_path / "base", tmp_path / "out", "--add", tmp_path / "words.txt", "--init")
    assert "the donor 'bare' has no tokenizer" in str(refused(run(*words, f"donor:{tmp_path / 'bare'}")))
    assert "the donor that --init names cannot be used" in str(refused(run(*words, f"donor:{tmp_path / 'nowhere'}")))


def test_a_folder_without_a_tokenizer_has_no_tokens_to_add(tmp_path: Path) -> None:
    byte_level_model(tmp_path / "base")
    llama(tmp_path / "bare")
    error = refused(run("extend-vocab", tmp_path / "base", tmp_path / "out", "--add", tmp_path / "bare"))
    assert isinstance(error, UsageError) and "is a folder without a tokenizer" in str(error)


@pytest.mark.parametrize(("options", "content", "told"), [
    (("--size", 60, "--coverage", 0.95), SENTENCES, "it takes 0.98 to 1"),
    (("--size", 60, "--coverage", 1.5), SENTENCES, "it takes 0.98 to 1"),
    (("--size", 100000), SENTENCES, "Give it more text, or ask for"),
    (("--size", 8), SENTENCES, "its characters alone are"),
    (("--size", 60), "\n\n", "it has no text"),
])  # fmt: skip
def test_what_cannot_be_trained_is_said_with_the_numbers_that_can(
    options: tuple[Any, ...], content: str, told: str, tmp_path: Path
) -> None:
    (tmp_path / "corpus.txt").write_text(content, encoding="utf-8")
    done = run("train-pieces", tmp_path / "corpus.txt", tmp_path / "out.model", *options)
    assert told in str(refused(done)) and not (tmp_path / "out.model").exists()
    assert done.stderr == "" or done.stderr.endswith("\n"), "what comes next has a line of its own"
