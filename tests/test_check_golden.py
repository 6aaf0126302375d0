"""The check of golden folders: every case is in order, and a copy that is spoilt in any way is not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.check_golden import faults, main
from tests.goldens import GOLDEN, Golden, golden, goldens

ROOT = Path(__file__).resolve().parents[1]
Damage = Callable[[Path], object]


@pytest.mark.parametrize("case", goldens(), ids=str)
def test_a_golden_folder_is_in_order(case: Golden):
    assert faults(case.folder) == []


def told(**changes: Any) -> Damage:
    """Fields of provenance.json changed; None takes one out."""

    def spoil(folder: Path) -> None:
        path = folder / "provenance.json"
        found = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({key: value for key, value in found.items() if value is not None}))

    return spoil


def said(**changes: Any) -> Damage:
    """Keys of config.json changed."""

    def spoil(folder: Path) -> None:
        path = folder / "checkpoint" / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return spoil


def computed(change: Callable[[dict[str, torch.Tensor]], object]) -> Damage:
    """What was computed, changed."""

    def spoil(folder: Path) -> None:
        path = folder / "golden.safetensors"
        held = load_file(path)
        change(held)
        save_file({name: tensor.contiguous() for name, tensor in held.items()}, path)

    return spoil


def weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Damage:
    """The first shard of the checkpoint, changed."""

    def spoil(folder: Path) -> None:
        path = sorted((folder / "checkpoint").glob("*.safetensors"))[0]
        held = load_file(path)
        change(held)
        save_file(held, path)

    return spoil


def infinite(name: str) -> Callable[[dict[str, torch.Tensor]], object]:
    return lambda held: held[name].view(-1)[3:4].fill_(float("inf"))


FIRST = "model.embed_tokens.weight"
DAMAGES: dict[str, tuple[Damage, str]] = {
    "no logits": (lambda f: (f / "golden.safetensors").unlink(), "golden.safetensors is missing"),
    "no provenance": (lambda f: (f / "provenance.json").unlink(), "provenance.json is missing"),
    "no checkpoint": (lambda f: shutil.rmtree(f / "checkpoint"), "checkpoint is missing"),
    "no config": (lambda f: (f / "checkpoint" / "config.json").unlink(), "checkpoint: "),
    "provenance cut": (lambda f: (f / "provenance.json").write_text("{"), "provenance.json is no JSON"),
    "logits cut": (lambda f: (f / "golden.safetensors").write_bytes(b"x" * 50), "golden.safetensors cannot be read"),
    "shard gone": (lambda f: min((f / "checkpoint").glob("*.safetensors")).unlink(), "checkpoint: "),
    "shard cut": (
        lambda f: min((f / "checkpoint").glob("*.safetensors")).write_bytes(b"\x10" + bytes(30)), "checkpoint: ",
    ),
    "nobody's code": (told(source={"path": "x", "commit": "y"}), "source.repo is None"),
    "no hash": (told(modeling_file_sha256="abc"), "SHA-256"),
    "no seed": (told(seed="7"), "seed is '7', not int"),
    "no version": (told(transformers=None), "transformers is None"),
    "no convention": (told(hidden_states_convention="the usual"), "says neither 'after the final norm' nor"),
    "nothing tried": (told(sensitivity_max_abs_dlogits={}), "0 mistakes were tried"),
    "a mistake that hides": (
        told(sensitivity_max_abs_dlogits={str(i): 1.0 for i in range(12)} | {"eps": 1e-4}), "'eps' moves the logits by 0.0001",
    ),
    "other type": (told(checkpoint_dtype="bfloat16"), "tensors are F32, provenance.json says bfloat16"),
    "other count": (told(n_tensors=4), "provenance.json says 4"),
    "other depth": (said(num_hidden_layers=2), "the config says 2 layers"),
    "other width": (said(hidden_size=68), "the config says 68 width"),
    "other vocabulary": (said(vocab_size=300), "the config says 300 tokens"),
    "no hidden states": (computed(lambda held: held.pop("hidden_states")), "lacks hidden_states"),
    "half precision": (computed(lambda held: held.update(logits=held["logits"].half())), "logits is torch.float16"),
    "narrow ids": (computed(lambda held: held.update(input_ids=held["input_ids"].int())), "input_ids is torch.int32"),
    "an id too high": (computed(lambda held: held["input_ids"].view(-1)[:1].fill_(999)), "input_ids lie outside"),
    "an id below": (computed(lambda held: held["input_ids"].view(-1)[:1].fill_(-1)), "input_ids lie outside"),
    "infinite logits": (computed(infinite("logits")), "logits is not finite"),
    "infinite states": (computed(infinite("hidden_states")), "hidden_states is not finite"),
    "one sequence": (computed(lambda held: held.update(input_ids=held["input_ids"][:1])), "are not [B, T] and [B, T, V]"),
    "states of others": (
        computed(lambda held: held.update(hidden_states=held["hidden_states"][:, :, :9])), "hidden_states (4, 2, 9, 96) is not",
    ),
    "flat logits": (computed(lambda held: held["logits"].mul_(1e-4)), "hardly differ"),
    "something else": (computed(lambda held: held.update(more=torch.ones(2))), "more is nothing that the format knows"),
    "native of another shape": (
        computed(lambda held: held.update(logits_native=held["logits"][:, :5])), "logits_native is (2, 5, 263)",
    ),
    "an infinite weight": (weights(infinite(FIRST)), f"{FIRST} is not finite"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_spoilt_copy_is_told_by_what_is_wrong(damage: str, tmp_path: Path):
    spoil, words = DAMAGES[damage]
    copy = tmp_path / "llama-gqa"
    shutil.copytree(golden("llama-gqa").folder, copy)
    spoil(copy)
    found = faults(copy)
    assert any(words in fault for fault in found), found


def test_an_adapter_that_cannot_be_read_is_told(tmp_path: Path):
    shutil.copytree(golden("lora-qv-only").folder, tmp_path / "case")
    (adapter,) = (tmp_path / "case" / "checkpoint" / "adapter").glob("adapter_model.*")
    adapter.write_bytes(b"nothing")
    assert any("adapter_model" in fault for fault in faults(tmp_path / "case"))


def test_the_command_prints_every_fault_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    shutil.copytree(golden("llama-gqa").folder, tmp_path / "bad")
    told(seed="7", transformers=None)(tmp_path / "bad")
    assert main([str(tmp_path / "bad"), str(golden("llama-tied").folder)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["bad", "bad", "1 of 2 golden folders are in order"]
    assert main([str(golden("llama-tied").folder)]) == 0


def test_the_command_runs_by_its_name_and_a_folder_that_is_not_there_fails(tmp_path: Path):
    command = [sys.executable, "-m", "tests.check_golden", str(tmp_path / "nowhere")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "nowhere: golden.safetensors is missing" in done.stdout


def test_every_folder_of_the_repository_is_a_case_and_wins_over_its_namesake():
    folders = {path.name for path in GOLDEN.iterdir() if path.is_dir()}
    assert folders <= {case.name for case in goldens()} and len(folders) >= 67
    assert {case.name for case in goldens() if case.folder.parent == GOLDEN} == folders


def test_a_prefix_or_a_name_that_no_case_has_is_an_error():
    with pytest.raises(LookupError, match="no golden case starts with mamba-"):
        goldens("llama-", "mamba-")
    with pytest.raises(LookupError, match="no golden case is called llama-"):
        golden("llama-")
