"""transplant-tokenizer gives the donor's tokenizer as its own users load it, and settings that fit it."""

import json
from pathlib import Path
from typing import Any

import pytest

import convert
from convert.edits.transplant import transplant_tokenizer
from convert.edits.vocabulary import Revised, plan_vocabulary
from surgery.errors import ConversionError, VerificationFailed
from tests.goldens import golden
from tests.tokenizer.small import byte_level
from tests.tokenizer.vendors import auto_tokenizer
from tests.trained.checkpoints import widened
from tests.trained.corpus import ASKED
from tests.trained.kinds import Kind, kind
from tests.trained.prompts import WITH_SYSTEM
from tests.vocabulary.models import llama
from tests.vocabulary.test_commands import run
from tests.vocabulary.test_kinds import SMALL, auto_tokenizer_of, model_of, rows_of
from tests.vocabulary.test_trimmed import CHATML, CODE, written

MARKS = ("<|end|>", "<|im_start|>", "<|im_end|>", "<|fim|>")


def transplanted(base: Path, donor: Path, out: Path) -> Revised:
    revised = transplant_tokenizer(convert.open(base), convert.open(donor), k=2)
    convert.write(plan_vocabulary(revised), out, verify="off")
    return revised


def byte_level_folder(folder: Path, size: int, marks: tuple[str, ...], config: dict[str, Any], **more: Any) -> dict[str, int]:
    """A model with a byte-level vocabulary and these special tokens behind it; ids by token."""
    value = byte_level(size)
    one = value["added_tokens"][0]
    value["added_tokens"] = [{**one, "content": text, "id": one["id"] + place} for place, text in enumerate(marks)]
    files = {"tokenizer.json": json.dumps(value).encode(), "tokenizer_config.json": json.dumps(config).encode()}
    files |= {name.replace("__", "."): data for name, data in more.pop("files", {}).items()}
    llama(folder, rows=one["id"] + len(marks), tied=False, files=files, **more)
    return {**value["model"]["vocab"], **{text: one["id"] + place for place, text in enumerate(marks)}}


def as_users_have_it(own: Kind, folder: Path) -> Any:
    """AutoTokenizer on the donor's folder; libraries differ on a bare SentencePiece model, so there on what is written."""
    if "tokenizer.json" in own.files:
        return auto_tokenizer_of(folder / "donor")
    return auto_tokenizer(written(own), folder / "written")


@pytest.mark.parametrize("own", SMALL, ids=str)
def test_the_output_loads_as_the_donors_tokenizer(own: Kind, tmp_path: Path) -> None:
    model_of(kind("llama-other-size"), tmp_path / "base")
    model_of(own, tmp_path / "donor")
    transplanted(tmp_path / "base", tmp_path / "donor", tmp_path / "out")
    same_tokenizers(as_users_have_it(own, tmp_path), auto_tokenizer_of(tmp_path / "out"))


@pytest.mark.parametrize("donor", ["llama-other-size", "llama3-json"])
def test_a_type_of_model_that_takes_its_own_class_refuses_a_donor_that_it_would_cut_otherwise(donor: str, tmp_path: Path) -> None:
    """transformers takes Qwen2Tokenizer for a qwen2, whatever the files name, and that splits text by its own pattern."""
    base = kind("qwen2-json")
    widened(golden("qwen2").checkpoint, rows_of(base), base.files, tmp_path / "base")
    model_of(kind(donor), tmp_path / "donor")
    with pytest.raises(ConversionError, match=r"cannot be read beside this model's config.json.*Qwen2Tokenizer differs"):
        transplanted(tmp_path / "base", tmp_path / "donor", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["mistral", "phi3", "gemma1-2b"])
@pytest.mark.parametrize("donor", ["llama-other-size", "llama3-json"])
def test_a_model_of_any_other_type_loads_the_donors_tokenizer(name: str, donor: str, tmp_path: Path) -> None:
    base, own = kind("qwen2-json"), kind(donor)
    widened(golden(name).checkpoint, rows_of(base), base.files, tmp_path / "base")
    model_of(own, tmp_path / "donor")
    transplanted(tmp_path / "base", tmp_path / "donor", tmp_path / "out")
    same_tokenizers(as_users_have_it(own, tmp_path), auto_tokenizer_of(tmp_path / "out"))


def same_tokenizers(theirs: Any, ours: Any) -> None:
    texts = [*ASKED, CODE, *(f"a{name}b {name}\n" for name in theirs.all_special_tokens)]
    for text in texts:
        for framed in (True, False):
            want, got = (one(text, add_special_tokens=framed)["input_ids"] for one in (theirs, ours))
            assert got == want, text
            for skipped in (True, False):
                assert ours.decode(got, skip_special_tokens=skipped) == theirs.decode(want, skip_special_tokens=skipped)
    assert ours.get_vocab() == theirs.get_vocab()
    assert ours.special_tokens_map.items() <= theirs.special_tokens_map.items()  # a class may have more by default
    assert ours.eos_token == theirs.eos_token and ours.bos_token == theirs.bos_token
    assert ours.chat_template == theirs.chat_template
    if theirs.chat_template is not None:
        prompts = [one.apply_chat_template(list(WITH_SYSTEM[1:]), return_dict=False) for one in (theirs, ours)]
        assert prompts[0] == prompts[1]


