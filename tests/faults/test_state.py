"""The judge of OUT: what is half there, what is whole and other, and what does not belong."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from tests.faults.state import ABSENT, COMPLETE, state, tree


def shard(path: Path, *names: str) -> None:
    entries = {name: {"dtype": "U8", "shape": [4], "data_offsets": [4 * at, 4 * at + 4]} for at, name in enumerate(names)}
    header = json.dumps(entries).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4 * len(names)))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A checkpoint of two shards."""
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    shard(folder / "one.safetensors", "a", "b")
    shard(folder / "two.safetensors", "c")
    where = {"a": "one.safetensors", "b": "one.safetensors", "c": "two.safetensors"}
    index = {"metadata": {"total_size": 12}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


@pytest.fixture
def delta(tmp_path: Path) -> Path:
    """A lossless delta: no config, no safetensors."""
    folder = tmp_path / "delta"
    folder.mkdir()
    files = [{"tensors": [{"frames": [[0, 5], [5, 2]]}, {"frames": [[7, 3]]}]}]
    (folder / "delta.json").write_text(json.dumps({"files": files, "documents": ["LICENSE"]}))
    (folder / "delta.zst").write_bytes(bytes(10))
    (folder / "LICENSE").write_text("free")
    return folder


def test_nothing_is_absent_and_a_dangling_link_is_not_nothing(tmp_path: Path):
    assert state(tmp_path / "out") == ABSENT
    (tmp_path / "out").symlink_to(tmp_path / "nowhere")
    assert state(tmp_path / "out").word == "partial"


def test_a_checkpoint_and_a_lossless_delta_are_complete(out: Path, delta: Path):
    for folder in (out, delta):
        assert state(folder) == COMPLETE
        assert state(folder, tree(folder)) == COMPLETE


def test_a_checkpoint_of_one_file_needs_no_index(out: Path):
    for name in ("model.safetensors.index.json", "two.safetensors"):
        (out / name).unlink()
    assert "FileNotFoundError" in state(out).why
    (out / "one.safetensors").rename(out / "model.safetensors")
    assert state(out) == COMPLETE


@pytest.mark.parametrize("name", ["config.json", "one.safetensors", "two.safetensors"])
@pytest.mark.parametrize("harm", ["missing", "empty", "cut", "longer"])
def test_a_file_that_is_missing_cut_or_too_long_leaves_it_partial(name: str, harm: str, out: Path):
    content = (out / name).read_bytes()
    (out / name).unlink()
    if harm != "missing":
        (out / name).write_bytes({"empty": b"", "cut": content[:-1], "longer": content + b"}"}[harm])
    assert state(out).word == "partial"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"metadata": {"total_size": 13}}, "total_size is 13, not 12"),
        ({"weight_map": {"a": "one.safetensors", "c": "two.safetensors"}}, "its tensors are not those of the index"),
        ({"weight_map": {"a": "../x.safetensors"}}, "FileNotFoundError"),
        ({"weight_map": ["a"]}, "AttributeError"),
    ],
)
def test_an_index_that_does_not_fit_its_files_leaves_it_partial(change: dict[str, object], why: str, out: Path):
    index = out / "model.safetensors.index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | change))
    assert state(out).word == "partial" and why in state(out).why


def test_a_delta_without_its_data_or_a_document_is_partial(delta: Path):
    (delta / "delta.zst").write_bytes(bytes(9))
    assert state(delta).why == "delta.zst has 9 bytes, and 10 by delta.json"
    (delta / "delta.zst").write_bytes(bytes(10))
    (delta / "LICENSE").unlink()
    assert state(delta).why == "LICENSE is listed and not there"


def test_a_file_in_the_place_of_the_folder_is_partial(tmp_path: Path):
    (tmp_path / "out").write_text("")
    assert state(tmp_path / "out").why == "not a directory"


def test_what_a_run_without_faults_does_not_write_is_told_as_foreign_missing_or_other(out: Path):
    reference = tree(out)
    (out / "one.safetensors.tmp.12.0a1b2c3d").write_bytes(b"a stranger's")
    assert str(state(out, reference)) == "differs (foreign: one.safetensors.tmp.12.0a1b2c3d)"
    assert state(out) == COMPLETE
    (out / "config.json").write_text("{ }")
    assert state(out, reference).why.endswith("other bytes: config.json")
    assert state(out, {**reference, "LICENSE": "0"}).why.count("missing: LICENSE") == 1


def test_a_link_in_the_place_of_a_file_differs_whatever_it_leads_to(out: Path, tmp_path: Path):
    reference = tree(out)
    (out / "config.json").rename(tmp_path / "elsewhere")
    (out / "config.json").symlink_to(tmp_path / "elsewhere")
    assert state(out, reference).word == "differs"
