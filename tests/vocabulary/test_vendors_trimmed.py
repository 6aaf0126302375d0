"""The vendors' vocabularies, trimmed and transplanted: a second layer over what tests/trained is asked."""

from pathlib import Path

import pytest

import convert
from convert.edits.transplant import transplant_tokenizer
from convert.edits.vocabulary import plan_vocabulary
from mappings.chat import template_for
from mappings.tokenizers import recipe_for
from surgery.tokenizer.export import TokenizerFiles, export
from tests.shared import needs_shared
from tests.tokenizer.figures import FIGURES, Figures
from tests.tokenizer.vendors import auto_tokenizer, rows, vendor_files
from tests.vocabulary.models import llama
from tests.vocabulary.test_kinds import auto_tokenizer_of
from tests.vocabulary.test_transplanted import same_tokenizers
from tests.vocabulary.test_trimmed import trimmed

#: but those that only sentencepiece runs, and OpenAI's own two files, which lie beside no checkpoint
VENDORS = tuple(one for one in FIGURES if one.folder not in ("chinese_llama", "chinese_llama2", "gpt2"))


def written(figures: Figures) -> TokenizerFiles:
    files = vendor_files(figures.folder)
    recipe = recipe_for(figures.family, files)
    return export(recipe, files, chat_template=template_for(recipe, files))


@needs_shared
@pytest.mark.slow
@pytest.mark.parametrize("figures", VENDORS, ids=lambda one: one.folder)
def test_a_vendors_vocabulary_gives_a_corpus_and_its_prompts_the_same_tokens_trimmed(figures: Figures, tmp_path: Path) -> None:
    made = written(figures)
    before = auto_tokenizer(made, tmp_path / "before")
    cases = rows(figures.folder, "golden")
    # each string as a document, with what stands around it in prompts, and all of them as one with both kinds of line ends
    texts = [row["text"] for row in cases]
    chats = [] if before.chat_template is None else [row["messages"] for row in rows(figures.folder, "chat")]
    chats = [one for one in chats if one[0]["role"] != "system" or figures.chats[1] == 0]  # where the format refuses them
    asked = [before.apply_chat_template(one, tokenize=False, add_generation_prompt=True) for one in chats]
    corpus = [*texts, "\n".join(texts), "\r\n".join(texts), *asked]
    llama(tmp_path / "base", rows=made.facts.max_id + 1, hidden=16, tied=True, files=vendor_files(figures.folder))
    kept = list(trimmed(tmp_path / "base", tmp_path / "out", corpus).shared[0])
    after = auto_tokenizer_of(tmp_path / "out")
    assert len(kept) < made.facts.size
    agreed = 0
    for text, case in zip(corpus, [*cases, *[None] * (len(corpus) - len(cases))], strict=True):
        want = before(text)["input_ids"]
        got = after(text)["input_ids"]
        assert [kept[token] for token in got] == want, text
        assert after.decode(got) == before.decode(want)
        plain = after(text, add_special_tokens=False)["input_ids"]
        agreed += case is not None and [kept[token] for token in plain] == case["ids_plain"]
    assert agreed >= figures.golden
    for one in chats:
        prompts = [each.apply_chat_template(one, add_generation_prompt=True, return_dict=False) for each in (before, after)]
        assert [kept[token] for token in prompts[1]] == prompts[0]


@needs_shared
@pytest.mark.slow
@pytest.mark.parametrize("folder", ["minicpm3", "yi"])
def test_a_vendors_tokenizer_transplanted_is_the_vendors(folder: str, tmp_path: Path) -> None:
    (figures,) = [one for one in FIGURES if one.folder == folder]
    (base,) = [one for one in FIGURES if one.folder == "mistral"]
    llama(tmp_path / "base", rows=written(base).facts.max_id + 1, files=vendor_files("mistral"))
    llama(tmp_path / "donor", rows=written(figures).facts.max_id + 1, files=vendor_files(folder))
    revised = transplant_tokenizer(convert.open(tmp_path / "base"), convert.open(tmp_path / "donor"), k=1)
    convert.write(plan_vocabulary(revised), tmp_path / "out", verify="off")
    same_tokenizers(auto_tokenizer(written(figures), tmp_path / "written"), auto_tokenizer_of(tmp_path / "out"))
