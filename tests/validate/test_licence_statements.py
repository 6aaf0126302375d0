"""What a card says of its licence beside what the source's licence is: names, terms of one's own, and the files."""

from collections import Counter
from pathlib import Path

import pytest

from convert.card import Wishes, make_card
from convert.validate.names import plain_model
from convert.validate.published import PUBLISHED, lineage
from convert.validate.terms import TERMS, by_statement
from convert.validate.under import under
from tests.validate.changes import card, file, manifest, without
from tests.validate.fixtures import body, mit_text
from tests.validate.repository import APACHE, Change, changed
from tests.validate.test_licences import BY_ID, LLAMA31_NOTICE, LLAMA31_TEXT, chain, other, told

MISTRAL, LLAMA31, QWEN3B = "mistralai/Mistral-7B-v0.1", "meta-llama/Llama-3.1-8B", "Qwen/Qwen2.5-3B-Instruct"
CODESTRAL, QWEN1, LLAMA1 = "mistralai/Codestral-22B-v0.1", "Qwen/Qwen-1_8B", "huggyllama/llama-7b"
TONGYI = "Tongyi Qianwen is licensed under the Tongyi Qianwen LICENSE AGREEMENT, Copyright (c) Alibaba Cloud."
BUILT = body("\n# Llama of the tests\n\nBuilt with Llama. Its words are for the tests of the validator and for nobody else.\n")


@pytest.mark.parametrize(
    ("base", "name"),
    [
        (QWEN3B, "qwen"), (QWEN3B, "apache-2.0"), (QWEN3B, "tongyi-qianwen-research"), (QWEN1, "tongyi-qianwen"),
        (LLAMA1, "mit"), (LLAMA1, "llama2"), (CODESTRAL, "mrl"), (CODESTRAL, "modified-mit"), (CODESTRAL, "falcon"),
    ],
)  # fmt: skip
def test_a_license_name_of_another_known_licence_is_an_error(base: str, name: str, tmp_path: Path) -> None:
    found = told(tmp_path, card(**other(name, base_model=base)))
    assert name in found["licence-changed"][0] and "licence-other-name" not in found


@pytest.mark.parametrize(
    ("base", "right"),
    [(CODESTRAL, "mnpl"), (QWEN3B, "qwen-research"), (QWEN1, "tongyi-qianwen-research"), ("Skywork/Skywork-13B-base", "skywork")],
)  # fmt: skip
def test_a_license_name_that_nobody_knows_is_told_what_it_should_be(base: str, right: str, tmp_path: Path) -> None:
    found = told(tmp_path, card(**other("free-for-commercial-use", base_model=base)))
    assert "licence-changed" not in found
    assert base in found["licence-other-name"][0] and f"'{right}'" in found["licence-other-name"][0]


@pytest.mark.parametrize(
    ("base", "name"),
    [
        (CODESTRAL, "MNPL-0.1"), (CODESTRAL, "mnpl-license"), (CODESTRAL, "Mistral AI Non-Production License"),
        (QWEN3B, "Qwen_Research"), (QWEN3B, "qwen-research-license-agreement"), (QWEN3B, "Qwen RESEARCH LICENSE AGREEMENT"),
        (QWEN1, "tongyi_qianwen_research"), ("Qwen/Qwen-7B", "Tongyi Qianwen LICENSE AGREEMENT"), (LLAMA1, "llama-license"),
        ("Skywork/Skywork-13B-base", "license"), ("mistralai/Mistral-Large-Instruct-2407", "mistral-ai-research-licence"),
        ("moonshotai/Kimi-K2-Instruct", "modified-mit"), ("mistralai/Devstral-2-123B-Instruct-2512", "Modified MIT"),
        ("MiniMaxAI/MiniMax-M2", "modified-mit"), ("tiiuae/Falcon3-7B-Base", "falcon-llm-license"), (LLAMA31, "llama-3.1"),
        ("stabilityai/stablelm-2-12b", "stabilityai-ai-community"), ("deepseek-ai/DeepSeek-V3", "deepseek-license-agreement"),
        ("Qwen/Qwen1.5-32B-Chat", "tongyi-qianwen"), ("Qwen/CodeQwen1.5-7B-Chat", "tongyi-qianwen"),
        ("Qwen/CodeQwen1.5-7B", "tongyi-qianwen-research"), ("baichuan-inc/Baichuan2-7B-Base", "Baichuan 2 Community License"),
    ],
)  # fmt: skip
def test_a_license_name_of_the_right_licence_may_be_spelled_otherwise(base: str, name: str, tmp_path: Path) -> None:
    assert not {"licence-changed", "licence-other-name"} & set(told(tmp_path, card(**other(name, base_model=base))))


