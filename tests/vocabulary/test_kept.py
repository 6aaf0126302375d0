"""An extended vocabulary keeps what stood around a text and beside its special tokens: AutoTokenizer on both folders says so."""

import json
from pathlib import Path
from typing import Any

import pytest

import convert
from convert.edits.tokens import read_addition
from convert.edits.vocabulary import extend_vocab, plan_vocabulary
from surgery.tokenizer.probe import PROBE, specials_inside
from tests.oracle import transformers
from tests.shared import needs_shared
from tests.tokenizer.vendors import TOKENIZERS
from tests.trained.documents import model_json
from tests.trained.kinds import kind
from tests.trained.pieces import Spelled, model
from tests.vocabulary.models import llama

NAMED = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def template(*parts: str) -> dict[str, Any]:
    """A post-processor that puts these tokens around a text, which is A."""
    ids = {"<s>": 1, "</s>": 2}
    kinds = [("Sequence" if part == "A" else "SpecialToken", part) for part in parts]
    single = [{sort: {"id": part, "type_id": 0}} for sort, part in kinds]
    return {
        "type": "TemplateProcessing", "single": single, "pair": [*single, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {name: {"id": name, "ids": [ids[name]], "tokens": [name]} for name in parts if name != "A"},
    }  # fmt: skip


def folder(base: Path, files: dict[str, bytes], rows: int) -> Path:
    llama(base, rows=rows, tied=False, files=files)
    return base


def tokenizer(path: Path) -> Any:
    return transformers().AutoTokenizer.from_pretrained(path, trust_remote_code=False)


def extended(base: Path, out: Path, **added: Any) -> Any:
    words = base.parent / "words.txt"
    words.write_text("灯塔看守\nlighthousekeeper", encoding="utf-8")
    revised = extend_vocab(convert.open(base), read_addition(words if not added else None, **added), init="mean")
    convert.write(plan_vocabulary(revised), out, verify="off")
    return revised


def kept(base: Path, out: Path, first: int, named: list[str]) -> None:
    before, after = tokenizer(base), tokenizer(out)
    same = 0
    for text in (*PROBE, *specials_inside(named)):
        for framed in (False, True):
            ids = after(text, add_special_tokens=framed)["input_ids"]
            if max(ids, default=0) < first:
                assert ids == before(text, add_special_tokens=framed)["input_ids"], (text, framed)
                same += 1
    assert same > 400
    assert set(before.all_special_tokens) <= set(after.all_special_tokens)


AROUND = {"an eos behind": ("<s>", "A", "</s>"), "nothing": ("A",), "two in front": ("<s>", "<s>", "A")}


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("normalised", [False, True])
def test_what_stands_around_a_text_and_beside_special_tokens_stays(around: str, normalised: bool, tmp_path: Path) -> None:
    data = model(Spelled(runs=1))
    value = json.loads(model_json(data, front="<s>"))
    value["post_processor"] = template(*AROUND[around])
    for token in value["added_tokens"]:
        token["normalized"] = normalised
    said = {"tokenizer_class": "PreTrainedTokenizerFast", **NAMED}
    files = {
        "tokenizer.json": json.dumps(value).encode(), "tokenizer.model": data, "tokenizer_config.json": json.dumps(said).encode(),
    }  # fmt: skip
    size = len(value["model"]["vocab"])
    base = folder(tmp_path / "base", files, size)
    extended(base, tmp_path / "out")
    kept(base, tmp_path / "out", size, ["<s>", "</s>"])
    assert (tmp_path / "out/tokenizer.model").exists()


def test_padding_and_truncation_stay(tmp_path: Path) -> None:
    data = model(Spelled(runs=1))
    value = json.loads(model_json(data, front="<s>"))
    value["padding"] = {
        "strategy": {"Fixed": 8}, "direction": "Left", "pad_to_multiple_of": None, "pad_id": 2, "pad_type_id": 0,
        "pad_token": "</s>",
    }  # fmt: skip
    value["truncation"] = {"direction": "Right", "max_length": 64, "strategy": "LongestFirst", "stride": 0}
    files = {"tokenizer.json": json.dumps(value).encode(), "tokenizer.model": data,
             "tokenizer_config.json": json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **NAMED}).encode()}  # fmt: skip
    base = folder(tmp_path / "base", files, len(value["model"]["vocab"]))
    extended(base, tmp_path / "out")
    made = json.loads((tmp_path / "out/tokenizer.json").read_text())
    assert (made["padding"], made["truncation"]) == (value["padding"], value["truncation"])


def test_special_tokens_are_added_to_a_unigram_file_that_has_no_model_beside(tmp_path: Path) -> None:
    own = kind("unigram-bytes")
    from tests.tokenizer.trained import written

    made = dict(written(own))
    made.pop("tokenizer.model")
    size = len(json.loads(made["tokenizer.json"])["model"]["vocab"])
    base = folder(tmp_path / "base", made, size)
    extended(base, tmp_path / "out", atoms=("<|im_start|>",), special=True)
    after = tokenizer(tmp_path / "out")
    assert after.convert_tokens_to_ids("<|im_start|>") == size
    assert size in after("a<|im_start|>b")["input_ids"]
    kept(base, tmp_path / "out", size, ["<s>", "</s>"])


def test_further_special_tokens_are_still_special(tmp_path: Path) -> None:
    own = kind("qwen2-json")
    named = list(own.specials)[1:8]
    config = {**json.loads(own.files["tokenizer_config.json"]), "additional_special_tokens": [*named, "<|not there|>"]}
    files = {**own.files, "tokenizer_config.json": json.dumps(config).encode()}
    size = max(own.specials.values()) + 1
    base = folder(tmp_path / "base", files, size)
    extended(base, tmp_path / "out")
    after = tokenizer(tmp_path / "out")
    assert set(named) <= set(after.all_special_tokens)
    assert after.convert_tokens_to_ids("<|not there|>") != len(after) - 1, "a name without a token gets no id beyond the matrix"


def test_a_vocabulary_whose_file_is_known_to_differ_on_some_text_grows_all_the_same(tmp_path: Path) -> None:
    """Combining marks, which NFKC orders otherwise than sentencepiece does: the run says so."""
    own = kind("baichuan1")
    base = folder(tmp_path / "base", own.files, 64000)
    revised = extended(base, tmp_path / "out")
    assert any("combining marks" in line for line in revised.lines)
    assert tokenizer(tmp_path / "out")("5灯塔看守", add_special_tokens=False)["input_ids"][-1] >= 64000


@needs_shared
def test_llama_2_with_both_its_files_keeps_text_behind_special_tokens(tmp_path: Path) -> None:
    vendor = TOKENIZERS / "llama2" / "vendor"
    files = {path.name: path.read_bytes() for path in vendor.iterdir() if path.name != "provenance.json"}
    base = folder(tmp_path / "base", files, 32000)
    extended(base, tmp_path / "out", atoms=("<|im_start|>",), special=True)
    kept(base, tmp_path / "out", 32000, ["<s>", "</s>"])
