"""surgery merge-tokenizer and train-pieces: files in, files out."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import sentencepiece

from surgery.errors import ConversionError, OutputBusy, UsageError
from tests.shared import SHARED, needs_shared
from tests.tokenizer.small import sentencepiece_model
from tests.trained.kinds import chinese_pieces
from tests.trained.pieces import NORMAL, Spelled, form, joined_as_published, model
from tests.vocabulary.test_extend import run

TOKENIZERS = SHARED / "tokenizers"
PUBLISHED = {"chinese-llama": "e2676d4c", "chinese-alpaca": "2d967e85"}  # sha256 of the published files


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def merged_as_published(base: Path, addition: Path, folder: Path) -> tuple[dict[str, Any], Path, Path]:
    """What the command says of a merge with published scores; the merge, and the merge with [PAD] behind it."""
    words = ("merge-tokenizer", base, "--add", addition, "--scores", "published")
    done = run(*words, folder / "llama.model", "--json")
    assert done.exit_code == 0, done.output
    assert run(*words, folder / "alpaca.model", "--append", "[PAD]").exit_code == 0
    return json.loads(done.stdout), folder / "llama.model", folder / "alpaca.model"


def test_a_published_merge_comes_out_byte_for_byte(tmp_path: Path) -> None:
    base, addition = model(Spelled(runs=1)), chinese_pieces()
    (tmp_path / "base.model").write_bytes(base)
    (tmp_path / "addition.model").write_bytes(addition)
    told, llama, alpaca = merged_as_published(tmp_path / "base.model", tmp_path / "addition.model", tmp_path)
    wanted = joined_as_published(base, addition)
    assert llama.read_bytes() == wanted
    size, new = (len(form.ModelProto.FromString(data).pieces) for data in (base, wanted))
    # unk, <s> and </s> are in both and no words
    normal = sum(piece.type == NORMAL for piece in form.ModelProto.FromString(addition).pieces)
    assert (told["added"], told["duplicates"], told["pieces"]) == (new - size, normal - (new - size), new)
    appended = form.ModelProto.FromString(wanted)
    appended.pieces.add(piece="[PAD]", score=0.0)
    assert alpaca.read_bytes() == appended.SerializeToString()


@needs_shared
def test_the_published_chinese_merges_come_out_byte_for_byte(tmp_path: Path) -> None:
    base, addition = TOKENIZERS / "llama2/vendor/tokenizer.model", TOKENIZERS / "chinese-sp-20000/chinese_sp.model"
    told, llama, alpaca = merged_as_published(base, addition, tmp_path)
    assert (told["added"], told["duplicates"], told["pieces"]) == (17953, 2044, 49953)
    assert sha256(llama).startswith(PUBLISHED["chinese-llama"])
    assert sha256(alpaca).startswith(PUBLISHED["chinese-alpaca"])


def test_pieces_are_trained_and_merged_and_then_whole_words_are_one(tmp_path: Path) -> None:
    base, corpus = tmp_path / "base.model", tmp_path / "corpus.txt"
    base.write_bytes(sentencepiece_model(only_ascii=True))
    corpus.write_text(
        "\n".join(["灯塔看守人每天傍晚爬上楼梯", "灯塔的灯开始转动", "傍晚的灯塔"] * 20), encoding="utf-8"
    )
    done = run("train-pieces", corpus, tmp_path / "addition.model", "--size", "40", "--coverage", "1.0")
    assert done.exit_code == 0, done.output
    assert "lines read" in done.stderr
    merged = run("merge-tokenizer", base, tmp_path / "merged.model", "--add", tmp_path / "addition.model")
    assert merged.exit_code == 0, merged.output
    before, after = (
        sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / name)) for name in ("base.model", "merged.model")
    )
    assert len(after.encode("傍晚的灯塔")) < len(before.encode("傍晚的灯塔")) / 2
    assert after.encode("The old lamp") == before.encode("The old lamp")


def test_only_pieces_that_meet_the_filter_are_merged(tmp_path: Path) -> None:
    base = tmp_path / "base.model"
    base.write_bytes(sentencepiece_model(only_ascii=True))
    words = tmp_path / "words.txt"
    words.write_text("灯塔\nlighthouse\n", encoding="utf-8")
    assert run("merge-tokenizer", base, tmp_path / "out.model", "--add", words, "--filter", "cjk").exit_code == 0
    after = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "out.model"))
    pieces = {after.id_to_piece(i) for i in range(after.vocab_size())}
    assert "灯塔" in pieces and "lighthouse" not in pieces


def test_a_name_that_is_taken_is_left_alone(tmp_path: Path) -> None:
    base = tmp_path / "base.model"
    base.write_bytes(sentencepiece_model())
    done = run("merge-tokenizer", base, base, "--append", "[PAD]")
    assert isinstance(done.exception, OutputBusy) and base.read_bytes() == sentencepiece_model()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\nsize 1\n", "Git LFS pointer"),
        (b"\x00\x01broken", "not a SentencePiece model"),
    ],
)
def test_a_base_that_is_no_model_is_refused_and_nothing_is_written(tmp_path: Path, content: bytes, said: str) -> None:
    base = tmp_path / "base.model"
    base.write_bytes(content)
    done = run("merge-tokenizer", base, tmp_path / "out.model", "--append", "[PAD]")
    assert isinstance(done.exception, ConversionError) and said in str(done.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["base.model"]


def test_there_must_be_something_to_merge(tmp_path: Path) -> None:
    base = tmp_path / "base.model"
    base.write_bytes(sentencepiece_model())
    assert isinstance(run("merge-tokenizer", base, tmp_path / "out.model").exception, UsageError)


def test_a_corpus_that_is_no_text_is_refused(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_bytes(b"\xff\xfe\x00")
    done = run("train-pieces", corpus, tmp_path / "out.model", "--size", "40")
    assert isinstance(done.exception, ConversionError) and "not UTF-8" in str(done.exception)
    assert not (tmp_path / "out.model").exists()