def test_no_two_licences_are_reached_by_one_name_unless_the_base_model_tells_them_apart() -> None:
    assert max(Counter(name for terms in TERMS.values() for name in terms.names).values()) == 1
    alone = {name for terms in TERMS.values() for name in terms.names}
    published = {row.licence for row in PUBLISHED}
    for key, terms in TERMS.items():
        for name in terms.names_beside - alone:
            assert key in published and by_statement("other", name) is None, name


@pytest.mark.parametrize("key", TERMS)
def test_every_licence_is_reached_by_the_name_that_is_told_for_it(key: str) -> None:
    assert by_statement("other", TERMS[key].called) is TERMS[key] and TERMS[key].accepts("other", TERMS[key].called)


@pytest.mark.parametrize("name", ["license", "unstable-license", "modified-mit", "falcon", "mistral", "my-qwen-research", ""])
def test_a_name_that_fits_several_licences_or_none_says_nothing_without_a_base(name: str) -> None:
    assert under(["someone/x"], "other", name, {}).parts == ()


@pytest.mark.parametrize(
    ("name", "key"),
    [("mistral-ai-research-licence", "mrl"), ("falcon-llm-license", "falcon2"), ("falcon-180b-tii-license", "falcon180b"),
     ("stabilityai-nc-research-community", "stability-nc")],
)  # fmt: skip
def test_a_name_leads_to_its_own_licence(name: str, key: str) -> None:
    assert by_statement("other", name) is TERMS[key]


@pytest.mark.parametrize("base", ["Qwen/Qwen1.5-32B-Chat", "Qwen/CodeQwen1.5-7B-Chat"])
def test_the_chat_models_of_a_research_base_are_under_the_agreement_that_they_came_with(base: str, tmp_path: Path) -> None:
    files = (file("LICENSE", "Tongyi Qianwen LICENSE AGREEMENT\n"), file("NOTICE", TONGYI))
    assert told(tmp_path, card(**other("tongyi-qianwen", base_model=base)), *files) == {}


@pytest.mark.parametrize("kind", ["", "RESEARCH "])
def test_codeqwen_may_have_either_text_and_others_may_not(kind: str, tmp_path: Path) -> None:
    files = (file("LICENSE", f"Tongyi Qianwen {kind}LICENSE AGREEMENT\n"), file("NOTICE", TONGYI.replace("LIC", f"{kind}LIC")))
    keys = other("tongyi-qianwen-research", base_model="Qwen/CodeQwen1.5-7B")
    assert told(tmp_path / "one", card(**keys), *files) == {}
    found = set(told(tmp_path / "other", card(**{**keys, "base_model": "Qwen/Qwen1.5-4B"}), *files))
    assert found == (set() if kind else {"licence-text-missing", "licence-text-differs", "licence-notice"})


@pytest.mark.parametrize(
    ("base", "keys"),
    [
        (MISTRAL, {"license": "mit"}), (MISTRAL, {"license": "cc-by-nc-4.0"}), (MISTRAL, {"license": "gpl-3.0"}),
        ("microsoft/Phi-3-mini-4k-instruct", {"license": "apache-2.0"}), (MISTRAL, other("my-own-terms")),
        (MISTRAL, {"license": "mit", "base_model_relation": "finetune"}), ("01-ai/Yi-6B", {"license": "mit"}),
    ],
)  # fmt: skip
def test_a_model_tuned_from_a_permissive_one_may_have_its_own_terms(base: str, keys: dict[str, object], tmp_path: Path) -> None:
    found = told(tmp_path, card(**keys, base_model=base))
    assert not {"licence-changed", "licence-other-name"} & set(found)
    assert base in found["licence-own-terms"][0] and "notice" in found["licence-own-terms"][0]


@pytest.mark.parametrize(
    ("keys", "change", "name"),
    [
        ({}, manifest(), ""), ({"base_model_relation": "quantized"}, BUILT, ""), ({}, BUILT, "someone/Mistral-7B-v0.1-GPTQ"),
        ({}, BUILT, "someone/mistralai_Mistral-7B-v0.1-GGUF"), ({}, body("\n# Mistral 7B v0.1 GGUF\n\nIn another form.\n"), ""),
    ],
    ids=["converted", "quantised", "named as a copy", "named with its owner", "with a title of a copy"],
)  # fmt: skip
@pytest.mark.parametrize("licence", ["mit", "cc-by-nc-4.0"])
def test_a_copy_of_one_may_not(licence: str, keys: dict[str, str], change: Change, name: str, tmp_path: Path) -> None:
    found = told(tmp_path, card(license=licence, base_model=MISTRAL, **keys), change, name=name)
    assert MISTRAL in found["licence-changed"][0] and "licence-own-terms" not in found


