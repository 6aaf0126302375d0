"""Tiny checkpoints of stock classes with a given config, and what transformers computes from them.

Weights are made once for each class and linked; where the class of a config would have other tensors, they are made for it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.differential import judge
from tests.differential.judge import Unloadable
from tests.differential.native import SIZES, Native, model_of, native
from tests.differential.room import Room

TOKENS = judge.ids(SIZES["vocab_size"])
_LARGEST = 4_000_000  # parameters of a source that is made for a case


@dataclass
class Source:
    """A folder, and its logits once they are asked for."""

    folder: Path
    tokens: Tensor
    shared: str = ""  # whose weights these are, where many sources differ in their config only
    _told: Tensor | str | None = None

    def logits(self) -> Tensor:
        """What transformers computes from it; ``Unloadable`` where it does not."""
        if self._told is None:
            try:
                self._told = judge.logits(self.folder, self.tokens, strict=False)
            except Unloadable as error:
                self._told = str(error)
        if isinstance(self._told, str):
            raise Unloadable(self._told)
        return self._told


def source_of(family: str, name: str, config: Mapping[str, Any], room: Room, *, own: bool = False) -> Source:
    """The checkpoint of a config; the last one is kept, for the next target. ``own``: with weights made for it."""
    made = _made if own else _linked
    return room.last("source", name, lambda: made(family, config, room), lambda old: shutil.rmtree(old.folder))


def _made(family: str, config: Mapping[str, Any], room: Room) -> Source:
    folder = room.fresh(family)
    native(family).make(folder, _read(config))
    write_config(folder, config)
    return Source(folder, TOKENS)


def _linked(family: str, config: Mapping[str, Any], room: Room) -> Source:
    """The weights that all share, under this config, unless its class needs others."""
    base = room.keep(("base", family), lambda: _base(native(family), room))
    if _needs_others(family, config):
        # where the class cannot be made of this config, it is judged over the weights there are
        with suppress(Exception):
            return _made(family, config, room)
    folder = room.fresh(family)
    folder.mkdir()
    for file in base.glob("*.safetensors"):
        os.link(file, folder / file.name)
    write_config(folder, config)
    return Source(folder, TOKENS, shared=family)


def _base(one: Native, room: Room) -> Path:
    folder = room.fresh(f"{one.family} base")
    one.make(folder)
    return folder


def _needs_others(family: str, config: Mapping[str, Any]) -> bool:
    """Whether the class of this config lacks tensors in the weights that all cases share."""
    try:
        with torch.device("meta"):
            names = model_of(_read(config))
    except Exception:
        return False
    if sum(tensor.numel() for tensor in names.parameters()) > _LARGEST:
        return False
    plain = _plain(family)
    shapes = {name: tensor.shape for name, tensor in plain.state_dict().items()}
    return names.config.tie_word_embeddings != plain.config.tie_word_embeddings or any(
        shapes.get(name) != tensor.shape for name, tensor in names.state_dict().items()
    )


@cache
def _plain(family: str) -> Any:
    """The class of the tiny config, without values."""
    with torch.device("meta"):
        return model_of(native(family).config())


def _read(config: Mapping[str, Any]) -> Any:
    return judge.library().AutoConfig.for_model(**config)


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    (folder / "generation_config.json").unlink(missing_ok=True)
