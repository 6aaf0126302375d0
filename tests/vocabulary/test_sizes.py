"""trim-vocab, pad-vocab, unpad-vocab and transplant-tokenizer on small models."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from sentencepiece import SentencePieceProcessor

import convert
from convert.cli.main import cli as converting
from convert.edits.effect import effect
from convert.edits.transplant import transplant_tokenizer
from convert.edits.vocabulary import plan_vocabulary
from convert.edits.vocabulary_size import pad_vocab, trim_vocab, unpad_vocab
from surgery.errors import CannotJudge, ConversionError, UsageError, VerificationFailed
from surgery.tokenizer.facts import load
from tests.goldens import golden
from tests.tokenizer.small import byte_level
from tests.vocabulary.models import EMBED, HEAD, llama
from tests.vocabulary.test_extend import byte_level_model, logits, pieces_model, run, small_json

CORPUS = (
    "The old lighthouse keeper climbed the spiral stairs every evening.",
    "print(total / len(values))",
    "He had never missed.",
)


def verify(*words: object) -> Any:
    return CliRunner().invoke(converting, ["verify", *map(str, words)])


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(CORPUS), encoding="utf-8")
    return path


@pytest.mark.parametrize("make", [byte_level_model, pieces_model])
def test_a_trimmed_model_gives_its_corpus_the_same_tokens_and_the_same_logits(tmp_path: Path, make: object) -> None:
    from transformers import AutoTokenizer

    assert callable(make)
    make(tmp_path / "base", tied=False)
    revised = trim_vocab(convert.open(tmp_path / "base"), CORPUS, pad_to=16)
    plan = plan_vocabulary(revised)
    done = convert.write(plan, tmp_path / "out")
    assert done.verdict is not None and done.verdict.passed
    assert "byte: " in str(done.verdict.lines())
    kept = list(revised.shared[0])
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert len(kept) <= config["vocab_size"] < 700 and config["vocab_size"] % 16 == 0
    assert (tmp_path / "out/tokenizer.model").exists() == (make is pieces_model)
    after = AutoTokenizer.from_pretrained(tmp_path / "out")
    for text in CORPUS:
        ids = after(text, add_special_tokens=False)["input_ids"]
        assert after.decode(ids).strip() == text
        old = [kept[token] for token in ids]
        if make is byte_level_model:
            assert old == load(small_json()).encode(text).ids
        one, other = logits(tmp_path / "base", old), logits(tmp_path / "out", ids)
        torch.testing.assert_close(other[:, : len(kept)], one[:, kept], atol=1e-5, rtol=0)


def test_named_ids_move_with_their_tokens(tmp_path: Path, corpus: Path) -> None:
    end = load(small_json()).token_to_id("<|end|>")
    byte_level_model(tmp_path / "base", eos_token_id=end, bos_token_id=end)
    (tmp_path / "base/generation_config.json").write_text(json.dumps({"eos_token_id": [end], "max_length": 20}))
    assert run("trim-vocab", tmp_path / "base", tmp_path / "out", "--corpus", corpus).exit_code == 0
    value = json.loads((tmp_path / "out/tokenizer.json").read_text())
    new = load(value).token_to_id("<|end|>")
    assert new < end
    assert json.loads((tmp_path / "out/config.json").read_text())["eos_token_id"] == new
    assert json.loads((tmp_path / "out/generation_config.json").read_text()) == {
        "eos_token_id": [new],
        "max_length": 20,
    }


def test_a_trim_that_shuffles_rows_would_be_found(tmp_path: Path) -> None:
    """The proof compares each kept token with its own old row."""
    from dataclasses import replace

    byte_level_model(tmp_path / "base")
    revised = trim_vocab(convert.open(tmp_path / "base"), CORPUS)
    ids = list(revised.shared[0])
    wrong = replace(plan_vocabulary(revised), shared=([*ids[1:], ids[0]], revised.shared[1]))
    with pytest.raises(VerificationFailed):
        convert.write(wrong, tmp_path / "out")


def test_models_whose_ids_moved_are_compared_token_by_token_later_too(tmp_path: Path, corpus: Path) -> None:
    byte_level_model(tmp_path / "base", tied=False)
    run("trim-vocab", tmp_path / "base", tmp_path / "out", "--corpus", corpus, "--verify", "off")
    done = verify(tmp_path / "base", tmp_path / "out")
    assert done.exit_code == 0, done.output
    count = len(load(json.loads((tmp_path / "out/tokenizer.json").read_text())).get_vocab())
    assert f"the {count} tokens that both vocabularies have, each by its own id" in done.output
    weights = load_file(tmp_path / "out/model.safetensors")
    weights[EMBED][[20, 21]] = weights[EMBED][[21, 20]]
    save_file(weights, tmp_path / "out/model.safetensors", {"format": "pt"})
    assert isinstance(verify(tmp_path / "base", tmp_path / "out").exception, VerificationFailed)


def test_a_models_own_tokenizer_transplanted_changes_no_row(tmp_path: Path) -> None:
    """SentencePiece has <0x65> beside the letter e: the letter keeps the letter's row."""
    old = pieces_model(tmp_path / "base", tied=False)
    done = run("transplant-tokenizer", tmp_path / "base", tmp_path / "out", "--donor", tmp_path / "base")
    assert done.exit_code == 0, done.output
    new = load_file(tmp_path / "out/model.safetensors")
    assert torch.equal(new[EMBED], old[EMBED]) and torch.equal(new[HEAD], old[HEAD])
    assert verify(tmp_path / "base", tmp_path / "out").exit_code == 0


