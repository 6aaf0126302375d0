"""Small checkpoints with random weights for what a family's config may say: what no golden case happens to say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from mappings.config import write_config
from mappings.family import Family
from mappings.rows import rows_of
from mappings.slots import slots
from surgery.facts import Facts


def filled(family: Family, facts: Facts, folder: Path, seed: int = 0, dtype: torch.dtype = torch.float32) -> Path:
    """A checkpoint of the family that states these facts, in the container that its releases have."""
    found = list(slots(tuple(rows_of(family, facts)), facts, facts.sizes()))
    generator = torch.Generator().manual_seed(seed)
    held: dict[str, torch.Tensor] = {}
    once: dict[tuple[str, ...], torch.Tensor] = {}  # by what it is: one matrix may be stored under two names
    for slot, name, roles in found:
        shape = slot.shape
        if roles in once:
            held[name] = once[roles]
            continue
        values = torch.randn(shape, generator=generator) * 0.2
        if len(shape) == 1 and "norm" in name.lower().replace("ln", "norm") and name.endswith("weight"):
            values += 1.0
        once[roles] = held[name] = values.to(dtype)
    return kept(family, write_config(family, facts), held, folder)


def kept(family: Family, config: Mapping[str, Any], held: Mapping[str, torch.Tensor], folder: Path) -> Path:
    """Tensors and config on disk, as this family's releases keep them."""
    folder.mkdir(parents=True)
    if family.stored == "ckpt":
        held = {**held, "lm_head.weight": held["transformer.wte.weight"]}
        torch.save({"model": dict(held), "model_args": dict(config)}, folder / "ckpt.pt")
        return folder
    if family.stored == "consolidated":
        (folder / "params.json").write_text(json.dumps(dict(config)))
        torch.save(dict(held), folder / "consolidated.00.pth")
        return folder
    (folder / "config.json").write_text(json.dumps(dict(config)))
    save_file(dict(held), folder / "model.safetensors", metadata={"format": "pt"})
    return folder
