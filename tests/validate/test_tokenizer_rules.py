"""Tokenizer files that are well-formed and of no use all the same."""

from pathlib import Path

import pytest

from convert.validate.check import validate
from tests.validate.fixtures import sentencepiece
from tests.validate.repository import Repository, changed


def damaged(made: Repository) -> None:
    from sentencepiece import sentencepiece_model_pb2 as form

    model = form.ModelProto.FromString(made.files["tokenizer.model"])
    model.normalizer_spec.precompiled_charsmap = b"\xff" * 12
    made.files["tokenizer.model"] = model.SerializeToString()


def test_a_model_that_sentencepiece_cannot_load_is_unreadable(tmp_path: Path) -> None:
    report = validate(changed((sentencepiece("same"), damaged)).write(tmp_path / "made"))
    told = {finding.rule.id: finding for finding in report.findings}
    assert told["tokenizer-unreadable"].file == "tokenizer.model"
    assert "sentencepiece itself cannot load" in told["tokenizer-unreadable"].message
    assert "tokenizer-files-disagree" not in told


@pytest.mark.parametrize("name", [[], {}, None, 5])
def test_templates_whose_names_are_no_names_are_passed_over(tmp_path: Path, name: object) -> None:
    def named(made: Repository) -> None:
        made.template = None
        assert made.settings is not None
        made.settings["chat_template"] = [{"name": name, "template": "{% for %}"}]

    report = validate(changed((named,)).write(tmp_path / "made"))
    assert "chat-template-syntax" not in {finding.rule.id for finding in report.findings}
