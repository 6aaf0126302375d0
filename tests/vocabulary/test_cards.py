"""Cards of models with an edited vocabulary say which tokens keep their function, and what else has changed."""

from collections.abc import Callable
from pathlib import Path

import pytest

import convert
from convert.card import make_card
from convert.edits.transplant import transplant_tokenizer
from convert.edits.vocabulary import Revised, extend_vocab, plan_vocabulary
from convert.edits.vocabulary_size import pad_vocab, trim_vocab, unpad_vocab
from surgery.model import Artefact
from surgery.tokenizer.grow import Addition
from tests.trained.kinds import kind
from tests.vocabulary.test_extend import byte_level_model
from tests.vocabulary.test_kinds import model_of

WHOLE = "it computes the same real function"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    byte_level_model(tmp_path / "base", rows=710)
    return tmp_path / "base"


def card(source: Path, make: Callable[[Artefact], Revised]) -> str:
    out = source.with_name("out")
    convert.write(plan_vocabulary(make(convert.open(source))), out, verify="off")
    text = make_card(source, out).text
    (line,) = [line for line in text.splitlines() if line.startswith("Exactness: ")]
    assert WHOLE not in text
    return line


def test_of_an_extended_model_the_old_tokens_are_exact_and_new_rows_are_untrained(base: Path) -> None:
    line = card(base, lambda model: extend_vocab(model, Addition((), atoms=("<|a|>", "<|b|>"))))
    assert line.startswith("Exactness: **algebraic**, of the 701 tokens that the source has alone: ")
    assert "2 tokens more" in line and "made, not trained (`subword-mean`)" in line


def test_of_a_transplanted_model_the_shared_tokens_are_exact_and_the_rest_is_approximate(base: Path, tmp_path: Path) -> None:
    model_of(kind("gpt2-json"), tmp_path / "donor")
    donor = convert.open(tmp_path / "donor")
    revised = transplant_tokenizer(convert.open(base), donor)
    line = card(base, lambda model: transplant_tokenizer(model, donor))
    made = revised.said["tokens"] - revised.said["shared"] - revised.said["parts"]
    assert revised.said["parts"] > 0 and "end or fill a text have the rows that did so" in line
    assert f"of the {revised.said['shared']:,} tokens that both tokenizers have alone" in line
    assert f"the rows of {made:,} tokens are approximations, sums of up to 8 rows" in line
    assert "As a whole it is not the source's function" in line and "its tokenizer is another model's" in line


def test_of_a_trimmed_model_the_kept_tokens_are_exact_and_others_are_gone(base: Path) -> None:
    line = card(base, lambda model: trim_vocab(model, ["the lighthouse"]))
    assert "tokens that were kept alone" in line and "are gone, ids are numbered anew" in line


@pytest.mark.parametrize("make", [lambda model: pad_vocab(model, multiple=64), unpad_vocab])
def test_rows_without_tokens_are_no_part_of_any_text(make: Callable[[Artefact], Revised], base: Path) -> None:
    assert "those without a token are no part of any text" in card(base, make)


def test_a_conversion_without_an_edit_of_the_vocabulary_is_the_same_function(base: Path, tmp_path: Path) -> None:
    convert.write(convert.plan(convert.open(base), "mistral"), tmp_path / "out", verify="off")
    assert "Exactness: **byte**: every stored number is a copy" in make_card(base, tmp_path / "out").text
