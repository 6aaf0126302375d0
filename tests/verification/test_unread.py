"""What OUT's config says and no decoder reads is no part of "verified": the family's table knows what a class obeys."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from convert.checkpoint import open_checkpoint
from convert.judgement import judgement
from convert.prepare import identify
from convert.unread import unread
from mappings.config import known_keys
from mappings.family import Setting
from mappings.harmless import LIBRARY, OPTIONS
from surgery.errors import CannotJudge
from tests.goldens import golden
from tests.verification.test_judgement import copied, in_this_process  # noqa: F401

GOLDENS = ("llama-gqa", "qwen2", "mistral", "gemma2", "deepseek-v3", "qwen2-moe", "glm4-9b-chat", "baichuan2-7b", "minicpm-2b")
OTHERS: tuple[Any, ...] = (False, True, 7, "odd")


def found(name: str, **changes: Any) -> Any:
    config = open_checkpoint(golden(name).checkpoint).config
    return unread(SimpleNamespace(config=config), SimpleNamespace(config={**config, **changes}))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", GOLDENS)
def test_a_key_that_the_class_obeys_leaves_the_question_open_at_every_other_value(name: str) -> None:
    config = open_checkpoint(golden(name).checkpoint).config
    (family, *_) = identify(config)
    one_of = {key: one for one in (*OPTIONS, *LIBRARY, *family.harmless) for key in one.keys.split()}
    read = {key for setting in family.settings if isinstance(setting, Setting) for key in setting.keys}
    obeyed = {key: one for key, one in one_of.items() if one.at is not None and key not in {*read, *config}}
    assert obeyed and obeyed.keys() <= known_keys(family)
    for key, one in obeyed.items():
        other = next(value for value in OTHERS if not one.covers(value))
        assert [finding.status for finding in found(name, **{key: other})] == ["open"], (key, other)
        for harmless in one.at or ():
            assert found(name, **{key: harmless}) == (), (key, harmless)


@pytest.mark.parametrize("name", GOLDENS)
def test_what_no_class_knows_and_what_both_sides_say_alike_are_let_through(name: str) -> None:
    assert found(name) == ()
    assert found(name, a_note_of_mine={"by": "hand"}) == ()
    config = {**open_checkpoint(golden(name).checkpoint).config, "is_causal": False}
    side = SimpleNamespace(config=config)
    assert unread(side, side) == ()  # type: ignore[arg-type]


def test_the_judge_says_which_key_it_could_not_judge(tmp_path: Path) -> None:
    own = golden("deepseek-v3").checkpoint
    out = copied(own, tmp_path / "out", rope_interleave=False)
    one = judgement(open_checkpoint(own), open_checkpoint(out), witness="off")
    assert not one.passed and one.checked.undecided
    assert one.checked.sentence.startswith("CANNOT JUDGE, because of config keys that were not judged")
    with pytest.raises(CannotJudge, match="rope_interleave"):
        one.refuse()
