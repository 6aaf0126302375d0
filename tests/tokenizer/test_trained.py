"""Tokenizers written for vocabularies of every kind, beside the ids of those whose formats they are.

The vocabularies are trained here (tests/trained), so that every recipe runs wherever the repository is; the vendors' own
are test_vendors.py's matter.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mappings.chat import names as chat_names
from mappings.tokenizers import RECIPES
from surgery.tokenizer.adapt import DERIVED
from surgery.tokenizer.export import FAST
from surgery.tokenizer.facts import load
from tests.tokenizer.trained import compare, written
from tests.trained.kinds import KINDS, Kind
from tests.trained.kinds import kind as kind_of
from tests.trained.pieces import filling
from tests.trained.prompts import PARTS
from tests.trained.truth import ids

by_kind = pytest.mark.parametrize("kind", KINDS, ids=str)


@by_kind
def test_a_written_tokenizer_gives_the_ids_of_the_vocabularys_own_engine(kind: Kind, tmp_path: Path) -> None:
    found = compare(kind, tmp_path)
    assert found.written.recipe == kind.recipe
    assert all(kind.moved and kind.moved in one.reason for one in found.written.check.differences), found.written.check
    assert found.wrong == []
    assert found.wrong_framed == []
    assert found.prompted
    if kind.recipe != DERIVED:
        assert found.written.tokenizer_class == FAST


def test_every_recipe_and_every_chat_template_has_a_trained_vocabulary() -> None:
    assert {kind.recipe for kind in KINDS} == {recipe.name for _, recipe in RECIPES} | {DERIVED, "carried"}
    assert {kind.chat for kind in KINDS if kind.chat} == set(chat_names()) == PARTS.keys()


def test_a_piece_out_of_reach_stays_out_of_reach_between_user_defined_pieces() -> None:
    kind = kind_of("baichuan1")
    text = f"a\n{filling(0)}\n"
    assert list(load(json.loads(written(kind)["tokenizer.json"])).encode(text).ids) == ids(kind, text)