def test_settings_that_name_tokens_are_mapped_by_meaning_and_the_rest_stays(tmp_path: Path) -> None:
    ours = byte_level_folder(tmp_path / "base", 700, ("<|end|>", "<|fim|>", "<|mine|>"), {"eos_token": "<|end|>"},
                             bos_token_id=None, eos_token_id=700, pad_token_id=702)  # fmt: skip
    theirs = byte_level_folder(tmp_path / "donor", 900, MARKS, {"eos_token": "<|end|>"}, bos_token_id=None, eos_token_id=874)
    before = {
        "max_new_tokens": 450, "min_new_tokens": 300, "num_assistant_tokens": 20, "prompt_lookup_num_tokens": 10, "num_beams": 2,
        "eos_token_id": [ours["<|end|>"], ours["<|fim|>"], ours["<|mine|>"]], "pad_token_id": ours["<|mine|>"],
        "suppress_tokens": [ours["Ġthe"], ours["<|mine|>"]], "bad_words_ids": [[ours["Ġthe"], ours["<|mine|>"]], [ours["in"]]],
        "forced_decoder_ids": [[1, ours["in"]]], "sequence_bias": [[[ours["Ġthe"]], -10.0]],
        "forced_eos_token_id": ours["<|end|>"],
    }  # fmt: skip
    (tmp_path / "base/generation_config.json").write_text(json.dumps(before))
    revised = transplanted(tmp_path / "base", tmp_path / "donor", tmp_path / "out")
    assert json.loads((tmp_path / "out/generation_config.json").read_text()) == {
        "max_new_tokens": 450, "min_new_tokens": 300, "num_assistant_tokens": 20, "prompt_lookup_num_tokens": 10, "num_beams": 2,
        "eos_token_id": [theirs["<|end|>"], theirs["<|fim|>"]], "suppress_tokens": [theirs["Ġthe"]],
        "bad_words_ids": [[theirs["in"]]], "forced_decoder_ids": [[1, theirs["in"]]],
        "sequence_bias": [[[theirs["Ġthe"]], -10.0]], "forced_eos_token_id": theirs["<|end|>"],
    }  # fmt: skip
    told = "\n".join(revised.lines)
    for said in ("pad_token_id = 702 is left out", "of suppress_tokens, 702 is left out", "make them anew", "eos_token_id = ["):
        assert said in told
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["eos_token_id"] == theirs["<|end|>"] and config.get("pad_token_id") is None


def test_generation_ends_where_the_donors_settings_and_chat_template_end(tmp_path: Path) -> None:
    """Its tokenizer's own end of text is another token than the one behind an answer."""
    byte_level_folder(tmp_path / "base", 700, ("<|end|>",), {"eos_token": "<|end|>", "pad_token": "<|end|>"},
                      eos_token_id=700, pad_token_id=700)  # fmt: skip
    theirs = byte_level_folder(
        tmp_path / "donor", 900, MARKS, {"eos_token": "<|end|>", "pad_token": "<|fim|>"}, eos_token_id=874,
        files={"chat_template__jinja": CHATML.encode()},
    )  # fmt: skip
    (tmp_path / "base/generation_config.json").write_text(json.dumps({"eos_token_id": 700, "pad_token_id": 700}))
    transplanted(tmp_path / "base", tmp_path / "donor", tmp_path / "out")
    wanted = {"eos_token_id": [theirs["<|end|>"], theirs["<|im_end|>"]], "pad_token_id": theirs["<|fim|>"]}
    assert json.loads((tmp_path / "out/generation_config.json").read_text()) == wanted
    (tmp_path / "base/generation_config.json").unlink()
    (tmp_path / "donor/generation_config.json").write_text(json.dumps({"eos_token_id": [874, theirs["<|fim|>"]]}))
    transplanted(tmp_path / "base", tmp_path / "donor", tmp_path / "other")
    config = json.loads((tmp_path / "other/config.json").read_text())
    assert config["eos_token_id"] == [theirs[name] for name in ("<|end|>", "<|fim|>", "<|im_end|>")]
    assert not (tmp_path / "other/generation_config.json").exists()


@pytest.mark.parametrize("base", [700, 701, [700, 701]], ids=str)
@pytest.mark.parametrize("donor", [874, 876, [874, 876]], ids=str)
def test_verify_takes_a_transplant_whose_configs_end_texts_otherwise_than_the_tokenizers(
    base: Any, donor: Any, tmp_path: Path
) -> None:
    """An instruct model's config names <|im_end|> often, and its tokenizer the end of pre-training's documents."""
    named = {"eos_token": "<|end|>"}
    byte_level_folder(tmp_path / "base", 700, ("<|end|>", "<|mine|>"), named, bos_token_id=None, eos_token_id=base)
    byte_level_folder(tmp_path / "donor", 900, MARKS, named, bos_token_id=None, eos_token_id=donor)
    (tmp_path / "base/generation_config.json").write_text(json.dumps({"eos_token_id": base}))
    transplanted(tmp_path / "base", tmp_path / "donor", tmp_path / "out")
    done = run("verify", tmp_path / "base", tmp_path / "out", "--other-rows")
    assert done.exit_code == 0, done.output


def test_verify_fails_a_transplant_whose_config_ends_texts_at_a_common_word(tmp_path: Path) -> None:
    named = {"eos_token": "<|end|>"}
    byte_level_folder(tmp_path / "base", 700, ("<|end|>",), named, bos_token_id=None, eos_token_id=700)
    byte_level_folder(tmp_path / "donor", 900, MARKS, named, bos_token_id=None, eos_token_id=874)
    transplanted(tmp_path / "base", tmp_path / "donor", tmp_path / "out")
    config = json.loads((tmp_path / "out/config.json").read_text())
    (tmp_path / "out/config.json").write_text(json.dumps({**config, "eos_token_id": 300}))
    done = run("verify", tmp_path / "base", tmp_path / "out")
    assert isinstance(done.exception, VerificationFailed) and "eos token" in done.output
