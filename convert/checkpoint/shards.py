"""Which files make up a checkpoint, and the tensors that their headers and the index agree on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from convert.checkpoint.documents import INDEX_LIMIT, read_json
from convert.checkpoint.files import Folder, Missing, OpenFile, Sources, opened
from convert.checkpoint.names import check_shard_name, printed
from convert.checkpoint.reading import same_values
from convert.checkpoint.safetensors import read_header
from convert.checkpoint.stored import Contents, SourceFile, Stored
from convert.checkpoint.torch_file import read_torch_file
from surgery.errors import ConversionError, listed, show

MOST_SHARDS = 10_000


@dataclass(frozen=True)
class Layout:
    """How one kind of checkpoint names its files."""

    suffix: str
    single: str
    numbered: re.Pattern[str]

    @property
    def index(self) -> str:
        return f"{self.single}.index.json"

    def owns(self, name: str) -> bool:
        return name in (self.single, self.index) or self.numbered.fullmatch(name) is not None


def _layout(stem: str, suffix: str) -> Layout:
    return Layout(suffix, stem + suffix, re.compile(rf"{stem}-([0-9]{{5,6}})-of-([0-9]{{5,6}}){re.escape(suffix)}"))


#: what from_pretrained reads, the preferred one first.
MODELS = (_layout("model", ".safetensors"), _layout("pytorch_model", ".bin"))
#: what peft saves.
ADAPTERS = (_layout("adapter_model", ".safetensors"), _layout("adapter_model", ".bin"))

META_SHARD = re.compile(r"consolidated\.([0-9]{2,3})\.pth")
#: Mistral's own form, which it publishes with its params.json beside the files of the other loaders
MISTRAL_FILE = re.compile(r"consolidated(-[0-9]{5,6}-of-[0-9]{5,6})?\.safetensors")
TORCH_SUFFIXES = (".pt", ".pth")

READERS: Mapping[str, Callable[[OpenFile], Contents]] = {
    ".safetensors": read_header,
    ".bin": read_torch_file,
    ".pt": read_torch_file,
    ".pth": read_torch_file,
}


@dataclass(frozen=True)
class Present:
    """The layout that loaders prefer among those in a folder, its files (the index too), and the files of the others."""

    layout: Layout
    files: tuple[str, ...]
    others: tuple[tuple[Layout, tuple[str, ...]], ...] = ()


@dataclass(frozen=True)
class Index:
    """What an index file says: the shard of every tensor, and what it tells about all of them."""

    weight_map: Mapping[str, str]
    metadata: Mapping[str, Any]

    @property
    def shards(self) -> tuple[str, ...]:
        return tuple(sorted(set(self.weight_map.values())))


@dataclass(frozen=True)
class Choice:
    """The weight files to read, in order, and what an index says about them."""

    names: tuple[str, ...]
    index: str | None = None
    weight_map: Mapping[str, str] = field(default_factory=dict)
    total_size: object = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Weights:
    """The tensors of all weight files together."""

    tensors: Mapping[str, Stored]
    files: Mapping[str, SourceFile]
    metadata: Mapping[str, Any]
    warnings: tuple[str, ...]
    indexes: tuple[str, ...] = ()  # files that say which of the others hold what


def present(names: frozenset[str], layouts: tuple[Layout, ...] = MODELS) -> Present | None:
    """The preferred layout among these names, or None when no layout has a file.

    safetensors come before .bin; only loose shards without an index give way to a .bin that is complete by its name.
    """
    found = [(layout, owned) for layout in layouts if (owned := tuple(sorted(filter(layout.owns, names))))]
    if not found:
        return None
    found.sort(key=lambda item: not {item[0].single, item[0].index} & names)
    (layout, files), *others = found
    return Present(layout, files, tuple(others))


def read_index(folder: Folder, layout: Layout) -> Index:
    """The index of a layout, whose weight_map must give every tensor a file name."""
    index = read_json(folder.find(layout.index), INDEX_LIMIT)
    weight_map, metadata = index.get("weight_map"), index.get("metadata")
    if type(weight_map) is not dict or not weight_map:
        raise ConversionError(f"{layout.index} has no weight_map or an empty one; it must map tensors to shards.")
    if wrong := [name for name, shard in weight_map.items() if type(shard) is not str]:
        raise ConversionError(f"{layout.index}: weight_map gives {show(wrong[0])} no file name.")
    return Index(weight_map, metadata if type(metadata) is dict else {})


def choose(folder: Folder, layouts: tuple[Layout, ...] = MODELS) -> Choice | None:
    """The files of the preferred layout that is there, or None when none is."""
    found = present(folder.names, layouts)
    if found is None:
        return None
    layout, files = found.layout, list(found.files)
    choice = _indexed(folder, layout) if layout.index in folder.names else _plain(folder, layout, files)
    notes = list(choice.warnings)
    unlisted = sorted(set(files) - {*choice.names, layout.index})
    if unlisted:
        names = listed(printed(name) for name in unlisted)
        notes.append(f"{layout.index} does not mention {names}: leftover files, unused.")
    for _, owned in found.others:
        ignored = listed(printed(name) for name in owned)
        notes.append(f"{ignored} ignored; the {layout.suffix} files beside are used ({printed(choice.names[0])}).")
    return Choice(choice.names, choice.index, choice.weight_map, choice.total_size, tuple(notes))


def _plain(folder: Folder, layout: Layout, files: list[str]) -> Choice:
    """Without an index: the one file, or numbered shards, which must then be complete."""
    if layout.single in files:
        return Choice((layout.single,))
    counts = {name.rpartition("-of-")[2] for name in files}
    if len(counts) != 1:
        raise ConversionError(
            f"shards of several checkpoints lie together ({listed(files)}) and {layout.index} is missing, so it is "
            f"ambiguous which belong together. Remove the stale ones."
        )
    (count,) = counts
    total, width = int(count.removesuffix(layout.suffix)), len(count) - len(layout.suffix)
    if not 0 < total <= MOST_SHARDS:
        raise ConversionError(f"{printed(files[0])} claims {total:,} shards; 1 to {MOST_SHARDS:,} are allowed.")
    stem = files[0].partition("-")[0]
    wanted = [f"{stem}-{number:0{width}d}-of-{count}" for number in range(1, total + 1)]
    _all_there(folder, wanted, f"the names of the shards promise {total}")
    if extra := set(files) - set(wanted):
        raise ConversionError(f"{listed(sorted(extra))} does not fit the numbering of the {total} shards. Remove it.")
    return Choice(tuple(wanted), warnings=(f"{layout.index} is missing; the shards are taken by their numbers.",))


def _indexed(folder: Folder, layout: Layout) -> Choice:
    index = read_index(folder, layout)
    names = index.shards
    if len(names) > MOST_SHARDS:
        raise ConversionError(f"{layout.index} names {len(names):,} shards; the limit is {MOST_SHARDS:,}.")
    for name in names:
        check_shard_name(name, (layout.suffix,), layout.index)
    _all_there(folder, names, f"{layout.index} names them")
    if layout.single in folder.names and layout.single not in names:
        raise ConversionError(
            f"both {layout.single} and {layout.index}, which names other files, are present: ambiguous which is the "
            f"model, and loaders disagree. Move one of them away."
        )
    return Choice(names, layout.index, index.weight_map, index.metadata.get("total_size"))


def _all_there(folder: Folder, names: Iterable[str], reason: str) -> None:
    missing = sorted(set(names) - folder.names)
    if missing:
        unfinished = next(filter(None, map(folder.unfinished, missing)), "")
        raise Missing(
            f"{len(missing)} shard{'s are' if len(missing) > 1 else ' is'} missing: "
            f"{listed(printed(name) for name in missing)} not found, but {reason}. Download them.{unfinished}"
        )


def read_weights(folder: Folder, choice: Choice, unstored: frozenset[str] = frozenset()) -> Weights:
    """The tensors of the chosen files: each name once, and as the index says; ``unstored`` ones it may list in vain."""
    files = {name: folder.find(name) for name in choice.names}
    tensors: dict[str, Stored] = {}
    again: dict[str, list[Stored]] = {}
    metadata: dict[str, Any] = {}
    warnings = list(choice.warnings)
    for source in files.values():
        contents = read_file(source)
        metadata = {**contents.metadata, **metadata}
        warnings += contents.warnings
        for tensor in contents.tensors.values():
            if tensors.setdefault(tensor.name, tensor) is not tensor:
                again.setdefault(tensor.name, []).append(tensor)
    warnings += _settle_duplicates(tensors, again, files)
    if choice.index is not None:
        warnings += _check_index(choice, tensors, again, unstored)
        warnings += _check_total(choice, tensors)
    return Weights(tensors, files, metadata, tuple(warnings), (choice.index,) if choice.index is not None else ())


def read_file(source: SourceFile) -> Contents:
    """What one weight file holds, by the reader of its suffix."""
    with opened(source) as file:
        return READERS["." + source.name.lower().rpartition(".")[2]](file)


def _settle_duplicates(
    tensors: Mapping[str, Stored], again: Mapping[str, list[Stored]], files: Mapping[str, SourceFile]
) -> list[str]:
    """Accept a tensor that lies in two shards only when both copies are the same, and say so."""
    if not again:
        return []
    with Sources(files) as sources:
        for name, others in again.items():
            for other in others:
                if not same_values(sources, tensors[name], other):
                    raise ConversionError(
                        f"duplicate tensor {show(name)}: both {printed(tensors[name].file)} and {printed(other.file)} "
                        f"hold it, with different values. Remove the wrong copy; loaders would pick one silently."
                    )
    names = listed(show(name) for name in again)
    return [f"{len(again)} duplicate tensor(s) lie in two shards with identical bytes: {names}."]


def _check_index(
    choice: Choice, tensors: Mapping[str, Stored], again: Mapping[str, list[Stored]], unstored: frozenset[str]
) -> list[str]:
    """Refuse when the index and the shards disagree about which tensors there are, and where; notes on what is no damage."""
    unlisted = [name for name in tensors if name not in choice.weight_map]
    missing: list[str] = []
    elsewhere: list[str] = []
    idle: list[str] = []
    for name, shard in choice.weight_map.items():
        if name not in tensors:
            (idle if name in unstored else missing).append(name)
        elif shard not in {tensors[name].file, *(other.file for other in again.get(name, ()))}:
            elsewhere.append(name)
    complaints = [
        f"{len(names)} {what}: {listed(show(name) for name in names)}"
        for names, what in (
            (missing, "listed in the index but missing, not in any shard"),
            (elsewhere, "not in the shard that weight_map names"),
            (unlisted, "in a shard but not listed (unexpected or unlisted; some loaders would skip them)"),
        )
        if names
    ]
    if complaints:
        raise ConversionError(
            f"{choice.index} does not fit its shards. Tensors {'; '.join(complaints)}. The download mixes two versions "
            f"or the index is damaged; download it again, or remove the index if the shards are right."
        )
    said = f"{choice.index} lists {listed(map(show, idle))}, which no shard has: the config ties it to the embeddings."
    return [said] if idle else []


def _check_total(choice: Choice, tensors: Mapping[str, Stored]) -> list[str]:
    actual = sum(tensor.nbytes for tensor in tensors.values())
    if choice.total_size is None or choice.total_size == actual:
        return []
    return [f"{choice.index}: total_size is {show(choice.total_size)}, but the tensors have {actual:,} bytes; ignored."]


def meta_shards(folder: Folder) -> list[str]:
    """Meta's consolidated.NN.pth in order, which must be numbered from 00 without gaps; empty if there are none."""
    found = sorted(name for name in folder.names if META_SHARD.fullmatch(name))
    if found:
        _all_there(folder, (f"consolidated.{number:02d}.pth" for number in range(len(found))), f"{found[-1]} is there")
    return found


def read_meta(folder: Folder, names: list[str]) -> Weights:
    """Meta's files, each of which holds a slice of the same tensors; names become ``<file number>/<name>``."""
    files = {name: folder.find(name) for name in names}
    tensors: dict[str, Stored] = {}
    warnings: list[str] = []
    for number, source in enumerate(files.values()):
        contents = read_file(source)
        warnings += contents.warnings
        for tensor in contents.tensors.values():
            name = f"{number}/{tensor.name}"
            tensors[name] = Stored(name, tensor.file, tensor.dtype, tensor.shape, tensor.strides, tensor.offset)
    return Weights(tensors, files, {}, tuple(warnings))
