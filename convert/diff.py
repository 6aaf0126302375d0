"""What differs between two checkpoints: tensors by header and by bytes, config keys, documents."""

from __future__ import annotations

import hashlib
from typing import Any

from convert.checkpoint import Checkpoint, open_sources
from convert.checkpoint.reading import same_values
from surgery.errors import show


def diff(one: Checkpoint, other: Checkpoint, *, values: bool = True) -> dict[str, Any]:
    """Names, shapes, types and (unless told not to) values; config keys; documents by their bytes."""
    shared = [name for name in one.tensors if name in other.tensors]
    shapes = {
        n: [list(one.tensors[n].shape), list(other.tensors[n].shape)]
        for n in shared
        if one.tensors[n].shape != other.tensors[n].shape
    }
    dtypes = {
        n: [one.tensors[n].dtype, other.tensors[n].dtype]
        for n in shared
        if one.tensors[n].dtype != other.tensors[n].dtype
    }
    alike = [n for n in shared if n not in shapes and n not in dtypes]
    differing: list[str] = []
    if values:
        differing = _differing(one, other, alike)
    keys = sorted(one.config.keys() | other.config.keys())
    absent = object()
    config = {
        k: [one.config.get(k, "(absent)"), other.config.get(k, "(absent)")]
        for k in keys
        if one.config.get(k, absent) != other.config.get(k, absent)
    }
    documents = {
        name: [name in one.documents, name in other.documents]
        for name in sorted(one.documents.keys() | other.documents.keys())
        if _digest(one, name) != _digest(other, name)
    }
    return {
        "only_first": sorted(one.tensors.keys() - other.tensors.keys()),
        "only_second": sorted(other.tensors.keys() - one.tensors.keys()),
        "shapes": shapes,
        "dtypes": dtypes,
        "values": differing,
        "values_compared": len(alike) if values else 0,
        "config": config,
        "documents": documents,
    }


def diff_text(found: dict[str, Any]) -> str:
    """The same for a person; empty lists are not mentioned."""
    lines = [f"only in the first   {show(n)}" for n in found["only_first"]]
    lines += [f"only in the second  {show(n)}" for n in found["only_second"]]
    lines += [f"shape               {show(n)}: {a} against {b}" for n, (a, b) in found["shapes"].items()]
    lines += [f"type                {show(n)}: {a} against {b}" for n, (a, b) in found["dtypes"].items()]
    lines += [f"values              {show(n)}" for n in found["values"]]
    lines += [f"config              {show(k)}: {show(a)} against {show(b)}" for k, (a, b) in found["config"].items()]
    lines += [
        f"document            {show(n)}{' differs' if a and b else ' only in one'}"
        for n, (a, b) in found["documents"].items()
    ]
    lines.append(f"{found['values_compared']} tensors compared byte for byte, {len(found['values'])} differ")
    return "\n".join(lines)


def _differing(one: Checkpoint, other: Checkpoint, names: list[str]) -> list[str]:
    from convert.checkpoint.reading import read_tensor

    with open_sources(one) as first, open_sources(other) as second:
        if one.path == other.path:
            return [n for n in names if not same_values(first, one.tensors[n], other.tensors[n])]
        return [n for n in names if read_tensor(first, one.tensors[n]) != read_tensor(second, other.tensors[n])]


def _digest(checkpoint: Checkpoint, name: str) -> str:
    if name not in checkpoint.documents:
        return ""
    with open(checkpoint.documents[name].path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