def test_a_letter_of_another_kind_of_tokenizer_gets_the_letters_row(tmp_path: Path) -> None:
    old = pieces_model(tmp_path / "base", tied=False)
    byte_level_model(tmp_path / "donor")
    assert run("transplant-tokenizer", tmp_path / "base", tmp_path / "out", "--donor", tmp_path / "donor").exit_code == 0
    pieces = SentencePieceProcessor(model_file=str(tmp_path / "base/tokenizer.model"))
    new, theirs = load_file(tmp_path / "out/model.safetensors"), load(small_json()).get_vocab()
    letters = [letter for letter in "aeinorst" if pieces.piece_to_id(letter) != pieces.unk_id()]
    assert len(letters) > 3
    for letter in letters:
        assert torch.equal(new[EMBED][theirs[letter]], old[EMBED][pieces.piece_to_id(letter)])


def test_a_transplanted_tokenizer_verifies_later_too(tmp_path: Path) -> None:
    byte_level_model(tmp_path / "base", tied=False)
    config = json.loads((tmp_path / "base/config.json").read_text())
    config["eos_token_id"] = load(small_json()).get_vocab()["<|end|>"]
    (tmp_path / "base/config.json").write_text(json.dumps(config))
    files = {"tokenizer.json": json.dumps(byte_level(900)).encode(), "tokenizer_config.json": b'{"eos_token": "<|end|>"}'}
    llama(tmp_path / "donor", rows=len(load(byte_level(900)).get_vocab()), tied=False, files=files)
    run("transplant-tokenizer", tmp_path / "base", tmp_path / "out", "--donor", tmp_path / "donor", "--verify", "off")
    words = tmp_path / "base", tmp_path / "out", "--exactness", "byte"
    done = verify(*words)
    assert isinstance(done.exception, CannotJudge), "rows that only the donor explains win, and the donor is not here"
    assert "further tokens: nothing -> 174 rows" in done.output
    done = verify(*words, "--other-rows")
    assert done.exit_code == 0, done.output
    assert "tokens that both vocabularies have" in done.output


@pytest.mark.parametrize("padding", ["mean", "zero"])
def test_padding_and_taking_it_away_gives_the_bytes_back(tmp_path: Path, padding: str) -> None:
    old = byte_level_model(tmp_path / "base", tied=False)
    rows = old[EMBED].shape[0]
    done = run("pad-vocab", tmp_path / "base", tmp_path / "padded", "--multiple-of", "64", "--padding", padding)
    assert done.exit_code == 0, done.output
    assert ("never takes one" if padding == "mean" else "can be the largest") in done.output
    padded = load_file(tmp_path / "padded/model.safetensors")
    assert padded[EMBED].shape[0] % 64 == 0
    filler = old[HEAD].mean(0) if padding == "mean" else torch.zeros(16)
    torch.testing.assert_close(padded[HEAD][rows:], filler.expand(padded[HEAD].shape[0] - rows, -1), atol=1e-6, rtol=0)
    assert run("unpad-vocab", tmp_path / "padded", tmp_path / "again").exit_code == 0
    again = load_file(tmp_path / "again/model.safetensors")
    assert all(torch.equal(again[name], tensor) for name, tensor in old.items())