def test_a_conversion_of_a_tuned_model_is_no_copy_of_what_that_was_tuned_from(tmp_path: Path) -> None:
    tuned = manifest(source={"family": "llama", "card": {"license": "mit", "base_model": [MISTRAL]}})
    assert "licence-changed" not in told(tmp_path, card(license="mit", base_model=MISTRAL), tuned)


@pytest.mark.parametrize("base", ["meta-llama/Meta-Llama-3-8B", "google/gemma-2-2b", "Qwen/Qwen-7B", QWEN3B])
def test_stricter_terms_beside_a_licence_that_goes_on_to_hold_are_lawful_and_said(base: str, tmp_path: Path) -> None:
    found = told(tmp_path, card(license="cc-by-nc-4.0", base_model=base))
    assert "licence-changed" not in found and "goes on to hold" in found["licence-own-terms"][0]
    copied = told(tmp_path / "copied", card(license="cc-by-nc-4.0", base_model=base, base_model_relation="quantized"))
    assert "licence-changed" in copied


@pytest.mark.parametrize("licence", ["apache-2.0", "mit", "gemma", "gpl-3.0", "cc-by-4.0"])
def test_other_terms_than_stricter_ones_do_not_end_a_licence_that_goes_on_to_hold(licence: str, tmp_path: Path) -> None:
    assert "licence-changed" in told(tmp_path, card(license=licence, base_model=LLAMA31))


def test_share_alike_takes_no_other_terms(tmp_path: Path) -> None:
    assert "licence-changed" in told(tmp_path, card(license="cc-by-nc-4.0", base_model="stabilityai/stablelm-3b-4e1t"))


def test_use_policies_notices_and_privacy_files_are_not_the_licence(tmp_path: Path) -> None:
    files = {"NOTICE": LLAMA31_NOTICE, "USE_POLICY.md": "Use policy\n", "PRIVACY_POLICY.md": "words\n"}
    right = (card(license="llama3.1", base_model=LLAMA31), BUILT, *(file(name, text) for name, text in files.items()))
    assert set(told(tmp_path / "one", *right, without("LICENSE"))) == {"licence-text-missing"}
    assert told(tmp_path / "two", *right, file("LICENSE", LLAMA31_TEXT)) == {}
    for name in ("COPYRIGHT", "Llama 许可协议.md", "Terms_of_Use.txt"):
        assert told(tmp_path / name, *right, without("LICENSE"), file(name, LLAMA31_TEXT)) == {}, name


@pytest.mark.parametrize("beside", ["Gemma_Prohibited_Use_Policy.md", "PRIVACY.md", "AUTHORS", "Third_Party_Licenses.txt"])
def test_no_other_legal_file_excuses_the_text_of_another_licence(beside: str, tmp_path: Path) -> None:
    found = told(tmp_path, card(license="gemma", base_model="google/gemma-2-2b"), file("LICENSE", mit_text()), file(beside))
    assert {"licence-text-missing", "licence-text-differs"} <= set(found)


def test_the_text_of_another_licence_is_told_though_both_are_called_other(tmp_path: Path) -> None:
    found = told(tmp_path, card(**other("qwen-research", base_model=QWEN3B)), file("LICENSE", "Mistral AI Research License\n"))
    assert "Mistral AI Research License" in found["licence-text-differs"][0]


def test_stability_asks_for_a_notice_words_and_a_word_on_changes(tmp_path: Path) -> None:
    base, text = "stabilityai/stablelm-2-1_6b", file("LICENSE.md", "STABILITY AI COMMUNITY LICENSE AGREEMENT\n")
    keys = card(**other("stabilityai-ai-community", base_model=base))
    found = told(tmp_path / "bare", keys, text, manifest())
    assert {"licence-notice", "licence-built-with", "licence-modified"} <= set(found)
    assert "Powered by Stability AI" in found["licence-built-with"][0]
    notice = (
        "This Stability AI Model is licensed under the Stability AI Community License, Copyright © Stability AI Ltd. All Rights "
        "Reserved\nThe weights were changed by a conversion.\n"
    )
    words = body("\n# A small one\n\nPowered by Stability AI. It is for the tests of the validator, and for nobody else.\n")
    assert told(tmp_path / "right", keys, text, manifest(), file("Notice", notice), words) == {}
    assert "licence-merge" in told(tmp_path / "merged", card(license="apache-2.0", base_model=[base, MISTRAL]))


def test_a_made_card_shows_stabilitys_words(tmp_path: Path) -> None:
    keys = card(**other("stabilityai-ai-community", base_model="org/older"))
    source, out = changed([keys]).write(tmp_path / "source"), changed([keys, manifest()]).write(tmp_path / "out")
    assert "**Powered by Stability AI.**" in make_card(source, out, Wishes(base_model="stabilityai/stablelm-2-12b")).text


