"""Configuration files beside a vocabulary: what they say of added tokens is refused where it has another shape."""

from __future__ import annotations

import json

import pytest

from surgery.errors import ConversionError
from surgery.tokenizer.export import export
from surgery.tokenizer.recipe import Recipe

VOCABULARY = {"vocab.json": b'{"a": 0, "b": 1}', "merges.txt": b"#version: 0.2\n"}


def refusal(name: str, value: object) -> str:
    with pytest.raises(ConversionError) as refused:
        export(Recipe("any"), {**VOCABULARY, name: json.dumps(value).encode()})
    message = str(refused.value)
    assert message.isprintable()
    return message


@pytest.mark.parametrize("value", [["<x>"], "<x>", 5])
def test_a_decoder_that_is_no_object_is_refused(value: object) -> None:
    message = refusal("tokenizer_config.json", {"added_tokens_decoder": value})
    assert f"added_tokens_decoder is {value!r}, not an object of ids and tokens" in message


@pytest.mark.parametrize("value", [5, "<x>", {"a": 1}])
@pytest.mark.parametrize("name", ["tokenizer_config.json", "special_tokens_map.json"])
def test_additional_special_tokens_that_are_no_list_are_refused(name: str, value: object) -> None:
    message = refusal(name, {"additional_special_tokens": value})
    assert f"additional_special_tokens is {value!r}, not a list of tokens" in message


@pytest.mark.parametrize("key", ["x", "-1", "²", "٣", "", "9" * 5000, "1234567890"])
def test_a_key_that_is_no_id_is_refused(key: str) -> None:
    message = refusal("tokenizer_config.json", {"added_tokens_decoder": {key: {"content": "<x>"}}})
    assert "which is not an id and a token" in message
    assert len(message) < 600


@pytest.mark.parametrize("token", ["x", None, 5, [], {}, {"content": 5}, {"content": ""}])
def test_an_entry_that_is_no_token_is_refused(token: object) -> None:
    message = refusal("tokenizer_config.json", {"added_tokens_decoder": {"5": token}})
    assert "which is not an id and a token" in message


@pytest.mark.parametrize("place", ["5", None, -1, True, 1.5, [5], 10**12])
def test_an_added_token_without_an_id_is_refused(place: object) -> None:
    assert "the token '<x>' has the id" in refusal("added_tokens.json", {"<x>": place})


def test_a_template_that_is_no_text_is_refused() -> None:
    with pytest.raises(
        ConversionError, match=r"chat_template.jinja' is not UTF-8 text \(byte 2: 'invalid start byte'\)"
    ):
        export(Recipe("any"), {**VOCABULARY, "chat_template.jinja": b"ab\xff"})


def test_a_vocabulary_without_all_bytes_is_checked_by_the_library_as_tiktoken_would_panic() -> None:
    made = export(Recipe("any"), VOCABULARY)
    assert made.check.identical
    assert not made.check.independent
