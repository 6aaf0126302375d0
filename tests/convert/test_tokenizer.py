"""Conversions write a tokenizer that needs no remote code and gives the ids that the source's gave."""

from __future__ import annotations

import json
import shutil
import unicodedata

import pytest
import torch

import convert.writing
from convert.card import Wishes, make_card
from convert.checkpoint import open_checkpoint
from convert.checkpoint.files import list_folder
from convert.prepare import plan_conversion, plan_repack
from convert.report import written_text
from convert.tokenizing import convert_files, handed
from surgery.errors import ConversionError
from surgery.limits import SECONDS
from tests.goldens import golden
from tests.oracle import transformers
from tests.shared import SHARED, needs_shared
from tests.trained.checkpoints import meta_folder, size_of, widened
from tests.trained.corpus import ASKED
from tests.trained.kinds import kind
from tests.trained.truth import ids
from tests.writing import write

STORIES = ["stories260K-baichuan", "stories260K-yi", "stories260K-internlm2"]


#: goldens whose embedding is widened for a vocabulary of their vendor's kind, and what they become
WIDENED = {
    "llama-mha": ("llama", "mistral"), "yi-6b": ("yi", "llama"), "baichuan-7b": ("baichuan1", "llama"),
    "internlm2-7b": ("internlm2", "llama"), "chatglm3": ("chatglm3", "llama"), "qwen-7b": ("qwen", "qwen2"),
    "minicpm-2b": ("minicpm", "llama"),
}  # fmt: skip


@pytest.mark.parametrize("name", WIDENED)
def test_a_converted_checkpoint_reads_text_as_its_source_did(name, tmp_path):
    own = kind(WIDENED[name][0])
    rows = 1 + max(max(own.specials.values(), default=0), max(own.unspelled.values(), default=0), size_of(own) - 1)
    source = widened(golden(name).checkpoint, rows, own.files, tmp_path / "source")
    done = convert.writing.write(plan_conversion(open_checkpoint(source), WIDENED[name][1]), tmp_path / "out")
    assert done.tokenizer is not None and done.tokenizer.recipe == own.recipe
    tokenizer = transformers().AutoTokenizer.from_pretrained(tmp_path / "out", trust_remote_code=False)
    texts = [text for text in ASKED[::3] if not (own.moved and any(map(unicodedata.combining, text)))]
    for text in texts:
        assert tokenizer(text, add_special_tokens=False)["input_ids"] == ids(own, text), text


def test_metas_own_folder_is_read_with_its_tiktoken_ranks(tmp_path):
    """Meta's layout: params.json, consolidated.00.pth and tokenizer.model, which for Llama 3 are ranks."""
    own = kind("llama3")
    source = meta_folder(tmp_path / "source", 128256, own.files)
    convert.writing.write(plan_conversion(open_checkpoint(source), "llama"), tmp_path / "out")
    tokenizer = transformers().AutoTokenizer.from_pretrained(tmp_path / "out", trust_remote_code=False)
    for text in ASKED[::3]:
        assert tokenizer(text)["input_ids"] == [128000, *ids(own, text)], text


@needs_shared
def test_real_models_tell_the_same_story_through_their_own_tokenizers(tmp_path):
    truth = json.loads((SHARED / "real" / "stories260K" / "expected.json").read_text())
    library = transformers()
    for name in STORIES:
        done = write(plan_conversion(open_checkpoint(SHARED / "real" / name), "llama"), tmp_path / name)
        assert done.tokenizer is not None and done.tokenizer.identical
        tokenizer = library.AutoTokenizer.from_pretrained(tmp_path / name, trust_remote_code=False)
        model = library.AutoModelForCausalLM.from_pretrained(tmp_path / name, dtype=torch.float32).eval()
        for prompt in truth["prompts"]:
            # the truth is Llama's, with <s> in front; Baichuan's and Yi's own classes put nothing there
            assert tokenizer(prompt["text"], add_special_tokens=False)["input_ids"] == prompt["ids"][1:]
        start = torch.tensor([[1]])
        with torch.inference_mode():
            told = model.generate(start, attention_mask=torch.ones_like(start), max_new_tokens=200, do_sample=False)
        assert tokenizer.decode(told[0], skip_special_tokens=True).strip() == truth["oracle_greedy_200_tokens_from_bos"]


