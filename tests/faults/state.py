"""The one rule about what lies under OUT: nothing, or everything that a run without faults writes."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Tree = Mapping[str, str]  # of a folder: what each file in it hashes to, by its relative name
_INDEX = "model.safetensors.index.json"
_MOST = 100_000_000  # bytes of a header


@dataclass(frozen=True)
class State:
    """What lies under a name. ``differs``: a whole checkpoint, but not the files of the run it is compared with."""

    word: Literal["absent", "complete", "partial", "differs"]
    why: str = ""

    def __str__(self) -> str:
        return f"{self.word} ({self.why})" if self.why else self.word


ABSENT, COMPLETE = State("absent"), State("complete")


def tree(folder: Path) -> Tree:
    """Every file below a folder with its hash; what is no regular file by what it is."""
    found = {}
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root, name)
            found[str(path.relative_to(folder))] = _hash(path)
    return found


def _hash(path: Path) -> str:
    if path.is_symlink():
        return f"a link to {os.readlink(path)}"
    if not path.is_file():
        return "no regular file"
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def state(out: Path, reference: Tree | None = None) -> State:
    """What lies under ``out``: read by this module alone, and compared with the files of a run without faults."""
    if not os.path.lexists(out):
        return ABSENT
    if not out.is_dir():
        return State("partial", "not a directory")
    try:
        wrong = _delta_fault(out) if (out / "delta.json").exists() else _checkpoint_fault(out)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, struct.error) as error:
        wrong = f"{type(error).__name__}: {str(error)[:80]}"
    if wrong:
        return State("partial", wrong)
    differing = _differing(tree(out), reference) if reference is not None else ""
    return State("differs", differing) if differing else COMPLETE


def _differing(found: Tree, reference: Tree) -> str:
    kinds = {
        "foreign": found.keys() - reference.keys(),
        "missing": reference.keys() - found.keys(),
        "other bytes": {name for name in found.keys() & reference.keys() if found[name] != reference[name]},
    }
    return "; ".join(f"{kind}: {', '.join(sorted(names)[:3])}" for kind, names in kinds.items() if names)


def _checkpoint_fault(out: Path) -> str:
    """What a checkpoint lacks: a config, every file of the index with exactly its tensors, the size that the index gives."""
    json.loads((out / "config.json").read_bytes())
    if not (out / _INDEX).exists():
        _header(out / "model.safetensors")
        return ""
    index = json.loads((out / _INDEX).read_bytes())
    expected: dict[str, set[str]] = {}
    for tensor, file in index["weight_map"].items():
        expected.setdefault(file, set()).add(tensor)
    total = 0
    for file, names in expected.items():
        found, nbytes = _header(out / file)
        total += nbytes
        if found != names:
            return f"{file}: its tensors are not those of the index"
    told = index.get("metadata", {}).get("total_size", total)
    return "" if told == total else f"total_size is {told}, not {total}"


def _header(path: Path) -> tuple[set[str], int]:
    """The tensors of a safetensors file and how many bytes they have; the file ends where they do."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        (count,) = struct.unpack("<Q", file.read(8))
        if count > min(_MOST, size - 8):
            raise ValueError(f"{path.name}: a header of {count} bytes in {size}")
        entries = json.loads(file.read(count))
    entries.pop("__metadata__", None)
    end = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    if 8 + count + end != size:
        raise ValueError(f"{path.name}: {size} bytes, and {8 + count + end} by its header")
    return set(entries), end


def _delta_fault(out: Path) -> str:
    """What a lossless delta lacks: every document that it lists, and frames that fill its data from first to last."""
    told = json.loads((out / "delta.json").read_bytes())
    missing = [name for name in told["documents"] if not (out / name).is_file()]
    if missing:
        return f"{missing[0]} is listed and not there"
    frames = sorted(frame for file in told["files"] for tensor in file["tensors"] for frame in tensor["frames"])
    at = 0
    for begin, count in frames:
        if begin != at:
            return f"a frame begins at {begin} where the one before ends at {at}"
        at += count
    size = (out / "delta.zst").stat().st_size
    return "" if size == at else f"delta.zst has {size} bytes, and {at} by delta.json"
