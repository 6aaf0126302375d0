"""Weight files one by one: what each header says, or why it cannot be read. One bad file does not hide the others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from convert.checkpoint.files import Folder
from convert.checkpoint.shards import ADAPTERS, META_SHARD, MODELS, TORCH_SUFFIXES, Layout, read_file
from convert.checkpoint.stored import Contents, SourceFile, Stored
from surgery.errors import ConversionError

#: what a training run leaves behind: it may be saved by torch, but it is no model
TRAINING = re.compile(
    r"(optimizer|scheduler|scaler|rng_state[_\d]*|training_args|trainer_state)\.(pt|pth|bin|json)"
    r"|(zero|bf16_zero)_pp_rank_.*|mp_rank_.*_model_states\.pt|.*_optim_states\.pt|events\.out\.tfevents\..*|wandb"
    r"|global_step\d+|checkpoint-\d+"
)


@dataclass(frozen=True)
class Weights:
    """The weight files of a directory, and what can be read of them."""

    layout: Layout | None  # of the files that loaders prefer; None for Meta's and single files
    names: tuple[str, ...]  # those files, whether or not they can be read
    beside: tuple[str, ...]  # weight files of another layout, which loaders ignore
    files: Mapping[str, SourceFile]
    contents: Mapping[str, Contents]
    faults: Mapping[str, ConversionError]
    kind: str = "model"  # model, adapter, meta or single

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
        return bool(self.names) and not self.faults


def read_weights(folder: Folder) -> Weights:
    """The headers of all weight files in a folder."""
    loose = frozenset(name for name in folder.names if not name.startswith(".") and not TRAINING.fullmatch(name))
    kind, layout, names = _preferred(loose)
    beside = tuple(
        name for other in (*MODELS, *ADAPTERS) if other is not layout for name in sorted(loose)
        if other.owns(name) and name not in names and name != other.index
    )  # fmt: skip
    files: dict[str, SourceFile] = {}
    contents: dict[str, Contents] = {}
    faults: dict[str, ConversionError] = {}
    for name in names:
        try:
            files[name] = folder.find(name)
            contents[name] = read_file(files[name])
        except ConversionError as fault:
            faults[name] = fault
    return Weights(layout, names, beside, files, contents, faults, kind)


def _preferred(loose: frozenset[str]) -> tuple[str, Layout | None, tuple[str, ...]]:
    """The kind of repository, its layout and its weight files, in the order in which loaders prefer them."""
    for kind, layouts in (("model", MODELS), ("adapter", ADAPTERS)):
        if kind == "model" and "adapter_config.json" in loose and "config.json" not in loose:
            continue
        for layout in layouts:
            owned = [name for name in loose if layout.owns(name) and name != layout.index]
            if owned or layout.index in loose:
                odd = [
                    n
                    for n in loose
                    if layout.suffix == ".safetensors" and n.endswith(layout.suffix) and kind == "model"
                ]
                return kind, layout, tuple(sorted({*owned, *odd}))
    if odd := sorted(name for name in loose if name.endswith(".safetensors")):
        return "model", MODELS[0], tuple(odd)
    if meta := sorted(name for name in loose if META_SHARD.fullmatch(name)):
        return "meta", None, tuple(meta)
    single = sorted(name for name in loose if name.endswith(TORCH_SUFFIXES))
    return "single", None, tuple(single[:1]) if len(single) == 1 and "config.json" not in loose else ()


@dataclass(frozen=True)
class Index:
    """What an index file says, as far as it can be understood."""

    name: str
    weight_map: Mapping[str, str]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    fault: str = ""
