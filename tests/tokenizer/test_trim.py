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
    assert len(smaller.kept) + smaller.dropped == before.get_vocab_size()
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
