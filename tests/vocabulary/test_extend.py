"""surgery extend-vocab on small models: what is written, that it loads, that old text and old logits stay."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

import convert
from convert.cli.surgery import cli
from convert.edits.effect import effect
from convert.edits.tokens import read_addition
from convert.edits.vocabulary import extend_vocab, plan_vocabulary
from surgery.errors import ConversionError, LimitExceeded, UsageError
from surgery.tokenizer.facts import load
from surgery.tokenizer.probe import PROBE
from tests.tokenizer.small import byte_level, sentencepiece_model
from tests.vocabulary.models import EMBED, HEAD, llama

WORDS = "机器学习\n神经网络\n灯塔\nlighthousekeeper\nthe\n"


def small_json() -> dict[str, Any]:
    return byte_level(700)


def byte_level_model(folder: Path, **options: Any) -> dict[str, torch.Tensor]:
    """A Llama with a byte-level tokenizer.json of 701 ids, and rows for them unless told otherwise."""
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|end|>"}
    files = {"tokenizer.json": json.dumps(small_json()).encode(), "tokenizer_config.json": json.dumps(config).encode()}
    return llama(folder, **{"rows": len(load(small_json()).get_vocab()), "files": files, **options})


def pieces_model(folder: Path, **options: Any) -> dict[str, torch.Tensor]:
    """A Llama with a SentencePiece model alone."""
    import sentencepiece

    data = sentencepiece_model(only_ascii=True)
    size = sentencepiece.SentencePieceProcessor(model_proto=data).vocab_size()
    return llama(folder, **{"rows": size, "files": {"tokenizer.model": data}, **options})


def run(*words: object) -> Any:
    return CliRunner().invoke(cli, [str(word) for word in words])


def logits(folder: Path, ids: list[int], dtype: torch.dtype = torch.float32) -> torch.Tensor:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    with torch.inference_mode():
        return model(torch.tensor([ids])).logits[0]


@pytest.fixture
def words(tmp_path: Path) -> Path:
    path = tmp_path / "words.txt"
    path.write_text(WORDS, encoding="utf-8")
    return path


@pytest.mark.parametrize("make", [byte_level_model, pieces_model])
@pytest.mark.parametrize("tied", [True, False])
def test_an_extended_model_loads_and_old_text_keeps_ids_and_logits(
    tmp_path: Path, words: Path, make: Any, tied: bool
) -> None:
    from transformers import AutoTokenizer

    old = make(tmp_path / "base", tied=tied)
    done = run(
        "extend-vocab",
        tmp_path / "base",
        tmp_path / "out",
        "--add",
        words,
        "--tokens",
        "<|im_start|>",
        "--special",
        "--no-effect",
    )
    assert done.exit_code == 0, done.output + str(done.exception)
    before, after = (
        AutoTokenizer.from_pretrained(tmp_path / name) if make is byte_level_model or name == "out" else None
        for name in ("base", "out")
    )
    rows = old[EMBED].shape[0]
    for word in ("机器学习", "<|im_start|>"):
        assert max(after(word, add_special_tokens=False)["input_ids"]) >= rows
    if before is not None:
        pairs = [(before(text)["input_ids"], after(text)["input_ids"]) for text in PROBE if text.isascii()]
        assert len(pairs) > 100 and sum(old != new for old, new in pairs) < 5  # those with "lighthouse" in them
        assert all(old == new or max(new) >= rows for old, new in pairs)
    ids = after("The lamp began to turn.", add_special_tokens=False)["input_ids"]
    assert max(ids) < rows
    one, other = logits(tmp_path / "base", ids), logits(tmp_path / "out", ids)
    assert len(after) <= other.shape[1]
    torch.testing.assert_close(other[:, :rows], one, atol=1e-5, rtol=0)
    assert json.loads((tmp_path / "out/config.json").read_text())["vocab_size"] == other.shape[1]
    told = json.loads((tmp_path / "out/weightsmith.json").read_text())
    assert told["options"]["vocabulary"]["first"] == rows and told["verification"]["verdict"] == "passed"


def test_rows_begin_as_the_mean_of_what_their_tokens_were_cut_into(tmp_path: Path, words: Path) -> None:
    from safetensors.torch import load_file
    from transformers import AutoTokenizer

    old = byte_level_model(tmp_path / "base", tied=False)
    assert (
        run(
            "extend-vocab", tmp_path / "base", tmp_path / "out", "--add", words, "--verify", "off", "--no-effect"
        ).exit_code
        == 0
    )
    new = load_file(tmp_path / "out/model.safetensors")
    before, after = (AutoTokenizer.from_pretrained(tmp_path / name) for name in ("base", "out"))
    (token,) = after("灯塔")["input_ids"]
    parts = before("灯塔")["input_ids"]
    assert len(parts) > 1
    for name in (EMBED, HEAD):
        torch.testing.assert_close(new[name][token], old[name][parts].mean(0))


def test_a_base_with_padding_rows_uses_them_and_is_compared_only_where_tokens_are(tmp_path: Path, words: Path) -> None:
    rows = len(load(small_json()).get_vocab())
    byte_level_model(tmp_path / "base", rows=rows + 100)
    revised = extend_vocab(convert.open(tmp_path / "base"), read_addition(words))
    plan = plan_vocabulary(revised)
    assert json.loads(plan.documents["config.json"])["vocab_size"] == rows + 100
    assert plan.shared == (range(rows), range(rows))
    done = convert.write(plan, tmp_path / "out")
    assert done.verdict is not None and done.verdict.passed


def test_rows_are_rounded_up_and_the_effect_counts_the_padding(tmp_path: Path, words: Path) -> None:
    byte_level_model(tmp_path / "base")
    done = run("extend-vocab", tmp_path / "base", tmp_path / "out", "--add", words, "--pad-to-multiple-of", "64")
    assert done.exit_code == 0
    assert json.loads((tmp_path / "out/config.json").read_text())["vocab_size"] % 64 == 0
    assert "of the probability falls on new rows" in done.output and "mean norm of new rows" in done.output
    assert "old text: " in done.output


def test_the_effect_is_what_transformers_says(tmp_path: Path, words: Path) -> None:
    rows = byte_level_model(tmp_path / "base")[EMBED].shape[0]
    revised = extend_vocab(convert.open(tmp_path / "base"), read_addition(words), init="zero")
    convert.write(plan_vocabulary(revised), tmp_path / "out", verify="off")
    ids = list(revised.texts[0][:40])
    assert revised.fresh is not None
    found = effect(tmp_path / "base", tmp_path / "out", revised.fresh, [ids])
    base, out = logits(tmp_path / "base", ids).log_softmax(-1), logits(tmp_path / "out", ids).log_softmax(-1)
    assert found.positions == 40
    assert found.leak == pytest.approx(float(out[:, rows:].exp().sum(1).mean()), rel=1e-4)
    assert found.divergence == pytest.approx(float((base.exp() * (base - out[:, :rows])).sum(1).mean()), rel=1e-3)
    assert found.norms[0][2] == 0


@pytest.mark.parametrize("init", ["mean", "mean-cov", "zero", "normal", "copy:<|end|>"])
def test_every_beginning_gives_rows_that_verify(tmp_path: Path, words: Path, init: str) -> None:
    from safetensors.torch import load_file

    old = byte_level_model(tmp_path / "base")
    quick = ("--no-effect", "--verify", "off" if init in ("mean", "copy:<|end|>") else "quick")
    done = run("extend-vocab", tmp_path / "base", tmp_path / "out", "--add", words, "--init", init, *quick)
    assert done.exit_code == 0, done.output
    new = load_file(tmp_path / "out/model.safetensors")[EMBED]
    first = old[EMBED].shape[0]
    assert torch.equal(new[:first], old[EMBED]) and new.isfinite().all()
    if init.startswith("copy"):
        end = load(small_json()).token_to_id("<|end|>")
        assert torch.equal(new[first:], old[EMBED][end].expand(len(new) - first, -1))


def test_a_donor_gives_tokens_that_only_it_knows_their_place_among_shared_ones(tmp_path: Path, words: Path) -> None:
    """The donor's embeddings are the base's through one linear map, so the best sum there is the best sum here."""
    from safetensors.torch import load_file, save_file

    old = byte_level_model(tmp_path / "base")[EMBED]
    assert run("extend-vocab", tmp_path / "base", tmp_path / "donor", "--add", words, "--no-effect").exit_code == 0
    tensors = load_file(tmp_path / "donor/model.safetensors")
    rotation, _ = torch.linalg.qr(torch.randn(16, 16, generator=torch.Generator().manual_seed(1)))
    first = old.shape[0]
    rows = tensors[EMBED] @ rotation
    rows[first:] = (old[5] + 2 * old[9]) @ rotation
    save_file({**tensors, EMBED: rows}, tmp_path / "donor/model.safetensors", metadata={"format": "pt"})
    init = f"donor:{tmp_path / 'donor'}"
    done = run(
        "extend-vocab", tmp_path / "base", tmp_path / "out", "--add", words, "--init", init, "--no-effect", "--k", "16"
    )
    assert done.exit_code == 0, done.output
    new = load_file(tmp_path / "out/model.safetensors")[EMBED]
    torch.testing.assert_close(new[first:], (old[5] + 2 * old[9]).expand(len(new) - first, -1), atol=1e-3, rtol=0)


def test_published_scores_put_new_pieces_before_old_ones_and_are_cut_as_sentencepiece_does(tmp_path: Path) -> None:
    from sentencepiece import SentencePieceProcessor

    pieces_model(tmp_path / "base")
    addition = tmp_path / "addition.model"
    addition.write_bytes(sentencepiece_model())
    revised = extend_vocab(convert.open(tmp_path / "base"), read_addition(addition), scores="published")
    assert revised.said["class"] == "PreTrainedTokenizerFast" and revised.files is not None
    own = SentencePieceProcessor(model_proto=revised.files["tokenizer.model"])
    tokenizer = load(json.loads(revised.files["tokenizer.json"]))
    for text in PROBE:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert ids == own.encode(text) and tokenizer.decode(ids).strip(" ") == own.decode(ids).strip(" "), text


# Bad input: one paragraph, nothing written.


def refused(tmp_path: Path, *words: object) -> str:
    done = run("extend-vocab", tmp_path / "base", tmp_path / "out", *words)
    assert isinstance(done.exception, ConversionError), (done.output, done.exception)
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))
    message = str(done.exception)
    assert "\n" not in message and len(message) < 700
    return message


def test_a_tokenizer_with_more_ids_than_rows_is_refused_with_the_way_out(tmp_path: Path, words: Path) -> None:
    byte_level_model(tmp_path / "base", rows=690)
    assert "the embedding has 690 rows" in (told := refused(tmp_path, "--add", words)) and "pad-vocab --rows" in told


def test_a_checkpoint_without_a_tokenizer_cannot_be_extended(tmp_path: Path, words: Path) -> None:
    llama(tmp_path / "base")
    assert "has no tokenizer" in refused(tmp_path, "--add", words)


def test_two_tokens_with_one_id_are_refused(tmp_path: Path, words: Path) -> None:
    byte_level_model(tmp_path / "base")
    value = small_json()
    value["model"]["vocab"]["twin"] = 300
    (tmp_path / "base/tokenizer.json").write_text(json.dumps(value))
    assert "belong to two tokens" in refused(tmp_path, "--add", words)


def test_a_pointer_in_the_place_of_pieces_is_refused(tmp_path: Path) -> None:
    byte_level_model(tmp_path / "base")
    pointer = tmp_path / "chinese_sp.model"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 757958\n")
    assert "Git LFS pointer" in refused(tmp_path, "--add", pointer)


def test_a_tiktoken_file_with_windows_line_ends_is_refused(tmp_path: Path) -> None:
    byte_level_model(tmp_path / "base")
    ranks = tmp_path / "qwen.tiktoken"
    ranks.write_bytes(b"IQ== 0\r\nIg== 1\r\n")
    assert "Windows line ends" in refused(tmp_path, "--add", ranks)


def test_an_enormous_tokenizer_json_is_refused_before_it_is_read(tmp_path: Path) -> None:
    byte_level_model(tmp_path / "base")
    large = tmp_path / "tokenizer.json"
    with large.open("wb") as file:
        file.truncate(200_000_000)
    assert "200,000,000 bytes" in refused(tmp_path, "--add", large)


def test_an_enormous_tokenizer_json_of_the_base_is_refused_too(tmp_path: Path, words: Path) -> None:
    byte_level_model(tmp_path / "base")
    with (tmp_path / "base/tokenizer.json").open("wb") as file:
        file.truncate(200_000_000)
    done = run("extend-vocab", tmp_path / "base", tmp_path / "out", "--add", words)
    assert isinstance(done.exception, LimitExceeded | ConversionError) and not (tmp_path / "out").exists()


def test_words_with_control_characters_are_skipped_by_name_and_alone_they_are_nothing_to_add(tmp_path: Path) -> None:
    byte_level_model(tmp_path / "base")
    path = tmp_path / "words.txt"
    path.write_text("a\x07b\n", encoding="utf-8")
    assert "control characters" in refused(tmp_path, "--add", path)


def test_tokens_that_are_all_there_are_nothing_to_add(tmp_path: Path) -> None:
    byte_level_model(tmp_path / "base")
    assert "none of the 1 tokens is new" in refused(tmp_path, "--tokens", "<|end|>")


@pytest.mark.parametrize(
    ("words_", "said"),
    [
        (("--init", "xavier"), "subword-mean"),
        (("--init", "copy:absent"), "no such token"),
        (("--filter", "kanji"), "regex:PATTERN"),
        (("--filter", "regex:("), "not a regular expression"),
        (("--filter", "regex:zzz"), "nothing to add"),
        (("--scores", "published"), "leave --scores alone"),
    ],
)
def test_wishes_that_cannot_be_met_are_refused(tmp_path: Path, words: Path, words_: tuple[str, ...], said: str) -> None:
    byte_level_model(tmp_path / "base")
    assert said in refused(tmp_path, "--add", words, *words_)


def test_nothing_to_add_at_all_is_a_mistake_of_the_user(tmp_path: Path) -> None:
    byte_level_model(tmp_path / "base")
    done = run("extend-vocab", tmp_path / "base", tmp_path / "out")
    assert isinstance(done.exception, UsageError)
