"""Damaged and foreign vocabulary files are refused in one paragraph that says what to do."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest

from surgery.errors import ConversionError, LimitExceeded
from surgery.tokenizer import sources
from surgery.tokenizer.facts import load
from surgery.tokenizer.processor import parsed, processor
from surgery.tokenizer.sources import SentencePieceModel, TiktokenRanks, TokenizerJson, read
from tests.tokenizer.small import byte_level, sentencepiece_model

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4be54af290d9\nsize 1136699\n"
LINES = b"".join(b64encode(bytes([byte])) + b" %d\n" % byte for byte in range(256))


def refusal(**files: bytes) -> str:
    with pytest.raises(ConversionError) as refused:
        read({name.replace("__", "."): data for name, data in files.items()})
    message = str(refused.value)
    assert "\n" not in message
    assert message.isprintable()
    return message


@pytest.mark.parametrize("name", ["tokenizer__model", "qwen__tiktoken", "tokenizer__json"])
def test_a_git_lfs_pointer_is_recognised_in_place_of_the_file(name: str) -> None:
    message = refusal(**{name: POINTER})
    assert f"is a Git LFS pointer of {len(POINTER)} bytes" in message
    assert "1136699" in message
    assert "git lfs pull" in message


def test_an_empty_file_is_refused() -> None:
    assert "is empty" in refusal(tokenizer__model=b"")


def test_windows_line_ends_in_ranks_are_refused() -> None:
    assert "Windows line ends (CRLF)" in refusal(qwen__tiktoken=LINES.replace(b"\n", b"\r\n"))


def test_a_sentencepiece_model_that_went_through_a_text_filter_is_refused() -> None:
    damaged = sentencepiece_model().replace(b"\n", b"\r\n")
    assert "is not a SentencePiece model" in refusal(tokenizer__model=damaged)


def test_a_cut_off_sentencepiece_model_is_refused() -> None:
    assert "is not a SentencePiece model" in refusal(tokenizer__model=sentencepiece_model()[:-7])


def test_a_file_beyond_the_limit_is_refused_before_it_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "LARGEST", 1000)
    with pytest.raises(LimitExceeded, match="has 1001 bytes, more than the 1000 bytes"):
        read({"tokenizer.json": b"{" + b" " * 1000})


def test_the_limit_is_below_200_megabytes_and_above_gemmas_33() -> None:
    assert 34_000_000 < sources.LARGEST < 200_000_000


def test_two_tokens_with_one_id_are_refused() -> None:
    value = byte_level()
    value["added_tokens"].append({**value["added_tokens"][0], "content": "<twin>"})
    assert "1 ids belong to two tokens each" in refusal(tokenizer__json=json.dumps(value).encode())


def test_one_token_with_two_ids_is_refused() -> None:
    value = byte_level()
    value["added_tokens"].append({**value["added_tokens"][0], "id": 5000})
    assert "has the ids 700 and 5000" in refusal(tokenizer__json=json.dumps(value).encode())


def test_a_vocabulary_that_says_a_token_twice_is_refused() -> None:
    assert "1 pieces occur twice" in refusal(vocab__json=b'{"a": 0, "b": 1, "a": 2}', merges__txt=b"")


def test_two_pieces_of_one_spelling_are_refused() -> None:
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto.FromString(sentencepiece_model())
    model.pieces.add(piece=model.pieces[-1].piece, score=0.0)
    assert "1 pieces occur twice" in refusal(tokenizer__model=model.SerializeToString())


def test_ids_that_are_no_row_numbers_are_refused() -> None:
    assert "not a table of tokens and ids" in refusal(vocab__json=b'{"a": -1}', merges__txt=b"")
    for wrong in ("7", -1, True, 7.0, None, [7]):
        value = byte_level()
        value["added_tokens"][0]["id"] = wrong
        assert "not a row number" in refusal(
            tokenizer__json=json.dumps({**value, "model": {**value["model"], "vocab": {}}}).encode()
        )
        assert "not a row number" in refusal(tokenizer__json=json.dumps({"model": {"vocab": {"a": wrong}}}).encode())


def test_ranks_without_all_bytes_are_refused() -> None:
    assert "lacks 1 of the 256 single bytes (0x00)" in refusal(qwen__tiktoken=LINES[LINES.index(b"\n") + 1 :])


def test_a_line_that_is_no_rank_is_named() -> None:
    assert "line 257: 'not base64' is not base64, space, rank" in refusal(qwen__tiktoken=LINES + b"not base64\n")
    assert "has rank 1 already" in refusal(qwen__tiktoken=LINES + b64encode(b"\x01") + b" 300\n")
    assert "1 ids belong to two tokens" in refusal(qwen__tiktoken=LINES + b64encode(b"ab") + b" 255\n")


def test_merges_of_another_vocabulary_are_refused() -> None:
    assert "line 2: the merge 'a b' names tokens" in refusal(
        vocab__json=b'{"a": 0}', merges__txt=b"#version: 0.2\na b\n"
    )


def test_json_that_is_none_is_refused() -> None:
    assert "is not JSON" in refusal(tokenizer__json=b'{"model": ')
    assert "has no `model`" in refusal(tokenizer__json=b"[]")
    assert "is not JSON" in refusal(tokenizer__json=b"[" * 100_000)


@pytest.mark.parametrize(
    "added", [{"<|end|>": 5}, ["<|end|>"], [{"content": "<|end|>"}], [{"id": 5}], [{"content": 5, "id": 5}]]
)
def test_added_tokens_of_another_shape_are_refused(added: object) -> None:
    value = {**byte_level(), "added_tokens": added}
    assert "added_tokens is not a list of tokens" in refusal(tokenizer__json=json.dumps(value).encode())


@pytest.mark.parametrize("vocab", ["a", [["a"]], [[1, 0.5]], 7])
def test_a_vocabulary_of_another_shape_is_refused(vocab: object) -> None:
    value = {"model": {"type": "BPE", "vocab": vocab, "merges": []}}
    assert "neither a table of tokens and ids nor a list" in refusal(tokenizer__json=json.dumps(value).encode())


@pytest.mark.parametrize("change", [{"merges": [["a"]]}, {"vocab": {"a": 1 << 40}}, {"type": "Unheard"}])
def test_what_the_library_cannot_load_is_refused_in_its_words(change: dict[str, object]) -> None:
    value = byte_level()
    with pytest.raises(ConversionError, match="the tokenizers library cannot load"):
        load({**value, "model": {**value["model"], **change}})


@pytest.mark.parametrize("key", ["normalizer", "pre_tokenizer", "post_processor", "decoder"])
@pytest.mark.parametrize("step", ["x", [1], 7])
def test_steps_of_another_shape_are_refused(key: str, step: object) -> None:
    assert f"{key} is {step!r}, which is neither null" in refusal(
        tokenizer__json=json.dumps({**byte_level(), key: step}).encode()
    )


def test_a_vocabulary_without_tokens_is_refused() -> None:
    for model in ({"type": "BPE", "vocab": {}, "merges": []}, {"type": "Unigram", "vocab": []}, {}):
        assert "has no tokens at all" in refusal(tokenizer__json=json.dumps({"model": model}).encode())
    assert "not a table of tokens and ids" in refusal(vocab__json=b"{}", merges__txt=b"")


def changed(change: Callable[[Any], object]) -> bytes:
    """The small SentencePiece model with a change, made to its protocol buffer."""
    model = parsed(sentencepiece_model())
    change(model)
    data: bytes = model.SerializeToString()
    return data


def piece(**values: object) -> Callable[[Any], object]:
    """A change of piece 400, or of the one at ``place``."""
    place = values.pop("place", 400)
    return lambda model: [setattr(model.pieces[place], key, value) for key, value in values.items()]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (piece(place=0, type=1), "0 pieces are of the kind unknown, not 1"),
        (piece(type=2), "2 pieces are of the kind unknown, not 1"),
        (piece(piece=""), "piece 400 is empty"),
        (piece(piece="x", score=float("nan")), "piece 400, 'x', has the score nan"),
        (piece(piece="x", score=float("-inf")), "piece 400, 'x', has the score -inf"),
        (lambda model: setattr(model.trainer_spec, "byte_fallback", False), "kind byte, but byte_fallback is off"),
    ],
)
def test_a_sentencepiece_model_that_the_library_would_not_load_is_refused(
    change: Callable[[Any], object], told: str
) -> None:
    assert told in refusal(tokenizer__model=changed(change))


def test_the_score_of_llamas_runs_of_spaces_is_a_score() -> None:
    assert isinstance(read({"tokenizer.model": changed(piece(score=-1e9))}), SentencePieceModel)


def test_a_piece_that_is_no_text_is_refused() -> None:
    damaged = sentencepiece_model().replace("▁the".encode(), b"\xff\xfe\xfdthe", 1)
    assert "is not UTF-8" in refusal(tokenizer__model=damaged)


def test_what_sentencepiece_cannot_load_is_refused_in_its_words() -> None:
    damaged = changed(lambda model: setattr(model.normalizer_spec, "precompiled_charsmap", b"\xff" * 12))
    with pytest.raises(ConversionError, match=r"sentencepiece itself cannot load .*Trie data size"):
        processor(damaged)


def test_names_from_a_checkpoint_are_shown_escaped() -> None:
    with pytest.raises(ConversionError) as refused:
        read({"evil\x1b[31m": b""})
    assert "\x1b" not in str(refused.value)


def test_the_kind_of_a_file_is_seen_in_its_content() -> None:
    assert isinstance(read({"tokenizer.model": LINES}), TiktokenRanks)
    assert isinstance(read({"tokenizer.model": sentencepiece_model()}), SentencePieceModel)
    both = {"tokenizer.model": sentencepiece_model(), "tokenizer.json": json.dumps(byte_level()).encode()}
    assert isinstance(read(both), TokenizerJson)
