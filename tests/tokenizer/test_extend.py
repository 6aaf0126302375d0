"""A BPE tokenizer.json extended by real merges: old text keeps its ids, new tokens are reached, specials stay."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.tokenizers import recipe_for
from surgery.errors import ConversionError
from surgery.tokenizer.donors import cjk, donor_tokens, kept
from surgery.tokenizer.export import export
from surgery.tokenizer.extend import add_special_tokens, as_text, extend_bpe
from surgery.tokenizer.facts import characters_per_token, load
from surgery.tokenizer.probe import PROBE, SAMPLES
from tests.shared import needs_shared
from tests.tokenizer.small import byte_level, sentencepiece_model
from tests.tokenizer.vendors import vendor_files
from tests.trained.kinds import kind

CHINESE = ("昨天", "下午", "公司", "楼下", "茶馆", "语言模型", "词表", "中文", "算力", "文章", "分词器", "你好")
CHECKED = ("你们好", "语言模组", "神经系统", "flashlight", "机器视觉")
WORDS = (*CHECKED, " fishermonger", "哈哈哈哈", "词", b"\xe4\xb8", "the")


def pieces_json() -> dict[str, Any]:
    files = {"tokenizer.model": sentencepiece_model()}
    value: dict[str, Any] = json.loads(export(recipe_for("llama", files), files)["tokenizer.json"])
    return value


@cache
def pair(kind: str) -> tuple[Any, Any, int]:
    """The tokenizer before and after, and the first new id."""
    value = pieces_json() if kind == "pieces" else byte_level(ignore_merges=kind == "ignore_merges")
    made = extend_bpe(value, WORDS)
    return load(value), load(made.tokenizer_json), made.first


@pytest.mark.parametrize("kind", ["byte-level", "ignore_merges", "pieces"])
@given(
    text=st.text(st.sampled_from("你们好语言模组神经系哈词 lighthousefsrmnga.\n0"), max_size=40)
    | st.sampled_from(PROBE)
)
def test_text_that_gets_no_new_token_keeps_its_ids(kind: str, text: str) -> None:
    before, after, first = pair(kind)
    old, new = before.encode(text).ids, after.encode(text).ids
    assert old == new or max(new) >= first
    assert after.decode(new) == before.decode(old)
    assert len(new) <= len(old)


@pytest.mark.parametrize("kind", ["byte-level", "ignore_merges", "pieces"])
def test_every_word_becomes_its_one_token(kind: str) -> None:
    _, after, first = pair(kind)
    for word in CHECKED:
        ids = after.encode(word, add_special_tokens=False).ids
        if kind == "pieces":  # in text they stand behind something: the dummy prefix makes "▁flash" of the first word
            ids = [place for place, _ in after.cut(word)]
        assert len(ids) == 1
        assert ids[0] >= first
        assert as_text(after.id_to_token(ids[0]), kind != "pieces") == word


def test_special_tokens_keep_their_ids_behind_which_new_ones_go_on() -> None:
    value = byte_level()
    made = extend_bpe(value, WORDS)
    assert made.first == 701
    assert [made.tokenizer_json["model"]["vocab"][token] for token in made.added] == list(
        range(701, 701 + len(made.added))
    )
    assert load(made.tokenizer_json).encode("a<|end|>").ids[-1] == 700
    assert value["model"]["vocab"].keys() == byte_level()["model"]["vocab"].keys()  # the argument is not changed


def test_new_ids_can_begin_behind_padding_rows_but_not_inside_the_old_ones() -> None:
    assert extend_bpe(byte_level(), ["你好"], first=1024).first == 1024
    with pytest.raises(ConversionError, match="are to begin at 700, but the tokenizer has ids up to 700"):
        extend_bpe(byte_level(), ["你好"], first=700)


def test_what_cannot_be_reached_is_skipped_with_the_reason() -> None:
    made = extend_bpe(byte_level(), ["two words", "a\x00b", "", "你好", "你好", "the"])
    assert dict(made.skipped) == {
        "twoĠwords": "the pre-tokenizer cuts it",
        "aĀb": "it has control characters",
        "": "it is empty",
    }
    assert made.duplicates[0] == "ä½łå¥½"
    assert as_text(made.added[-1], True) == "你好"


def test_steps_are_told_from_what_was_asked_for() -> None:
    made = extend_bpe(byte_level(), ["词"])  # three bytes, no merge among them
    assert len(made.added) == 2
    assert [as_text(token, True) for token in made.added if token not in made.steps] == ["词"]
    asked = extend_bpe(byte_level(), ["语言模型", "语言"])
    assert "语言" in [as_text(token, True) for token in asked.added if token not in asked.steps]


def test_no_merge_ever_makes_an_old_token() -> None:
    value = byte_level()
    made = extend_bpe(value, [text for text in PROBE if text.isascii()])
    old = len(value["model"]["merges"])
    assert all(
        left + right not in value["model"]["vocab"] for left, right in made.tokenizer_json["model"]["merges"][old:]
    )
    assert made.tokenizer_json["model"]["merges"][:old] == value["model"]["merges"]


def test_only_bpe_can_be_extended_by_merges() -> None:
    files = {"tokenizer.model": sentencepiece_model(model_type="unigram")}
    value = json.loads(export(recipe_for("llama", files), files)["tokenizer.json"])
    with pytest.raises(ConversionError, match="is a 'Unigram' model"):
        extend_bpe(value, ["你好"])
    value = byte_level()
    value["model"]["end_of_word_suffix"] = "</w>"
    with pytest.raises(ConversionError, match="marks the middle or end of words"):
        extend_bpe(value, ["你好"])


def test_special_tokens_are_added_behind_the_highest_id() -> None:
    made = add_special_tokens(byte_level(), ["<|im_start|>", "<|im_end|>", "<|end|>", "<|im_start|>", "\x1b"])
    assert (made.first, made.added, made.duplicates) == (701, ("<|im_start|>", "<|im_end|>"), ("<|end|>",))
    assert dict(made.skipped) == {"\x1b": "it has control characters"}
    assert load(made.tokenizer_json).encode("a<|im_end|>").ids[-1] == 702
    assert load(made.tokenizer_json).decode([702], skip_special_tokens=True) == ""


def test_special_tokens_can_be_added_to_a_unigram_model_too() -> None:
    files = {"tokenizer.model": sentencepiece_model(model_type="unigram")}
    value = json.loads(export(recipe_for("llama", files), files)["tokenizer.json"])
    made = add_special_tokens(value, ["<|im_start|>"])
    assert load(made.tokenizer_json).encode("a<|im_start|>", add_special_tokens=False).ids[-1] == made.first == 1200


def llama_3_with_qwens_chinese(files: Mapping[str, bytes], qwen: bytes, most: int) -> None:
    value = json.loads(export(recipe_for("llama", files), files)["tokenizer.json"])
    donor = kept(donor_tokens("qwen.tiktoken", qwen), cjk, most=most)
    made = extend_bpe(value, donor)
    before, after = load(value), load(made.tokenizer_json)
    assert made.first == 128256
    assert len(made.added) - len(made.steps) + len(made.duplicates) + len(made.skipped) == len(donor)
    for text in PROBE:
        old, new = before.encode(text).ids, after.encode(text).ids
        assert old == new or max(new) >= 128256
        assert after.decode(new) == before.decode(old)
    assert after.encode("<|eot_id|>", add_special_tokens=False).ids == [128009]
    assert characters_per_token(after)["Chinese"] > characters_per_token(before)["Chinese"]
    assert after.encode(SAMPLES["English"]).ids == before.encode(SAMPLES["English"]).ids


def test_one_vocabulary_with_anothers_chinese_keeps_all_other_ids() -> None:
    """The donor knows words of the sample that the base spells in bytes."""
    tokens = [*(bytes([byte]) for byte in range(256)), *map(str.encode, CHINESE)]
    ranks = b"".join(b64encode(token) + b" %d\n" % rank for rank, token in enumerate(tokens))
    llama_3_with_qwens_chinese(kind("llama3").files, ranks, 6000)


@needs_shared
def test_llama_3_with_qwens_chinese_keeps_all_other_ids() -> None:
    llama_3_with_qwens_chinese(vendor_files("llama3"), vendor_files("qwen1")["qwen.tiktoken"], 6000)
