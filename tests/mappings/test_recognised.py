"""What a config is taken for: outputs as what they were written as, published names as the class that they are."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
from safetensors.torch import load_file

from convert.checkpoint import open_checkpoint
from convert.prepare import identify, open_artefact, plan_artefact, plan_conversion
from convert.verification.movement import prove
from convert.verification.run import verify
from convert.writing import write
from mappings import families
from mappings.config import recognise
from mappings.family import Row
from mappings.rows import encode
from surgery.errors import ConversionError
from tests.goldens import golden, goldens
from tests.oracle import native_logits
from tests.pairs.test_plans import PRESENT, VARIANTS

HERE = {case.name for case in goldens()}


@pytest.mark.parametrize("case", PRESENT, ids=str)
def test_every_output_is_read_as_what_it_is_called(case):
    artefact = open_artefact(open_checkpoint(case.checkpoint), variant=VARIANTS.get(case.name))
    for to in sorted({family.name for family in families()}):
        try:
            plan = plan_artefact(artefact, to)
        except ConversionError:
            continue
        document = plan.documents.get("config.json") or plan.documents.get("params.json")
        if document is not None:
            assert plan.target in [family.label for family in recognise(families(), json.loads(document))]


def test_a_llama_with_the_eps_of_metas_first_is_written_as_that(tmp_path):
    source = tmp_path / "in"
    shutil.copytree(golden("llama-mha").checkpoint, source)
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 1e-6, "rope_theta": 10000.0}))
    plan = plan_conversion(open_checkpoint(source), "meta")
    write(plan, tmp_path / "out")
    again = open_artefact(open_checkpoint(tmp_path / "out"))
    assert plan.target == again.label == "meta-llama-1"


@pytest.mark.parametrize("case", PRESENT, ids=str)
def test_a_config_without_architectures_is_what_its_model_type_is_or_ambiguous(case):
    """transformers needs none: the class is by the model_type alone."""
    artefact = open_artefact(open_checkpoint(case.checkpoint), variant=VARIANTS.get(case.name))
    config = {key: value for key, value in artefact.origin.config.items() if key != "architectures"}
    found = recognise(families(), config)
    assert found == () or artefact.label in [family.label for family in found]
    if len(found) > 1:
        assert len({family.name for family in found}) == 1


@pytest.mark.parametrize("name", ["llama-gqa", "qwen2", "gemma2", "mistral", "phi3", "qwen3", "stablelm", "mixtral", "gpt2"])
def test_a_checkpoint_without_architectures_is_converted_and_verified(name, tmp_path):
    source = tmp_path / "in"
    shutil.copytree(golden(name).checkpoint, source)
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({key: config[key] for key in config if key != "architectures"}))
    plan = plan_conversion(open_checkpoint(source), None)
    write(plan, tmp_path / "out", verify=None)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["architectures"]
    assert verify(open_checkpoint(source), open_checkpoint(tmp_path / "out"), exactness=str(plan.exactness)).passed


@pytest.mark.skipif("deepseek-v3" not in HERE, reason="the golden case is not here")
def test_kimi_k2_is_a_deepseek_v3_under_its_published_name(tmp_path):
    source = tmp_path / "in"
    shutil.copytree(golden("deepseek-v3").checkpoint, source)
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "model_type": "kimi_k2"}))
    plan = plan_conversion(open_checkpoint(source), "deepseek_v3", mtp="drop")
    write(plan, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["model_type"] == "deepseek_v3"
    verdict = verify(open_checkpoint(source), open_checkpoint(tmp_path / "out"), exactness="byte")
    lineage = prove(plan)
    assert verdict.passed and lineage is not None and lineage.passed
    truth = load_file(golden("deepseek-v3").logits)
    assert (native_logits(tmp_path / "out", truth["input_ids"]) - truth["logits"]).abs().max() <= 1e-4


LLAMA2C = {"dim": 8, "n_layers": 1, "n_heads": 2, "n_kv_heads": 2, "vocab_size": 16, "multiple_of": 4, "max_seq_len": 32}


def test_a_checkpoint_of_llama2c_is_called_what_it_is():
    with pytest.raises(ConversionError, match=r"It is llama2\.c.*export\.py") as refused:
        identify({"model_args": LLAMA2C, "iter_num": 1, "config": {}})
    assert "nanogpt" not in str(refused.value).lower()


def test_a_table_that_names_one_tensor_twice_is_noticed_before_a_byte_is_written():
    model = open_artefact(open_checkpoint(golden("llama-mha").checkpoint)).model
    llama = next(family for family in families() if family.name == "llama")
    twice = tuple(replace(row, name=row.name.replace("up_proj", "gate_proj")) for row in llama.rows)
    with pytest.raises(AssertionError, match=r"two rows name model\.layers\.0\.mlp\.gate_proj\.weight"):
        list(encode(replace(llama, rows=twice), model))


@pytest.mark.parametrize("family", families(), ids=lambda family: family.label)
def test_no_two_rows_of_a_table_that_hold_together_have_one_name(family):
    held: dict[str, list[Row]] = {}
    for row in family.rows:
        held.setdefault(row.name, []).append(row)
    for rows in held.values():
        conditions = {row.when.removeprefix("!") for row in rows}
        assert len(rows) == 1 or (len(conditions) == 1 and len({row.when for row in rows}) == len(rows))
