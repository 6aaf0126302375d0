"""How each kind of checkpoint is kept on disk: which files its tensors go to, and what states the configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from convert.planning import OutputFile, document, index, lay_out
from convert.torch_out import torch_file
from mappings.family import Stored
from mappings.rows import Target
from surgery.dtypes import FLOATS

Files = tuple[OutputFile, ...]


@dataclass(frozen=True)
class Container:
    """One way to keep a checkpoint; ``documents`` gets the files, the configuration and the main element type."""

    files: Callable[[Iterable[Target], Mapping[str, Any], int], Files]
    documents: Callable[[Files, Mapping[str, Any], str], dict[str, bytes]]
    hub: bool = False  # whether the Hub's libraries read it, and so the documents that belong to them


def _hub_files(targets: Iterable[Target], config: Mapping[str, Any], max_shard_size: int) -> Files:
    return lay_out(targets, max_shard_size)


def _hub_documents(files: Files, config: Mapping[str, Any], dtype: str) -> dict[str, bytes]:
    typed = {**config, "torch_dtype": FLOATS[dtype], "dtype": FLOATS[dtype]} if dtype in FLOATS else config
    table = index(files)
    return {"config.json": document(typed), **({"model.safetensors.index.json": table} if table is not None else {})}


def _consolidated(targets: Iterable[Target], config: Mapping[str, Any], max_shard_size: int) -> Files:
    """Meta's files: targets are named ``<file number>/<name>``."""
    held: dict[int, list[tuple[str, Target]]] = {}
    for target in targets:
        number, _, name = target.name.partition("/")
        held.setdefault(int(number), []).append((name, target))
    return tuple(torch_file(f"consolidated.{number:02d}.pth", tensors) for number, tensors in sorted(held.items()))


def _ckpt(targets: Iterable[Target], config: Mapping[str, Any], max_shard_size: int) -> Files:
    """nanoGPT's one file: the state dict beside the arguments of its model."""
    state = [(target.name, target) for target in targets]
    return (torch_file("ckpt.pt", state, wrapped="model", model_args=dict(config)),)


CONTAINERS: dict[Stored, Container] = {
    "safetensors": Container(_hub_files, _hub_documents, hub=True),
    "consolidated": Container(_consolidated, lambda files, config, dtype: {"params.json": document(config)}),
    "ckpt": Container(_ckpt, lambda files, config, dtype: {}),
}
