"""What is done to vocabularies, done to one of every kind that tests/trained has: their own engines say what must not move."""

import json
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import convert
from convert.edits.vocabulary import plan_vocabulary
from convert.edits.vocabulary_size import pad_vocab, trim_vocab, unpad_vocab
from mappings.chat import template, template_for
from mappings.tokenizers import recipe_for
from surgery.tokenizer.grow import Addition, grow
from tests.tokenizer.vendors import auto_tokenizer, plain_ids
from tests.trained.checkpoints import size_of
from tests.trained.corpus import ASKED, lines
from tests.trained.kinds import KINDS, Kind, kind
from tests.trained.truth import ids
from tests.vocabulary.models import EMBED, HEAD, llama
from tests.vocabulary.test_commands import run as converting
from tests.vocabulary.test_extend import run

#: those that are as small as they were trained; the others' size is their vendor's
SMALL = tuple(one for one in KINDS if one.recipe in ("derived from the model", "carried"))
#: and one of each form that has a recipe of its own
GROWN = (*SMALL, *map(kind, ("yi", "baichuan1", "qwen", "qwen2")))
WORDS = ("灯塔看守", "海岸线", "lighthousekeeper", "перелётный")
ATOMS = ("<|begin_of_tool|>", "<|end_of_tool|>")

by_small = pytest.mark.parametrize("own", SMALL, ids=str)


def rows_of(own: Kind) -> int:
    """One row for each id."""
    named = max(own.specials.values()) + 1
    if "tokenizer.json" in own.files:
        value = json.loads(own.files["tokenizer.json"])
        return max(named, len(value["model"]["vocab"]))
    return max(named, size_of(own))


def model_of(own: Kind, folder: Path, **options: Any) -> dict[str, torch.Tensor]:
    return llama(folder, rows=rows_of(own), tied=False, files=own.files, **options)


@cache
def engines_ids(name: str) -> tuple[list[int], ...]:
    return tuple(ids(kind(name), text) for text in ASKED)


@pytest.mark.parametrize("own", GROWN, ids=str)
def test_words_and_special_tokens_are_added_and_other_text_keeps_the_engines_ids(own: Kind, tmp_path: Path) -> None:
    made = grow(
        own.files, Addition(WORDS, atoms=ATOMS, special=True), recipe_of=partial(recipe_for, own.family), template=template_for
    )
    tokenizer = auto_tokenizer(made.files, tmp_path)
    pairs = list(zip(ASKED, engines_ids(own.name), plain_ids(tokenizer, list(ASKED)), strict=True))
    assert [(text, want, got) for text, want, got in pairs if want != got and max(got) < made.first] == []
    assert sum(want == got for _, want, got in pairs) > 0.9 * len(pairs)
    for word in WORDS:
        found = tokenizer(f"5{word}", add_special_tokens=False)["input_ids"]  # behind a digit, which joins nothing
        assert found[-1] >= made.first and len(found) <= 3, (word, found)
    first, last = (tokenizer.convert_tokens_to_ids(atom) for atom in ATOMS)
    assert tokenizer(f"a{ATOMS[0]}{ATOMS[1]}", add_special_tokens=False)["input_ids"][-2:] == [first, last]
    assert made.first <= first < last
    assert tokenizer.decode([first, last], skip_special_tokens=True) == ""


@by_small
def test_a_trimmed_vocabulary_gives_its_corpus_the_engines_tokens_under_new_ids(own: Kind, tmp_path: Path) -> None:
    old = model_of(own, tmp_path / "base")
    corpus = [line for line in lines(30) if line.isascii()]
    revised = trim_vocab(convert.open(tmp_path / "base"), corpus)
    convert.write(plan_vocabulary(revised), tmp_path / "out", verify="off")
    kept = list(revised.shared[0])
    tokenizer = auto_tokenizer_of(tmp_path / "out")
    assert len(kept) < rows_of(own)
    wanted = [ids(own, text) for text in corpus]
    if "tokenizer.json" in own.files:  # a class may lay parts of its own over it: what the model's users have
        wanted = plain_ids(auto_tokenizer_of(tmp_path / "base"), corpus)
    for text, want in zip(corpus, wanted, strict=True):
        assert [kept[token] for token in tokenizer(text, add_special_tokens=False)["input_ids"]] == want, text
    new = load_file(tmp_path / "out/model.safetensors")
    assert torch.equal(new[EMBED][: len(kept)], old[EMBED][kept]) and torch.equal(new[HEAD][: len(kept)], old[HEAD][kept])


@by_small
def test_padding_and_taking_it_away_leaves_vocabulary_and_bytes_alone(own: Kind, tmp_path: Path) -> None:
    old = model_of(own, tmp_path / "base")
    convert.write(plan_vocabulary(pad_vocab(convert.open(tmp_path / "base"), multiple=512)), tmp_path / "padded", verify="off")
    padded = load_file(tmp_path / "padded/model.safetensors")
    assert padded[EMBED].shape[0] % 512 == 0 and torch.equal(padded[EMBED][: rows_of(own)], old[EMBED])
    assert {name: (tmp_path / "padded" / name).read_bytes() for name in own.files} == own.files
    convert.write(plan_vocabulary(unpad_vocab(convert.open(tmp_path / "padded"))), tmp_path / "again", verify="off")
    again = load_file(tmp_path / "again/model.safetensors")
    assert all(torch.equal(again[name], tensor) for name, tensor in old.items())


@by_small
def test_a_transplanted_vocabulary_gives_the_donors_ids_and_shared_letters_keep_their_rows(own: Kind, tmp_path: Path) -> None:
    base = kind("llama-other-size")
    old = model_of(base, tmp_path / "base")
    model_of(own, tmp_path / "donor")
    words = ("transplant-tokenizer", tmp_path / "base", tmp_path / "out", "--donor", tmp_path / "donor", "--verify", "off")
    done = run(*words)
    assert done.exit_code == 0, (done.output, done.exception)
    wanted = list(engines_ids(own.name))
    if "tokenizer.json" in own.files:  # a class may lay parts of its own over it: what the donor's users have
        wanted = plain_ids(auto_tokenizer_of(tmp_path / "donor"), list(ASKED))
    assert plain_ids(auto_tokenizer_of(tmp_path / "out"), list(ASKED)) == wanted
    new = load_file(tmp_path / "out/model.safetensors")
    assert new[EMBED].shape[0] == rows_of(own)
    for letter in "aeinorst":  # behind a space both have no letter alone
        theirs, ours = ids(own, f"~{letter}~")[-2], ids(base, f"~{letter}~")[-2]
        assert torch.equal(new[EMBED][theirs], old[EMBED][ours]), letter


@pytest.mark.parametrize("own", [one for one in SMALL if one.chat], ids=str)
def test_prompts_of_a_converted_model_are_its_sources(own: Kind, tmp_path: Path) -> None:
    assert own.chat is not None
    files = {**own.files, "chat_template.jinja": template(own.chat).encode()}
    llama(tmp_path / "src", rows=rows_of(own), files=files)
    done = converting("llama-to-mistral", tmp_path / "src", tmp_path / "out", "--verify", "off")
    assert done.exit_code == 0, (done.output, done.exception)
    checked = converting("chat-check", tmp_path / "src", tmp_path / "out")
    assert checked.exit_code == 0 and " conversations give the same tokens" in checked.output, checked.output
    assert ": refused by both" in checked.output or checked.output.startswith("19 of 19 ")


def auto_tokenizer_of(folder: Path) -> Any:
    """As a user loads it."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)
