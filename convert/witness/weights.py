"""Random weights that a mistake cannot hide in: norms and biases that matter, embeddings so small that eps shows."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mappings.family import Family
from mappings.rows import rows_of
from mappings.slots import Slot, slots
from surgery.errors import ConversionError
from surgery.facts import Facts
from surgery.passes.zero_biases import BIASED
from surgery.roles import role

_MOST = 120_000_000  # elements of a miniature
#: tokens take turns at being so large: the norm of a small one is mostly its eps
_SCALES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)


def random_weights(family: Family, facts: Facts, *, idle: Collection[str] = (), tied: bool = False) -> dict[str, Tensor]:
    """A value for every tensor that the family's files hold, by name, float32.

    ``idle`` are bias facts whose tensors are zeros; ``tied`` gives the output projection the embeddings' values.
    """
    random = torch.Generator().manual_seed(20231)
    zero = {f"layer.{{layer}}.{name}.bias" for fact in idle for name in BIASED[fact]}
    sizes = facts.sizes()
    tensors: dict[str, Tensor] = {}
    held: dict[str, Tensor] = {}
    total = 0
    for slot, name, roles in slots(tuple(rows_of(family, facts)), facts, sizes):
        if (total := total + math.prod(slot.shape)) > _MOST:
            raise ConversionError(f"even its miniature has more than {_MOST:,} weights")
        template = slot.row.roles.split()[0]
        if roles[0] in held:  # one tensor under two names
            tensors[name] = held[roles[0]]
            continue
        value = torch.zeros(slot.shape) if template in zero else _random(slot, template, facts, random)
        held[roles[0]] = tensors[name] = value.contiguous()
    if tied and {"embed", "head"} <= held.keys():
        held["head"].copy_(held["embed"])
    return tensors


def _random(slot: Slot, template: str, facts: Facts, random: torch.Generator) -> Tensor:
    noise = torch.randn(slot.shape, generator=random)
    last = template.rpartition(".")[2]
    if last == "bias":
        return 0.3 * noise
    if len(slot.shape) == 1 and "norm" in last:
        offset: float = facts["norm.offset"]
        return 1.0 - offset + 0.2 * noise
    if template == "embed":
        scales = torch.tensor(_SCALES)[torch.arange(slot.shape[0]) % len(_SCALES)]
        return noise * scales[:, None]
    if last == "router_shift":
        return 0.05 * noise
    over = role(template).over or role(template).axes
    inputs = math.prod(facts.sizes().get(axis, 1) for axis in over)
    return noise * (1.5 / math.sqrt(inputs))


def store(folder: Path, tensors: Mapping[str, Tensor], config: Mapping[str, Any], stored: str) -> None:
    """Write a checkpoint in the way that a family's files are kept."""
    folder.mkdir()
    if stored == "consolidated":
        torch.save(dict(tensors), folder / "consolidated.00.pth")
        (folder / "params.json").write_text(json.dumps(config))
    elif stored == "ckpt":
        torch.save({**config, "model": dict(tensors)}, folder / "ckpt.pt")
    else:
        from safetensors.torch import save_file

        save_file({name: tensor.clone() for name, tensor in tensors.items()}, folder / "model.safetensors", {"format": "pt"})
        (folder / "config.json").write_text(json.dumps(config))