def test_a_row_of_zeros_wins_where_all_logits_are_negative_and_a_mean_row_never_does(tmp_path: Path) -> None:
    old = byte_level_model(tmp_path / "base", tied=False)
    # a head whose rows all point away from where the stream goes: every logit is below zero
    direction = torch.ones(16)
    head = old[HEAD] * 0.01 - direction
    norm = torch.full((16,), 1.0)
    embed = old[EMBED].abs() * 50
    save_file(
        {**old, HEAD: head, EMBED: embed, "model.norm.weight": norm},
        tmp_path / "base/model.safetensors",
        metadata={"format": "pt"},
    )
    wins = {}
    for padding in ("mean", "zero"):
        revised = pad_vocab(convert.open(tmp_path / "base"), multiple=64, padding=padding)  # type: ignore[arg-type]
        convert.write(plan_vocabulary(revised), tmp_path / padding, verify="off")
        assert revised.fresh is not None
        found = effect(tmp_path / "base", tmp_path / padding, revised.fresh, revised.texts)
        wins[padding] = found.wins / found.positions
    assert wins == {"mean": 0.0, "zero": 1.0}


@pytest.mark.parametrize("name", ["baichuan2-7b", "qwen-7b", "internlm2-7b", "chatglm3"])
def test_every_layout_can_have_more_rows_and_a_head_that_normalises_them_is_told_apart(
    tmp_path: Path, name: str
) -> None:
    revised = pad_vocab(
        convert.open(golden(name).checkpoint, variant="2-7b" if "baichuan" in name else None), multiple=512
    )
    done = convert.write(plan_vocabulary(revised), tmp_path / "out")
    assert done.verdict is not None and done.verdict.passed
    assert (
        convert.open(tmp_path / "out", variant=None if name != "baichuan2-7b" else "2-7b").model.facts["vocab"] == 512
    )
    assert ("mask them" in revised.lines[0]) is (name == "baichuan2-7b")


def test_rows_that_tokens_have_are_not_taken_away(tmp_path: Path) -> None:
    byte_level_model(tmp_path / "base")
    with pytest.raises(ConversionError, match="trim-vocab"):
        unpad_vocab(convert.open(tmp_path / "base"), rows=600)
    with pytest.raises(UsageError, match="nothing to take away"):
        unpad_vocab(convert.open(tmp_path / "base"))
    with pytest.raises(UsageError, match="nothing to pad"):
        pad_vocab(convert.open(tmp_path / "base"), rows=10)


def test_rows_of_a_model_without_a_tokenizer_are_taken_away_only_by_number(tmp_path: Path) -> None:
    llama(tmp_path / "base")
    with pytest.raises(ConversionError, match="give --rows"):
        unpad_vocab(convert.open(tmp_path / "base"))
    assert unpad_vocab(convert.open(tmp_path / "base"), rows=40).artefact.model.facts["vocab"] == 40


def test_a_transplanted_tokenizer_keeps_shared_rows_and_their_logits(tmp_path: Path) -> None:
    old = byte_level_model(tmp_path / "base", tied=False)
    other = byte_level(900)
    files = {"tokenizer.json": json.dumps(other).encode(), "tokenizer_config.json": b'{"eos_token": "<|end|>"}'}
    count = len(load(other).get_vocab())
    llama(tmp_path / "donor", rows=count, tied=False, files=files)
    revised = transplant_tokenizer(convert.open(tmp_path / "base"), convert.open(tmp_path / "donor"), k=4)
    done = convert.write(plan_vocabulary(revised), tmp_path / "out")
    assert done.verdict is not None and done.verdict.passed
    new = load_file(tmp_path / "out/model.safetensors")
    ours, theirs = load(small_json()).get_vocab(), load(other).get_vocab()
    assert (
        new[EMBED].shape[0] == count and len(revised.shared[0]) == len(ours.keys() & theirs.keys()) - 1
    )  # not the end
    for token in ours.keys() & theirs.keys():
        assert torch.equal(new[EMBED][theirs[token]], old[EMBED][ours[token]])
        assert torch.equal(new[HEAD][theirs[token]], old[HEAD][ours[token]])
    assert (tmp_path / "out/tokenizer.json").read_bytes() == files["tokenizer.json"]
    assert json.loads((tmp_path / "out/config.json").read_text())["eos_token_id"] == theirs["<|end|>"]
