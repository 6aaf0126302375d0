"""Tokenizers written for vocabularies of every kind, beside the ids of those whose formats they are.

The vocabularies are trained here (tests/trained), so that every recipe runs wherever the repository is; the vendors' own
are test_vendors.py's matter.
"""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest

from mappings.chat import names as chat_names
from mappings.chat import template
from mappings.tokenizers import RECIPES, recipe_for
from surgery.tokenizer.adapt import DERIVED
from surgery.tokenizer.export import EXACT, FAST, TokenizerFiles, export
from surgery.tokenizer.facts import load
from tests.tokenizer.vendors import auto_tokenizer, plain_ids
from tests.trained.corpus import ASKED
from tests.trained.kinds import KINDS, Kind
from tests.trained.kinds import kind as kind_of
from tests.trained.pieces import filling
from tests.trained.prompts import PARTS, conversation
from tests.trained.truth import ids, prompt

by_kind = pytest.mark.parametrize("kind", KINDS, ids=str)


def written(kind: Kind) -> TokenizerFiles:
    return export(
        recipe_for(kind.family, kind.files), kind.files, chat_template=None if kind.chat is None else template(kind.chat)
    )


def with_specials(kind: Kind) -> list[str]:
    """Text that has the vocabulary's special tokens in it."""
    names = list(kind.specials)[:12]
    return [
        *(f"before {name} after" for name in names), *(f"{name}{name}x\n{name}\n" for name in names[:4]),
        *(f"灯塔{name}的" for name in names[-4:]), "".join(names),
    ]  # fmt: skip


@by_kind
def test_a_written_tokenizer_gives_the_ids_of_the_vocabularys_own_engine(kind: Kind, tmp_path: Path) -> None:
    made = written(kind)
    tokenizer = auto_tokenizer(made, tmp_path)
    assert made.recipe == kind.recipe
    assert all(kind.moved and kind.moved in one.reason for one in made.check.differences), str(made.check)
    texts = [*ASKED, *with_specials(kind)]
    texts = [text for text in texts if not (kind.moved and any(map(unicodedata.combining, text)))]
    wanted = [ids(kind, text) for text in texts]
    pairs = zip(texts, wanted, plain_ids(tokenizer, texts), strict=True)
    assert [(text, want, got) for text, want, got in pairs if want != got] == []
    assert plain_ids(tokenizer, texts[:50], special=True) == [[*kind.prefix, *want] for want in wanted[:50]]
    if kind.chat is not None:
        got = tokenizer.apply_chat_template(
            conversation(kind.chat), add_generation_prompt=True, tokenize=True, return_dict=False
        )
        assert list(got) == prompt(kind, PARTS[kind.chat])
    if kind.recipe != DERIVED:
        assert made.tokenizer_class == (EXACT if kind.exact else FAST)


def test_every_recipe_and_every_chat_template_has_a_trained_vocabulary() -> None:
    assert {kind.recipe for kind in KINDS} == {recipe.name for _, recipe in RECIPES} | {DERIVED, "carried"}
    assert {kind.chat for kind in KINDS if kind.chat} == set(chat_names()) == PARTS.keys()


@pytest.mark.xfail(
    strict=True,
    reason="user-defined pieces behind a dummy prefix are kept whole by ignore_merges, so that a text between two of them "
    "which spells a piece that SentencePiece never joins becomes that piece",
)
def test_a_piece_out_of_reach_stays_out_of_reach_between_user_defined_pieces() -> None:
    kind = kind_of("baichuan1")
    text = f"a\n{filling(0)}\n"
    assert list(load(json.loads(written(kind)["tokenizer.json"])).encode(text).ids) == ids(kind, text)
