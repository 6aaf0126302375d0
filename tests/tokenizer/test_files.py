"""Files of tokens on disk: what is refused before it is read, and an output that is whole or not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from convert.edits import pieces, tokens
from surgery.errors import LimitExceeded, OutputBusy, StorageFailed
from tests.tokenizer.small import sentencepiece_model


def test_a_file_beyond_the_limit_is_refused_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "LARGEST", 10)
    (tmp_path / "words.txt").write_bytes(b"x" * 11)
    with pytest.raises(LimitExceeded, match="has 11 bytes, more than the 10 that a tokenizer file may have"):
        tokens.read_file(tmp_path / "words.txt")


def test_a_file_or_folder_that_cannot_be_read_is_a_failure_of_storage(tmp_path: Path) -> None:
    with pytest.raises(StorageFailed, match="cannot be read: No such file"):
        tokens.read_file(tmp_path / "words.txt")
    with pytest.raises(StorageFailed, match="cannot be read: No such file"):
        tokens.folder_files(tmp_path / "donor")


def merged(folder: Path) -> Path:
    base, out = folder / "base.model", folder / "out.model"
    base.write_bytes(sentencepiece_model())
    pieces.merge_tokenizer(base, out, None, append=["[PAD]"])
    return out


def test_the_output_is_there_and_nothing_else(tmp_path: Path) -> None:
    assert merged(tmp_path).stat().st_size > len(sentencepiece_model())
    assert sorted(os.listdir(tmp_path)) == ["base.model", "out.model"]


def test_a_full_disk_is_a_failure_of_storage_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pieces.os, "fsync", full)
    with pytest.raises(StorageFailed, match="cannot be written: No space left on device"):
        merged(tmp_path)
    assert os.listdir(tmp_path) == ["base.model"]


def test_an_output_that_appeared_meanwhile_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out.model").write_bytes(b"theirs")
    monkeypatch.setattr(pieces, "_refuse_taken", lambda out: None)
    with pytest.raises(OutputBusy, match="appeared meanwhile"):
        merged(tmp_path)
    assert (tmp_path / "out.model").read_bytes() == b"theirs"
