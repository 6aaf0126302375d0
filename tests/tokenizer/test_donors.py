"""Where new tokens come from, and which of them are kept."""

from __future__ import annotations

import json
from base64 import b64encode

import pytest

from surgery.errors import ConversionError, UsageError
from surgery.tokenizer.donors import among, cjk, donor_tokens, kept, matching
from tests.tokenizer.small import byte_level, sentencepiece_model


@pytest.mark.parametrize("text", ["你", "你好", " 你好", "，你好。", "𠮷野家", "《说明》"])  # noqa: RUF001 - as Chinese has it
def test_ideographs_with_their_punctuation_are_chinese(text: str) -> None:
    assert cjk(text)


@pytest.mark.parametrize("text", ["", "hello", "你好a", "。", "，", "ひらがな", "한국어", "你 好", "GPU训练"])  # noqa: RUF001
def test_other_tokens_are_not(text: str) -> None:
    assert not cjk(text)


def test_ranks_give_their_tokens_in_order_without_single_bytes() -> None:
    tokens = [bytes([byte]) for byte in range(256)] + ["你".encode(), b"\xe4\xbd", b" a"]
    data = b"".join(b64encode(token) + b" %d\n" % rank for rank, token in enumerate(tokens))
    assert donor_tokens("x.tiktoken", data) == ("你".encode(), b"\xe4\xbd", b" a")
    assert kept(donor_tokens("x.tiktoken", data), lambda text: True) == ("你".encode(), b" a")
    assert kept(donor_tokens("x.tiktoken", data), lambda text: True, most=1) == ("你".encode(),)


def test_a_byte_level_tokenizer_json_gives_bytes_and_no_special_tokens() -> None:
    tokens = donor_tokens("tokenizer.json", json.dumps(byte_level()).encode())
    assert b" the" in tokens
    assert b"<|end|>" not in tokens
    assert len(tokens) == 700 - 256


def test_a_sentencepiece_model_gives_its_normal_pieces_with_spaces() -> None:
    tokens = donor_tokens("tokenizer.model", sentencepiece_model())
    assert " the" in tokens
    assert not any(token.startswith("<0x") or token == "<s>" for token in map(str, tokens))


def test_a_word_list_loses_empty_lines_and_doubles() -> None:
    assert donor_tokens("words.txt", "\ufeff你好\n\n 世界 \n你好\nword\n".encode()) == ("你好", "世界", " word", "word")
    with pytest.raises(ConversionError, match="is not UTF-8"):
        donor_tokens("words.txt", "你好".encode("gbk"))


def test_filters_by_pattern_and_by_list() -> None:
    assert kept(("ab", "cd", b"\xff"), matching("^a")) == ("ab",)
    assert kept(("ab", "cd"), among(["cd"])) == ("cd",)
    with pytest.raises(UsageError, match="is not a regular expression"):
        matching("(")


def test_a_pointer_is_no_donor() -> None:
    with pytest.raises(ConversionError, match="Git LFS pointer"):
        donor_tokens("a.model", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")


@pytest.mark.parametrize("step", ["x", [1], {"pretokenizers": None}, {"pretokenizers": ["x"]}])
def test_a_donor_whose_steps_have_another_shape_is_refused(step: object) -> None:
    value = {**byte_level(), "pre_tokenizer": step}
    with pytest.raises(ConversionError, match=r"pre_tokenizer is .*, which is neither null nor an object"):
        donor_tokens("donor.json", json.dumps(value).encode())
