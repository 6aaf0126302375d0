"""Which files of a folder are the model: the validator and `run` give one answer, and `--fix` leaves what is right."""

import json
import shutil
from pathlib import Path

import pytest

from convert.checkpoint import open_checkpoint
from convert.validate.check import validate
from convert.validate.repair import MENDED, apply, repairs
from convert.validate.subject import Subject
from surgery.errors import ConversionError
from tests.validate.changes import config, link, pickled, single
from tests.validate.fixtures import FIXTURES, lora_beside, mistral_form
from tests.validate.repository import INDEX, SHARDS, Change, changed, good, safetensors

#: what lies beside the shards that the index names, and the rules that may speak of it
BESIDE: dict[str, tuple[tuple[Change, ...], set[str]]] = {
    "Mistral's own form": (mistral_form(params=True), set()),
    "the same without its params.json": (mistral_form(params=False), {"weights-beside"}),
    "an adapter": ((lora_beside(config=True),), {"adapter-beside"}),
    "the weights of an adapter": ((lora_beside(config=False),), {"weights-beside"}),
    "a shard of another save": (FIXTURES["shard-orphan"][0], {"shard-orphan"}),
}
TOTALS = {"index-total-size", "index-total-parameters"}


@pytest.mark.parametrize("beside", BESIDE)
def test_what_the_index_does_not_name_has_no_say_in_what_the_model_is(beside: str, tmp_path: Path) -> None:
    changes, allowed = BESIDE[beside]
    path = changed(changes).write(tmp_path / "made")
    assert {f.rule.id for f in validate(path, deep=True).findings} == allowed
    subject, opened = Subject(path), open_checkpoint(path)
    assert subject.tensors == opened.tensors
    assert set(subject.weights.names) == set(opened.files) == set(SHARDS)


@pytest.mark.parametrize("beside", BESIDE)
def test_no_repair_touches_an_index_that_is_right(beside: str, tmp_path: Path) -> None:
    path = changed(BESIDE[beside][0]).write(tmp_path / "made")
    before = {entry.name: entry.read_bytes() for entry in path.iterdir()}
    found = {finding.rule.id for finding in validate(path).findings}
    apply(Subject(path), repairs(Subject(path), found))
    assert {entry.name: entry.read_bytes() for entry in path.iterdir()} == before


@pytest.mark.parametrize(("wrong", "right"), [("total_size", "total_parameters"), ("total_parameters", "total_size")])
def test_a_repair_of_one_total_leaves_the_other(wrong: str, right: str, tmp_path: Path) -> None:
    made = good()
    assert made.index is not None
    true = dict(made.index["metadata"])
    made.index["metadata"][wrong] = 1
    path = made.write(tmp_path / "made")
    found = {finding.rule.id for finding in validate(path).findings}
    assert len(found) == 1 and found < MENDED
    apply(Subject(path), repairs(Subject(path), found))
    assert json.loads((path / INDEX).read_text())["metadata"] == true


@pytest.mark.parametrize("changes", [(), (single,), (pickled,), *(fixture[0] for fixture in FIXTURES.values())])
def test_the_validator_looks_at_the_tensors_that_a_run_reads(changes: tuple[Change, ...], tmp_path: Path) -> None:
    """For every repository of the fixtures that a run opens at all."""
    path = changed(changes).write(tmp_path / "made")
    try:
        opened = open_checkpoint(path)
    except ConversionError:
        return
    assert set(Subject(path).tensors) == set(opened.tensors)


def test_a_single_file_wins_over_shards_without_an_index_and_the_others_are_told(tmp_path: Path) -> None:
    made = good()
    every = {name: value for tensors in made.shards.values() for name, value in tensors.items()}
    made.index = None
    path = made.write(tmp_path / "made")
    (path / "model.safetensors").write_bytes(safetensors(every, {"format": "pt"}))
    assert set(Subject(path).weights.names) == set(open_checkpoint(path).files) == {"model.safetensors"}
    assert {finding.rule.id for finding in validate(path).findings} == {"index-and-single"}


def test_weights_under_a_name_that_nobody_looks_for_are_no_weights(tmp_path: Path) -> None:
    path = changed((single,)).write(tmp_path / "made")
    (path / "model.safetensors").rename(path / "weights.safetensors")
    found = {finding.rule.id for finding in validate(path).findings}
    assert {"no-weights", "shard-name"} <= found and "index-missing" not in found


def test_one_numbered_shard_without_an_index_is_not_found_by_loaders(tmp_path: Path) -> None:
    path = changed((single,)).write(tmp_path / "made")
    (path / "model.safetensors").rename(path / "model-00001-of-00001.safetensors")
    assert "index-missing" in {finding.rule.id for finding in validate(path).findings}


def test_a_pickle_beside_safetensors_that_would_run_code_is_told(tmp_path: Path) -> None:
    path = changed(FIXTURES["pickle-unsafe"][0]).write(tmp_path / "bad")
    whole = good().write(tmp_path / "made")
    shutil.copy(path / "pytorch_model.bin", whole)
    assert {"pickle-unsafe", "weights-twice"} <= {finding.rule.id for finding in validate(whole).findings}


def test_a_negative_pad_id_counts_from_the_end_as_torch_does(tmp_path: Path) -> None:
    def found(pad: int) -> bool:
        path = changed((config(pad_token_id=pad),)).write(tmp_path / str(pad))
        return "special-ids" in {finding.rule.id for finding in validate(path).findings}

    assert not found(-1) and found(-1000)


@pytest.mark.parametrize("count", [10**5, 10**9, 10**30, 1e12])
@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_a_number_of_layers_without_measure_is_a_finding(kind: str, count: float, tmp_path: Path) -> None:
    windows = {"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 10**9}
    named = {"architectures": [{"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM"}[kind]], "model_type": kind}
    changes = (config(num_hidden_layers=count, **named, **(windows if kind == "qwen2" else {})),)
    report = validate(changed(changes).write(tmp_path / "made"))
    (told,) = [finding.message for finding in report.findings if finding.rule.id == "config-contradiction"]
    assert "num_hidden_layers" in told and "layers" in told


def test_a_link_to_the_outside_beside_the_model_is_told_and_not_read(tmp_path: Path) -> None:
    path = changed((link("more.safetensors", "/etc/hostname"), config(_name="x"))).write(tmp_path / "made")
    assert "link-outside" in {finding.rule.id for finding in validate(path).findings}
