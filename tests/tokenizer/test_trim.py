"""Trimming: kept text keeps exactly its tokens, and all text can still be written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.tokenizers import recipe_for
from surgery.errors import ConversionError
from surgery.tokenizer.export import export
from surgery.tokenizer.facts import load
from surgery.tokenizer.probe import PROBE
from surgery.tokenizer.trim import kept_ids, trim
from tests.tokenizer.small import byte_level, sentencepiece_model


def exported(**settings: Any) -> dict[str, Any]:
    files = {"tokenizer.model": sentencepiece_model(**settings)}
    value: dict[str, Any] = json.loads(export(recipe_for("llama", files), files)["tokenizer.json"])
    return value


VALUES = {
    "byte-level": byte_level(),
    "pieces": exported(),
    "unigram": exported(model_type="unigram"),
    "user-defined": exported(user_defined_symbols=("\n", "0")),
}
TOKENIZERS = {kind: load(value) for kind, value in VALUES.items()}


@pytest.mark.parametrize("kind", VALUES)
@given(corpus=st.lists(st.sampled_from(PROBE), min_size=1, max_size=4))
def test_kept_text_keeps_its_tokens_and_any_other_can_still_be_written(kind: str, corpus: list[str]) -> None:
    before = TOKENIZERS[kind]
    used = {one for text in corpus for one in before.encode(text).ids}
    smaller = trim(VALUES[kind], kept_ids(VALUES[kind], used))
    after = load(smaller.tokenizer_json)
    assert len(smaller.kept) + smaller.dropped == len(before.get_vocab())
    for text in corpus:
        assert [smaller.kept[one] for one in after.encode(text).ids] == before.encode(text).ids
    for text in PROBE[::20]:
        assert after.decode(after.encode(text).ids) == before.decode(before.encode(text).ids)


@pytest.mark.parametrize("kind", VALUES)
def test_ids_are_without_holes_and_special_tokens_stay(kind: str) -> None:
    value = VALUES[kind]
    smaller = trim(value, kept_ids(value, ()))
    after = load(smaller.tokenizer_json)
    assert sorted(after.get_vocab().values()) == list(range(len(smaller.kept)))
    for token in value["added_tokens"]:
        assert smaller.kept[after.token_to_id(token["content"])] == token["id"]


def test_the_token_in_front_is_numbered_anew() -> None:
    value = exported()
    smaller = trim(value, [0, 2, 1, *kept_ids(value, ())[3:]])
    assert load(smaller.tokenizer_json).encode("a").ids[0] == 2


def test_ids_that_the_tokenizer_lacks_are_refused() -> None:
    with pytest.raises(ConversionError, match="1 of the ids to keep are not the tokenizer's"):
        kept_ids(byte_level(), [5, 90000])
    with pytest.raises(ConversionError, match="have doubles, some that the tokenizer lacks, or too few"):
        trim(byte_level(), [1, 1])
    with pytest.raises(ConversionError, match="too few"):
        trim(VALUES["pieces"], [0, 2])  # 1 is <s>, which the post-processor puts in front


def test_an_unk_token_that_is_not_there_is_not_kept() -> None:
    value = byte_level()
    value["model"]["unk_token"] = "<nothing>"
    assert kept_ids(value, ()) == (*range(256), 700)
    load(trim(value, kept_ids(value, ())).tokenizer_json)


def test_ids_around_a_text_are_kept_and_numbered_anew() -> None:
    value = byte_level()
    value["post_processor"] = {
        "type": "RobertaProcessing", "sep": [" the", 400], "cls": ["<|end|>", 700], "trim_offsets": True,
        "add_prefix_space": False,
    }  # fmt: skip
    kept = kept_ids(value, ())
    assert 400 in kept
    ids = load(trim(value, kept).tokenizer_json).encode("a").ids
    assert [kept[one] for one in ids] == load(value).encode("a").ids
    value["post_processor"]["sep"] = ["?", 4000]
    with pytest.raises(ConversionError, match="puts the ids 4000 around a text, which no token has"):
        kept_ids(value, ())


def words_json(model: str, text: str) -> dict[str, Any]:
    """A vocabulary whose tokens say whether they are inside a word, trained on a text of ASCII and some Chinese."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]") if model == "bpe" else models.WordPiece(unk_token="[UNK]"))  # type: ignore[arg-type]
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    said: dict[str, Any] = {"vocab_size": 2000, "special_tokens": ["[UNK]"], "show_progress": False}
    if model == "bpe":
        trainer = trainers.BpeTrainer(continuing_subword_prefix="##", end_of_word_suffix="</w>", **said)
    else:
        trainer = trainers.WordPieceTrainer(**said)
    tokenizer.train_from_iterator([text], trainer)
    value: dict[str, Any] = json.loads(tokenizer.to_str())
    return value


@pytest.mark.parametrize("model", ["bpe", "wordpiece"])
def test_words_with_marks_of_where_a_token_stands_keep_their_cut_and_their_characters(model: str) -> None:
    text = " ".join(one for one in PROBE if one.isascii() or "\u4e00" <= one[:1] <= "\u9fff")
    value = words_json(model, text)
    before = load(value)
    used = before.encode("The quick brown fox counts steps").ids
    made = trim(value, kept_ids(value, used))
    after = load(made.tokenizer_json)
    assert made.dropped > 20
    assert [made.kept[one] for one in after.encode("The quick brown fox counts steps").ids] == used
    for other in ("lighthouse", "的一是"):
        tokens = [[str(one.id_to_token(place)) for place in one.encode(other).ids] for one in (before, after)]
        spelled = ["".join(token.removeprefix("##").removesuffix("</w>") for token in each) for each in tokens]
        assert spelled[0] == spelled[1] and spelled[0].startswith(other[:2])


def test_an_unknown_character_costs_what_it_cost() -> None:
    """Unigram counts it from the lowest score there is: a piece of three against one of two and an unknown character."""
    value = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None, "pre_tokenizer": None,
        "post_processor": None, "decoder": None,
        "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": False,
                  "vocab": [["<unk>", 0.0], ["a", -9.0], ["b", -9.0], ["bc", -25.0], ["ab", -3.0], ["zz", -40.0]]},
    }  # fmt: skip
    before = load(value)
    used = before.encode("abc").ids
    made = trim(value, kept_ids(value, used))
    assert [made.kept[one] for one in load(made.tokenizer_json).encode("abc").ids] == used == [1, 3]
    assert 5 in made.kept