@pytest.mark.parametrize(("text", "base", "name"), [(APACHE, LLAMA31, "Apache License 2.0"),
                                                    ("Modified MIT License\n", LLAMA31, "Modified MIT License")])  # fmt: skip
def test_a_text_that_several_licences_share_is_called_by_its_plain_name(text: str, base: str, name: str, tmp_path: Path) -> None:
    found = told(tmp_path, card(license="llama3.1", base_model=base), file("LICENSE", text))
    assert found["licence-text-differs"] == [f"it is the text of the {name}; the card says 'llama3.1'"]


def test_the_case_of_an_id_makes_no_other_licence_of_it(tmp_path: Path) -> None:
    found = told(tmp_path, card(license="Apache-2.0", base_model="META-LLAMA/llama-3.1-8b"), file("LICENSE", APACHE))
    assert "licence-text-differs" not in found and "licence-changed" in found


def test_the_modified_mit_licence_is_not_taken_for_mit(tmp_path: Path) -> None:
    text = f"Modified MIT License\n\n{mit_text()}"
    found = told(tmp_path, card(license="mit", base_model="microsoft/phi-4"), file("LICENSE", text))
    assert "Modified MIT License" in found["licence-text-differs"][0]


COPIES = {
    "meta-llama/Llama-3.2-1B-Instruct": (
        "meta-llama/Llama-3.2-1B-Instruct-QLORA_INT4_EO8", "meta-llama/Llama-3.2-1B-Instruct-SpinQuant_INT4_EO8",
        "x/Llama-3.2-1B-Instruct-mlx", "x/Llama-3.2-1B-Instruct-exl2", "x/Llama-3.2-1B-Instruct-4.0bpw-h6-exl2",
        "x/Llama-3.2-1B-Instruct-Q4_K_M-GGUF", "x/Llama-3.2-1B-Instruct-GGUF-IQ-Imatrix", "x/Llama-3.2-1B-Instruct-ct2-int8",
    ),
    QWEN3B: (
        "unsloth/Qwen2.5-3B-Instruct-unsloth-bnb-4bit", "bartowski/Qwen_Qwen2.5-3B-Instruct-GGUF",
        "neuralmagic/Qwen2.5-3B-Instruct-quantized.w4a16", "neuralmagic/Qwen2.5-3B-Instruct-quantized.w8a8",
        *(f"someone/Qwen2.5-3B-Instruct-{form}" for form in (
            "FP8", "FP8-dynamic", "FP8-KV", "AWQ-INT4", "GPTQ-Int8", "i1-GGUF", "4bit", "8bit", "bf16", "imat", "mxfp4", "nf4",
        )),
    ),
    LLAMA31: ("meta-llama/Llama-3.1-8B@main", "meta-llama/Llama-3.1-8B/", "unsloth/Llama-3.1-8B@0123abc/"),
    "google/gemma-3-27b-it": ("bartowski/google_gemma-3-27b-it-GGUF", "mlx-community/gemma-3-27b-it-8bit"),
}  # fmt: skip


@pytest.mark.parametrize(("copy", "of"), [(copy, of) for of, copies in COPIES.items() for copy in copies])
def test_a_copy_in_another_form_is_under_the_licence_of_what_it_copies(copy: str, of: str) -> None:
    assert [row.licence for _, row in lineage(copy)] == list(chain(of)) and of in BY_ID
    assert under([copy], "apache-2.0", "", {}).unknown == ()


@pytest.mark.parametrize(
    "name", ["someone/Llama-3.1-8B-qlora", "someone/Llama-3.1-8B-unsloth", "x/my_Llama-3.1-8B", "x/Llama-3.1-8B-story-GGUF",
             "Qwen_Qwen2.5-3B-Instruct-GGUF-finetuned", "a/b/c", "@main", "/", "gguf", "someone/-GGUF"],
)  # fmt: skip
def test_a_tuned_model_is_not_taken_for_a_copy(name: str) -> None:
    assert lineage(name) == ()


@pytest.mark.parametrize("name", ["a/m-q4" + "_q4" * 40 + "!", "a/m" + "-4bit" * 40 + "!", "a/" + "-q4_" * 100_000 + "!"])
def test_a_name_that_fits_in_many_ways_is_read_in_one(name: str) -> None:
    assert plain_model(name) == name.rpartition("/")[2].lower()


def test_several_forms_are_taken_off_one_by_one() -> None:
    assert plain_model("unsloth/Qwen2.5-3B-Instruct-unsloth-bnb-4bit") == "qwen2.5-3b-instruct"
    assert plain_model("a/m-7b-4bit-GPTQ-Int4") == plain_model("b/m-7b-Q4_K_M-GGUF") == "m-7b"
