"""Weight files one by one: what each header says, or why it cannot be read. One bad file does not hide the others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from convert.checkpoint.files import Folder
from convert.checkpoint.shards import (
    ADAPTERS,
    META_SHARD,
    MODELS,
    TORCH_SUFFIXES,
    Layout,
    present,
    read_file,
    read_index,
)
from convert.checkpoint.stored import Contents, SourceFile, Stored
from surgery.errors import ConversionError

#: what a training run leaves behind: it may be saved by torch, but it is no model
TRAINING = re.compile(
    r"(optimizer|scheduler|scaler|rng_state[_\d]*|training_args|trainer_state)\.(pt|pth|bin|json)"
    r"|(zero|bf16_zero)_pp_rank_.*|mp_rank_.*_model_states\.pt|.*_optim_states\.pt|events\.out\.tfevents\..*|wandb"
    r"|global_step\d+|checkpoint-\d+"
)


@dataclass(frozen=True)
class Index:
    """What an index file says, as far as it can be understood."""

    name: str
    weight_map: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    fault: str = ""


@dataclass(frozen=True)
class Weights:
    """The weight files of a directory, and what can be read of them."""

    layout: Layout | None  # of the files that loaders prefer; None for Meta's and single files
    index: Index | None
    names: tuple[str, ...]  # the files that loaders read, whether or not they can be read
    unread: tuple[str, ...]  # further files of that format, which the index does not name or loaders do not look for
    beside: tuple[str, ...]  # weight files of another format, which loaders ignore
    adapters: tuple[str, ...]  # files of an adapter beside a model
    files: Mapping[str, SourceFile]  # those read and unread
    contents: Mapping[str, Contents]
    faults: Mapping[str, ConversionError]  # of all files, also of those that loaders ignore
    kind: str = "model"  # model, adapter, meta or single

    @property
    def loaded(self) -> Mapping[str, Contents]:
        """The contents of the files that loaders read."""
        return {name: self.contents[name] for name in self.names if name in self.contents}

    @cached_property
    def tensors(self) -> Mapping[str, Stored]:
        """Every tensor by the name that the family tables use; of two of one name, the first."""
        found: dict[str, Stored] = {}
        for number, name in enumerate(self.names):
            if (contents := self.contents.get(name)) is None:
                continue
            for tensor in contents.tensors.values():
                if self.kind == "meta":
                    tensor = replace(tensor, name=f"{number}/{tensor.name}")
                found.setdefault(tensor.name, tensor)
        return found

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What single files of torch.save say beside their tensors."""
        return next(iter(self.contents.values())).metadata if self.contents else {}

    @property
    def complete(self) -> bool:
        """Whether every header could be read, so that what is absent is known to be absent."""
        return bool(self.names) and not any(name in self.faults for name in self.names)


def read_weights(folder: Folder) -> Weights:
    """The headers of all weight files in a folder, of which ``checkpoint.shards`` says which are the model's."""
    found = _found(folder)
    files: dict[str, SourceFile] = {}
    contents: dict[str, Contents] = {}
    faults: dict[str, ConversionError] = {}
    for name in (*found.names, *found.unread, *found.beside, *found.adapters):
        try:
            source = folder.find(name)
            if name in found.names or name in found.unread:
                files[name], contents[name] = source, read_file(source)
            else:
                read_file(source)
        except ConversionError as fault:
            faults[name] = fault
    return replace(found, files=files, contents=contents, faults=faults)


def _found(folder: Folder) -> Weights:
    """The kind of repository, its layout and its weight files, not yet read."""
    loose = frozenset(name for name in folder.names if not name.startswith(".") and not TRAINING.fullmatch(name))
    adapters = tuple(sorted(name for name in loose if any(layout.owns(name) for layout in ADAPTERS)))
    alone = "adapter_config.json" in loose and "config.json" not in loose
    model = None if alone else present(loose, MODELS)
    if (there := model or present(loose, ADAPTERS)) is not None:
        layout = there.layout
        index = _index(folder, layout) if layout.index in loose else None
        owned = [name for name in there.files if name != layout.index]
        names = sorted(loose.intersection(index.weight_map.values())) if index and index.weight_map else owned
        if index is None and layout.single in owned:
            names = [layout.single]
        kept = {*names, *(adapters if model else ())}
        unread = sorted(name for name in loose if name.endswith(layout.suffix) and name not in kept)
        beside = tuple(name for other, files in there.others for name in files if name != other.index)
        return _unread_yet(
            layout, index, names, unread if layout.suffix == ".safetensors" else [n for n in unread if layout.owns(n)],
            beside, adapters if model else (), "model" if model else "adapter",
        )  # fmt: skip
    if odd := sorted(name for name in loose if name.endswith(".safetensors")):
        return _unread_yet(MODELS[0], None, odd)
    if meta := sorted(name for name in loose if META_SHARD.fullmatch(name)):
        return _unread_yet(None, None, meta, kind="meta")
    single = sorted(name for name in loose if name.endswith(TORCH_SUFFIXES))
    alone = len(single) == 1 and "config.json" not in loose
    return _unread_yet(None, None, single if alone else (), kind="single")


def _unread_yet(
    layout: Layout | None, index: Index | None, names: Iterable[str], unread: Iterable[str] = (),
    beside: Iterable[str] = (), adapters: Iterable[str] = (), kind: str = "model",
) -> Weights:  # fmt: skip
    """Weight files of which only the names are known."""
    return Weights(layout, index, tuple(names), tuple(unread), tuple(beside), tuple(adapters), {}, {}, {}, kind)


def _index(folder: Folder, layout: Layout) -> Index:
    try:
        index = read_index(folder, layout)
    except ConversionError as fault:
        return Index(layout.index, fault=str(fault))
    return Index(layout.index, index.weight_map, index.metadata)