def refused_and_carried(vocabulary, folder):
    """Asserts that a Yi with a vocabulary of more ids than it has rows is not converted, unless its files are carried."""
    source = folder / "source"
    source.mkdir()
    for file in golden("yi-6b").checkpoint.iterdir():
        (source / file.name).write_bytes(file.read_bytes())
    (source / "tokenizer.model").write_bytes(vocabulary)
    plan = plan_conversion(open_checkpoint(source), "llama")
    with pytest.raises(ConversionError, match=r"ids up to 63999.*283 rows.*--tokenizer carry"):
        write(plan, folder / "out")
    assert not (folder / "out").exists()
    carried = plan_conversion(open_checkpoint(source), "llama", tokenizer="carry")
    convert.writing.write(carried, folder / "out")
    assert (folder / "out" / "tokenizer.model").read_bytes() == (source / "tokenizer.model").read_bytes()


def test_a_tokenizer_of_another_model_is_refused_before_it_is_published(tmp_path):
    refused_and_carried(kind("yi").files["tokenizer.model"], tmp_path)


@needs_shared
def test_the_vendors_tokenizer_beside_a_smaller_model_is_refused_too(tmp_path):
    refused_and_carried((SHARED / "tokenizers" / "yi" / "vendor" / "tokenizer.model").read_bytes(), tmp_path)


