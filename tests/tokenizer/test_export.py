"""Exports of vocabularies that no recipe lists: trained small ones, the 512 pieces of stories260K, carried files."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mappings.tokenizers import recipe_for
from surgery.errors import ConversionError
from surgery.tokenizer.export import EXACT, FAST, TokenizerFiles, export
from surgery.tokenizer.facts import load, refuse_overflow
from surgery.tokenizer.pieces import merge_sentencepiece
from surgery.tokenizer.probe import PROBE, SAMPLES
from surgery.tokenizer.recipe import Recipe
from tests.shared import needs_shared
from tests.tokenizer.small import byte_level, sentencepiece_model
from tests.tokenizer.vendors import REAL, TOKENIZERS, auto_tokenizer, vendor_files
from tests.trained.corpus import lines
from tests.trained.documents import model_json
from tests.trained.kinds import chinese_pieces, kind
from tests.trained.pieces import Spelled, form
from tests.trained.pieces import model as trained_model
from tests.trained.truth import plain, processor

USER = ("\n", "\t", "，", "<b>", "0", "1")  # noqa: RUF001 - a full-width comma, as Baichuan has

EXACTLY = (
    {},
    {"add_dummy_prefix": False},
    {"byte_fallback": False},
    {"remove_extra_whitespaces": True},
    {"treat_whitespace_as_suffix": True},
    {"user_defined_symbols": USER},
    {"user_defined_symbols": USER, "add_dummy_prefix": False},
)


def written(files: Mapping[str, bytes], family: str = "llama", **options: Any) -> TokenizerFiles:
    return export(recipe_for(family, files), files, **options)


def value_of(files: TokenizerFiles) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(files["tokenizer.json"])
    return value


@pytest.mark.parametrize("settings", EXACTLY, ids=str)
def test_an_unlisted_sentencepiece_model_becomes_an_exact_tokenizer_json(settings: dict[str, Any]) -> None:
    from sentencepiece import SentencePieceProcessor

    model = sentencepiece_model(**settings)
    files = written({"tokenizer.model": model})
    assert (files.tokenizer_class, files.check.identical, files.check.engine) == (FAST, True, "sentencepiece")
    assert files["tokenizer.model"] == model
    own, tokenizer = SentencePieceProcessor(model_proto=model), load(value_of(files))
    assert [tokenizer.encode(text, add_special_tokens=False).ids for text in PROBE] == [
        own.encode(text) for text in PROBE
    ]


@pytest.mark.parametrize("symbols", [(), USER], ids=str)
def test_a_unigram_model_is_exact_but_for_ties_that_are_told(symbols: tuple[str, ...]) -> None:
    files = written({"tokenizer.model": sentencepiece_model(model_type="unigram", user_defined_symbols=symbols)})
    assert files.tokenizer_class == FAST and value_of(files)["model"]["type"] == "Unigram"
    assert len(files.check.differences) <= 3
    assert all("two ways of cutting with (nearly) equal scores" in one.reason for one in files.check.differences)
    assert files.check.identical or str(files.check) in files.notices


@pytest.mark.parametrize("fallback", [False, True])
def test_a_unigram_model_that_differs_gets_the_class_that_runs_sentencepiece_unless_it_would_not_read_bytes(
    fallback: bool,
) -> None:
    """The class gives exact ids, and reads a line end as <0x0A>."""
    model = sentencepiece_model(model_type="unigram", user_defined_symbols=USER, byte_fallback=fallback)
    files = written({"tokenizer.model": model})
    assert files.tokenizer_class == (FAST if fallback else EXACT)


_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=30) | st.text(
    "ab \n你好01\uff0c.", max_size=40
)


@cache
def engines() -> tuple[Any, Any]:
    from sentencepiece import SentencePieceProcessor

    model = sentencepiece_model(user_defined_symbols=USER)
    return SentencePieceProcessor(model_proto=model), load(value_of(written({"tokenizer.model": model})))


@given(_TEXT)
@example("  你好  ")
@example("0\n\t<b>")
def test_any_text_gets_sentencepieces_ids(text: str) -> None:
    own, tokenizer = engines()
    assert tokenizer.encode(text, add_special_tokens=False).ids == own.encode(text)


def test_a_model_whose_rules_have_no_counterpart_says_on_what_text_it_differs(tmp_path: Path) -> None:
    files = written({"tokenizer.model": sentencepiece_model(normalization_rule_name="nmt_nfkc_cf")})
    assert files.tokenizer_class == FAST
    assert "which tokenizers applies to whole graphemes only" in files.notices[0]
    tokenizer = auto_tokenizer(files, tmp_path)
    assert tokenizer.decode(tokenizer("a b 🎉 𠮷")["input_ids"], skip_special_tokens=True) == "a b 🎉 𠮷"


def test_without_bytes_to_read_such_a_model_gets_the_class_that_runs_sentencepiece(tmp_path: Path) -> None:
    from sentencepiece import SentencePieceProcessor

    model = sentencepiece_model(normalization_rule_name="nmt_nfkc_cf", byte_fallback=False)
    files = written({"tokenizer.model": model})
    assert files.tokenizer_class == EXACT
    assert "tokenizer.json" not in files
    assert "which tokenizers applies to whole graphemes only" in files.notices[0]
    own, tokenizer = SentencePieceProcessor(model_proto=model), auto_tokenizer(files, tmp_path)
    assert [tokenizer(text)["input_ids"] for text in PROBE] == [[1, *own.encode(text)] for text in PROBE]


def test_a_character_model_is_refused_with_the_reason() -> None:
    with pytest.raises(ConversionError, match=r"kind char, which tokenizer\.json cannot express"):
        written({"tokenizer.model": sentencepiece_model(model_type="char")})


def test_bos_is_put_in_front_as_the_family_does_and_as_its_configuration_says() -> None:
    files = {"tokenizer.model": sentencepiece_model()}
    assert written(files, "llama").facts.prefix == (1,)
    assert written(files, "baichuan").facts.prefix == ()
    said = {**files, "tokenizer_config.json": b'{"add_bos_token": true, "bos_token": {"content": "<s>"}}'}
    assert written(said, "baichuan").facts.adds_bos
    said["tokenizer_config.json"] = b'{"add_bos_token": false}'
    assert not written(said, "llama").facts.adds_bos


@pytest.mark.parametrize("prefix", [False, True])
def test_added_tokens_of_the_configuration_keep_their_ids_and_names(prefix: bool) -> None:
    decoder = {"3": {"content": "<|renamed|>", "special": True}, "1300": {"content": "<|far|>", "special": True}}
    config = {"added_tokens_decoder": decoder, "pad_token": "<|far|>", "model_max_length": 77}
    model = sentencepiece_model(user_defined_symbols=("[UNUSED]",), add_dummy_prefix=prefix)
    made = written({"tokenizer.model": model, "tokenizer_config.json": json.dumps(config).encode()})
    tokenizer = load(value_of(made))
    assert tokenizer.encode("a<|renamed|>b<|far|>", add_special_tokens=False).ids.count(3) == 1
    assert tokenizer.encode("<|far|>", add_special_tokens=False).ids == [1300]
    # The old name still leads there, as in the vendors' slow classes, unless a dummy prefix is in the way.
    assert (3 in tokenizer.encode("a [UNUSED]", add_special_tokens=False).ids) is not prefix
    assert (made.facts.pad, made.facts.max_id, made.facts.size) == (1300, 1300, 1201)
    assert json.loads(made["tokenizer_config.json"])["model_max_length"] == 77


def test_a_configuration_that_renames_an_ordinary_token_is_refused() -> None:
    config = {"added_tokens_decoder": {"1199": {"content": "<|im_end|>"}}}
    files = {"tokenizer.model": sentencepiece_model(), "tokenizer_config.json": json.dumps(config).encode()}
    with pytest.raises(
        ConversionError, match=r"calls the id 1199 '<\|im_end\|>', but the vocabulary has an ordinary token"
    ):
        written(files)


def test_added_tokens_of_an_old_added_tokens_json_are_kept() -> None:
    files = {"tokenizer.model": sentencepiece_model(), "added_tokens.json": b'{"[PAD]": 1200}'}
    files["special_tokens_map.json"] = b'{"pad_token": "[PAD]"}'
    made = written(files)
    assert load(value_of(made)).encode("[PAD]", add_special_tokens=False).ids == [1200]
    assert made.facts.specials[1200] == "[PAD]"
    assert made.facts.pad == 1200


def test_an_added_token_with_control_characters_in_its_name_is_refused() -> None:
    config = {"added_tokens_decoder": {"1200": {"content": "<\x1b[31m>"}}}
    files = {"tokenizer.model": sentencepiece_model(), "tokenizer_config.json": json.dumps(config).encode()}
    with pytest.raises(ConversionError, match=r"control characters in its name") as refused:
        written(files)
    assert "\x1b" not in str(refused.value)


def test_a_tokenizer_json_is_carried_byte_for_byte_with_the_class_that_leaves_it_alone() -> None:
    data = json.dumps(byte_level()).encode()
    config = b'{"tokenizer_class": "LlamaTokenizer", "eos_token": "<|end|>", "bos_token": "<nowhere>"}'
    made = written({"tokenizer.json": data, "tokenizer_config.json": config})
    assert made["tokenizer.json"] == data
    assert not made.check.independent
    assert json.loads(made["tokenizer_config.json"]) == {
        "tokenizer_class": FAST, "eos_token": "<|end|>", "clean_up_tokenization_spaces": False
    }  # fmt: skip
    assert (made.facts.kind, made.facts.bos, made.facts.adds_bos) == ("BPE, byte-level", None, False)
    assert made.notices == (
        "tokenizer_config.json names '<nowhere>' as its bos token, which the vocabulary lacks: left out",
    )


def test_a_carried_tokenizer_json_that_disagrees_with_the_model_beside_it_is_noticed() -> None:
    model = sentencepiece_model()
    right = written({"tokenizer.model": model})["tokenizer.json"]
    assert not any(
        "do not agree" in one for one in written({"tokenizer.json": right, "tokenizer.model": model}).notices
    )
    value = json.loads(right)
    value["normalizer"] = None
    wrong = written({"tokenizer.json": json.dumps(value).encode(), "tokenizer.model": model})
    assert any("do not agree" in one for one in wrong.notices)


def test_a_carried_tokenizer_json_that_ignores_add_bos_token_is_noticed() -> None:
    data = json.dumps(byte_level()).encode()
    config = b'{"add_bos_token": true, "bos_token": "<|end|>"}'
    made = written({"tokenizer.json": data, "tokenizer_config.json": config})
    assert any("transformers 5 follows tokenizer.json" in one for one in made.notices)


def test_a_tokenizer_json_that_the_library_cannot_load_is_refused() -> None:
    value = byte_level()
    value["normalizer"] = {"type": "Novelty"}
    with pytest.raises(ConversionError, match="the tokenizers library cannot load"):
        written({"tokenizer.json": json.dumps(value).encode()})


def test_vocabulary_and_merges_keep_their_ids() -> None:
    from tokenizers import Tokenizer

    value = byte_level()
    vocab = json.dumps(value["model"]["vocab"]).encode()
    lines = "\n".join(" ".join(pair) for pair in value["model"]["merges"])
    made = written({"vocab.json": vocab, "merges.txt": f"#version: 0.2\n{lines}\n".encode()})
    value["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    source, out = Tokenizer.from_str(json.dumps(value)), load(value_of(made))
    assert made.check.identical
    assert made.check.engine == "tiktoken on the published merges"
    assert [out.encode(text).ids for text in PROBE] == [source.encode(text).ids for text in PROBE]


def test_without_tiktoken_the_check_says_that_it_is_no_second_opinion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    value = byte_level()
    merges = "\n".join(" ".join(pair) for pair in value["model"]["merges"]).encode()
    files = {"vocab.json": json.dumps(value["model"]["vocab"]).encode(), "merges.txt": merges}
    made = written(files)
    assert made.check.identical
    assert not made.check.independent
    assert str(made.check).endswith("(303 strings, which is no second opinion)")


def test_ranks_alone_are_refused_as_they_do_not_say_how_text_is_split() -> None:
    from base64 import b64encode

    lines = b"".join(b64encode(bytes([byte])) + b" %d\n" % byte for byte in range(256))
    with pytest.raises(ConversionError, match="does not say by which pattern"):
        written({"x.tiktoken": lines})


def test_the_chat_template_of_the_caller_comes_before_the_vendors() -> None:
    files = {"tokenizer.model": sentencepiece_model(), "tokenizer_config.json": b'{"chat_template": "theirs"}'}
    assert written(files)["chat_template.jinja"] == b"theirs"
    assert written(files, chat_template="ours")["chat_template.jinja"] == b"ours"
    listed = b'{"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]}'
    assert written({**files, "tokenizer_config.json": listed})["chat_template.jinja"] == b"d"
    assert "chat_template.jinja" not in written({"tokenizer.model": sentencepiece_model()})


def test_a_recipe_for_another_vocabulary_is_refused() -> None:
    files = {"tokenizer.model": sentencepiece_model()}
    with pytest.raises(ConversionError, match="which every yi vocabulary has"):
        from surgery.tokenizer.recipe import Special

        export(Recipe("yi", specials=(Special("<|startoftext|>"),)), files)
    recipe = recipe_for("llama", files)
    with pytest.raises(ConversionError, match="is a piece already"):
        export(replace(recipe, renamed=MappingProxyType({500: "<s>"})), files)


def test_canonical_scores_for_a_model_without_ties_are_refused() -> None:
    with pytest.raises(ConversionError, match="no two pieces share a score"):
        written({"tokenizer.model": sentencepiece_model()}, scores="canonical")


def small_and_exact(family: str, model: bytes, texts: list[str], folder: Path) -> None:
    """Asserts that a model of so few pieces that no recipe lists it is written exactly, and read back as text."""
    made = written({"tokenizer.model": model}, family)
    own = processor(model)
    size = own.get_piece_size()
    assert (made.check.identical, made.tokenizer_class, made.facts.size, made.facts.max_id) == (True, FAST, size, size - 1)
    tokenizer = auto_tokenizer(made, folder)
    for text in (*texts, *PROBE):
        assert tokenizer(text, add_special_tokens=False)["input_ids"] == own.encode(text), text
    for text in texts:
        assert tokenizer.decode(own.encode(text)) == text


@pytest.mark.parametrize("family", ["baichuan", "yi", "internlm2"])
def test_a_small_tokenizer_is_exact_whatever_the_family(family: str, tmp_path: Path) -> None:
    model = trained_model(Spelled({"character_coverage": 0.98}, pieces=640))
    small_and_exact(family, model, [text for text in lines(40) if not text.endswith(" ")], tmp_path)


@needs_shared
def test_the_tokenizers_of_converted_story_tellers_are_exact(tmp_path: Path) -> None:
    story = json.loads((REAL / "stories260K" / "expected.json").read_text())
    texts = [text for text in story.values() if isinstance(text, str)]
    for family in ("baichuan", "yi", "internlm2"):
        model = (REAL / f"stories260K-{family}" / "tokenizer.model").read_bytes()
        small_and_exact(family, model, texts, tmp_path / family)


def canonical_scores_are_told(files: Mapping[str, bytes]) -> None:
    made = written(files, scores="canonical")
    assert (made.tokenizer_class, made.check.identical) == (FAST, True)
    assert "not the published ones" in made.notices[0]
    assert "strings differ" in made.notices[0]


def test_tied_scores_become_canonical_on_request_and_what_moves_is_told() -> None:
    canonical_scores_are_told(kind("chinese-llama").files)


@needs_shared
def test_chinese_llama_on_request_gets_canonical_scores_and_is_told_what_moves() -> None:
    canonical_scores_are_told(vendor_files("chinese_llama"))


def carried_and_agreeing(files: Mapping[str, bytes]) -> None:
    made = written(files)
    assert made["tokenizer.json"] == files["tokenizer.json"]
    assert made.facts.adds_bos
    assert made.notices == ()


def test_a_tokenizer_json_that_another_program_made_of_the_model_is_carried_and_agrees_with_it() -> None:
    files = kind("llama-other-size").files
    said = {"add_bos_token": True, "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    made = model_json(files["tokenizer.model"], front="<s>")
    carried_and_agreeing({**files, "tokenizer.json": made, "tokenizer_config.json": json.dumps(said).encode()})


@needs_shared
def test_the_vendors_own_tokenizer_json_of_llama_2_is_carried_and_agrees_with_its_model() -> None:
    names = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")
    carried_and_agreeing({name: (TOKENIZERS / "llama2" / "vendor" / name).read_bytes() for name in names})


def merged_canonically(llama: bytes, chinese: bytes) -> None:
    made = written({"tokenizer.model": merge_sentencepiece(llama, chinese).model})
    assert (made.tokenizer_class, made.check.identical) == (FAST, True)


def test_a_merge_with_canonical_scores_is_not_tied_and_gets_a_tokenizer_json() -> None:
    merged_canonically(kind("llama").files["tokenizer.model"], chinese_pieces(17953))


@needs_shared
def test_a_chinese_llama_with_canonical_scores_is_no_longer_tied_and_gets_a_tokenizer_json() -> None:
    llama = (TOKENIZERS / "llama2" / "vendor" / "tokenizer.model").read_bytes()
    merged_canonically(llama, (TOKENIZERS / "chinese-sp-20000" / "chinese_sp.model").read_bytes())


def padding_is_found(model: bytes, folder: Path) -> None:
    made = written({"tokenizer.model": model, "tokenizer_config.json": b'{"pad_token": "[PAD]"}'})
    assert (made.tokenizer_class, made.facts.pad, made.facts.max_id) == (FAST, 49953, 49953)
    tokenizer = auto_tokenizer(made, folder)
    assert tokenizer.pad_token_id == 49953
    assert tokenizer("[PAD]")["input_ids"] == [1, 49953]


def test_a_padding_token_behind_merged_pieces_is_found_and_special(tmp_path: Path) -> None:
    model = form.ModelProto.FromString(kind("chinese-llama").files["tokenizer.model"])
    model.pieces.add(piece="[PAD]", score=0.0)
    padding_is_found(model.SerializeToString(), tmp_path)


@needs_shared
def test_chinese_alpacas_padding_token_is_found_and_special(tmp_path: Path) -> None:
    padding_is_found((TOKENIZERS / "chinese-alpaca-49954" / "tokenizer.model").read_bytes(), tmp_path)


def test_ids_beyond_the_embedding_are_refused_by_name() -> None:
    config = {"added_tokens_decoder": {"1300": {"content": "<img>"}}}
    files = {"tokenizer.model": sentencepiece_model(), "tokenizer_config.json": json.dumps(config).encode()}
    found = written(files).facts
    refuse_overflow(found, 1301)
    with pytest.raises(ConversionError, match=r"ids up to 1300 \(1300 '<img>'\), but the embedding has 1300 rows"):
        refuse_overflow(found, 1300)


def qwens_facts(files: Mapping[str, bytes], characters: float) -> None:
    made = written(files, "qwen")
    assert (made.facts.size, made.facts.max_id, len(made.facts.specials)) == (151851, 151850, 208)
    assert made.facts.characters_per_token["Chinese"] >= characters


def test_facts_of_ranks_count_the_special_tokens_that_the_file_does_not_list() -> None:
    text = SAMPLES["Chinese"]
    qwens_facts(kind("qwen").files, len(text) / len(plain(kind("qwen"))(text)))


@needs_shared
def test_facts_of_qwen_count_its_special_tokens() -> None:
    qwens_facts(vendor_files("qwen1"), 1.4)
