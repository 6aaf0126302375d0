"""What the library writes when it saves a model is read: by 5.23 as it does so here, by 4.57 as it was recorded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from convert.checkpoint import open_checkpoint
from convert.prepare import plan_conversion
from convert.verified import verifier
from convert.writing import write
from mappings.config import read_facts
from tests.mappings.classes import config_of, native, saved_model
from tests.mappings.pairs import tokens
from tests.oracle import native_logits, transformers

#: {model_type: config.json} of each class of transformers 4.57.6 with the sizes of tests/mappings/classes.py
RECORDED = json.loads((Path(__file__).parent / "saved_by_4_57.json").read_text(encoding="utf-8"))
KINDS = sorted(native())


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_as_its_class_saves_it_becomes_itself(kind, tmp_path):
    folder = saved_model(config_of(kind), tmp_path / "in")
    plan = plan_conversion(open_checkpoint(folder), native()[kind].name)
    done = write(plan, tmp_path / "out", verify=verifier(plan, "full"))
    assert done.verdict is not None and done.verdict.passed
    ids = tokens(24, 61)
    assert (native_logits(folder, ids) - native_logits(tmp_path / "out", ids)).abs().max().item() <= 1e-5


def test_every_class_of_4_57_was_recorded():
    assert sorted(RECORDED) == KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_a_config_that_4_57_saved_says_what_5_23_reads_in_it(kind):
    theirs = transformers().CONFIG_MAPPING[kind](**RECORDED[kind])
    again = {**theirs.to_dict(), "architectures": RECORDED[kind]["architectures"]}
    assert read_facts(native()[kind], RECORDED[kind]).values_ == read_facts(native()[kind], again).values_


def test_a_count_of_prediction_layers_without_their_weights_is_none(tmp_path):
    folder = saved_model(config_of("deepseek_v3"), tmp_path / "in")
    assert json.loads((folder / "config.json").read_text())["num_nextn_predict_layers"] == 1
    plan = plan_conversion(open_checkpoint(folder), "deepseek_v3")
    assert json.loads(plan.documents["config.json"])["num_nextn_predict_layers"] == 0