def test_a_pointer_instead_of_a_tokenizer_is_named(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for file in golden("yi-6b").checkpoint.iterdir():
        (source / file.name).write_bytes(file.read_bytes())
    (source / "tokenizer.model").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")
    with pytest.raises(ConversionError, match=r"git-lfs|git lfs"):
        write(plan_conversion(open_checkpoint(source), "llama"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_licences_are_carried_and_code_is_not(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for file in golden("baichuan2-7b").checkpoint.iterdir():
        (source / file.name).write_bytes(file.read_bytes())
    (source / "LICENSE").write_text("terms")
    (source / "modeling_baichuan.py").write_text("raise SystemExit")
    (source / "generation_config.json").write_text(
        '{"temperature": 0.3, "top_p": 0.85, "eos_token_id": 2, "transformers_version": "4.29"}'
    )
    write(plan_conversion(open_checkpoint(source), "llama"), tmp_path / "out")
    assert (tmp_path / "out" / "LICENSE").read_text() == "terms"
    assert not list((tmp_path / "out").glob("*.py"))
    assert "auto_map" not in (tmp_path / "out" / "config.json").read_text()
    assert json.loads((tmp_path / "out" / "generation_config.json").read_text()) == {"eos_token_id": 2}
    transformers().GenerationConfig.from_pretrained(tmp_path / "out").save_pretrained(tmp_path / "again")


@pytest.mark.parametrize("how", ["convert", "carry"])
def test_a_family_whose_class_would_give_other_ids_is_refused_before_a_shard_is_written(how, tmp_path, monkeypatch):
    """transformers 5 builds a tokenizer of its own for the type qwen2, which is Qwen's whatever the files say."""
    own = kind("minicpm")
    source = widened(golden("llama-mha").checkpoint, size_of(own), own.files, tmp_path / "source")
    plan = plan_conversion(open_checkpoint(source), "qwen2", mends=["zero-biases"], tokenizer=how)
    if how == "carry":
        convert.writing.write(plan, tmp_path / "out")
        assert (tmp_path / "out" / "tokenizer.model").read_bytes() == own.files["tokenizer.model"]
        return
    monkeypatch.setattr(convert.writing._Run, "shards", lambda *_: pytest.fail("a shard was begun"))
    said = r"as qwen2 .*other ids than sentencepiece.*Qwen2Tokenizer.*--tokenizer carry"
    with pytest.raises(ConversionError, match=said) as refused:
        convert.writing.write(plan, tmp_path / "out")
    assert "\n" not in str(refused.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["source"]


def test_shards_of_an_earlier_run_outlive_a_tokenizer_that_is_refused(tmp_path, monkeypatch):
    own = kind("minicpm")
    source = widened(golden("llama-mha").checkpoint, size_of(own), own.files, tmp_path / "source")
    plan = plan_conversion(open_checkpoint(source), "mistral")
    with monkeypatch.context() as patch, pytest.raises(KeyError):
        patch.setattr(convert.writing, "_copies", lambda *_: {}["a stop behind the shards"])
        convert.writing.write(plan, tmp_path / "out")
    with monkeypatch.context() as patch, pytest.raises(ConversionError, match="refused"):
        patch.setattr(convert.writing, "write_tokenizer", _refuse)
        convert.writing.write(plan, tmp_path / "out")
    assert convert.writing.write(plan, tmp_path / "out").resumed == ("model.safetensors",)


def _refuse(*_, **__):
    raise ConversionError("refused")


def test_a_run_says_how_ids_were_compared_and_the_manifest_says_it_without_figures(tmp_path):
    own = kind("minicpm")
    source = widened(golden("llama-mha").checkpoint, size_of(own), own.files, tmp_path / "source")
    plan = plan_conversion(open_checkpoint(source), "mistral")
    done = convert.writing.write(plan, tmp_path / "out")
    version = transformers().__version__
    assert f"AutoTokenizer of transformers {version} builds OUT, with sentencepiece: 303 strings" in written_text(plan, done)
    told = json.loads((tmp_path / "out" / "weightsmith.json").read_text())["tokenizer"]["ids"]
    assert told == "as AutoTokenizer builds OUT, equal to sentencepiece"


def test_without_the_library_ids_are_said_not_to_be_compared(tmp_path):
    own = kind("minicpm")
    task = {
        "files": {}, "family": "minicpm", "rows": size_of(own), "how": "convert", "beyond": False, "target": "qwen2",
        "configs": [None, '{"model_type": "qwen2"}'], "out": str(tmp_path / "out"),
    }  # fmt: skip
    (tmp_path / "out").mkdir()
    for name, data in own.files.items():
        (tmp_path / name).write_bytes(data)
        task["files"][name] = handed(list_folder(tmp_path).find(name))
    report = convert_files(task, None)
    assert report["ids"] == report["recorded"] == "not compared as AutoTokenizer builds them: transformers is not installed"
    assert (tmp_path / "out" / "tokenizer.json").is_file()


def test_a_tokenizer_that_makes_work_without_end_is_ended(tmp_path, monkeypatch):
    """Forty times each e becomes two."""
    own = kind("minicpm3-json")
    value = json.loads(own.files["tokenizer.json"])
    step = {"type": "Replace", "pattern": {"String": "e"}, "content": "ee"}
    value["normalizer"] = {"type": "Sequence", "normalizers": [step] * 40}
    files = {"tokenizer.json": json.dumps(value).encode()}
    source = widened(golden("llama-mha").checkpoint, 1503, files, tmp_path / "source")
    monkeypatch.setenv(SECONDS, "2")
    with pytest.raises(ConversionError, match=r"needs more than 2 seconds of computing or"):
        convert.writing.write(plan_conversion(open_checkpoint(source), "mistral"), tmp_path / "out")
    assert [entry.name for entry in tmp_path.iterdir()] == ["source"]


def test_licences_are_carried_whatever_they_are_called_and_the_card_lists_them(tmp_path):
    """Baichuan-7B's weights are under a PDF with a Chinese name; the source's card is remembered in the manifest."""
    source, out = tmp_path / "source", tmp_path / "out"
    shutil.copytree(golden("baichuan-7b").checkpoint, source)
    names = ("baichuan-7B 模型许可协议.pdf", "TERMS_OF_USE.md", "MODEL_LICENSE", "《MiniCPM模型商用许可协议》.md")
    for name in names:
        (source / name).write_text(name)
    (source / "LLAMA3.txt").write_text("terms under a name that says nothing")
    (source / "README.md").write_text("---\nlicense: other\nlicense_name: baichuan-7b\nbase_model: a/b\n---\n# It\n")
    opened = open_checkpoint(source)
    for plan, to in ((plan_conversion(opened, "llama"), out), (plan_repack(opened), tmp_path / "repacked")):
        assert any("LLAMA3.txt is not carried over" in note for note in plan.notes)
        write(plan, to, verify="off")
        assert all((to / name).read_text() == name for name in names) and not (to / "LLAMA3.txt").exists()
    told = json.loads((out / "weightsmith.json").read_text())["source"]["card"]
    assert told == {"license": ["other"], "license_name": ["baichuan-7b"], "base_model": ["a/b"]}
    made = make_card(source, out, Wishes(base_model="baichuan-inc/Baichuan-7B"))
    assert all(f"[{name}](<{name}>)" in made.text for name in names)
