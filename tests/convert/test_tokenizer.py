"""Conversions write a tokenizer that needs no remote code and gives the ids that the source's gave."""

from __future__ import annotations

import json

import pytest
import torch

from convert.checkpoint import open_checkpoint
from convert.prepare import plan_conversion
from surgery.errors import ConversionError
from tests.goldens import golden
from tests.oracle import transformers
from tests.shared import SHARED, needs_shared
from tests.writing import write

STORIES = ["stories260K-baichuan", "stories260K-yi", "stories260K-internlm2"]


@needs_shared
@pytest.mark.parametrize("name", STORIES)
def test_a_real_model_tells_the_same_story_through_its_own_tokenizer(name, tmp_path):
    truth = json.loads((SHARED / "real" / "stories260K" / "expected.json").read_text())
    plan = plan_conversion(open_checkpoint(SHARED / "real" / name), "llama")
    done = write(plan, tmp_path / "out")
    assert done.tokenizer is not None and done.tokenizer.identical
    library = transformers()
    tokenizer = library.AutoTokenizer.from_pretrained(tmp_path / "out", trust_remote_code=False)
    model = library.AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32).eval()
    for prompt in truth["prompts"]:
        # the truth is Llama's, with <s> in front; Baichuan's and Yi's own classes put nothing there
        assert tokenizer(prompt["text"], add_special_tokens=False)["input_ids"] == prompt["ids"][1:]
    start = torch.tensor([[1]])
    with torch.inference_mode():
        told = model.generate(start, attention_mask=torch.ones_like(start), max_new_tokens=200, do_sample=False)
    assert tokenizer.decode(told[0], skip_special_tokens=True).strip() == truth["oracle_greedy_200_tokens_from_bos"]


@needs_shared
def test_a_tokenizer_of_another_model_is_refused_before_it_is_published(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for file in golden("yi-6b").checkpoint.iterdir():
        (source / file.name).write_bytes(file.read_bytes())
    (source / "tokenizer.model").write_bytes((SHARED / "tokenizers" / "yi" / "vendor" / "tokenizer.model").read_bytes())
    plan = plan_conversion(open_checkpoint(source), "llama")
    with pytest.raises(ConversionError, match=r"ids up to 63999.*283 rows.*--tokenizer carry"):
        write(plan, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    carried = plan_conversion(open_checkpoint(source), "llama", tokenizer="carry")
    write(carried, tmp_path / "out")
    assert (tmp_path / "out" / "tokenizer.model").read_bytes() == (source / "tokenizer.model").read_bytes()


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
