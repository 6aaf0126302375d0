"""From a path or a Hub id to a `Checkpoint`: headers, config and the list of documents. No weights are read."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from convert.checkpoint.documents import find_documents, legal_below, read_json
from convert.checkpoint.files import Folder, Missing, list_folder
from convert.checkpoint.hub import fetch, find_snapshot, parse_identifier
from convert.checkpoint.names import printed
from convert.checkpoint.shards import (
    ADAPTERS,
    MODELS,
    TORCH_SUFFIXES,
    Weights,
    choose,
    meta_shards,
    read_file,
    read_meta,
    read_weights,
)
from convert.checkpoint.stored import Checkpoint, SourceFile
from convert.given import place
from mappings.tying import tied_heads
from surgery.errors import UsageError, listed, show

_OTHER_FORMATS = (".gguf", ".h5", ".msgpack", ".onnx", ".ot", ".nemo", ".ckpt", ".npz", ".distcp", ".tar")
_OTHER_WEIGHTS = (*_OTHER_FORMATS, *TORCH_SUFFIXES, ".safetensors", ".bin")
_CODE = (".py", ".pyc", ".so", ".sh", ".cpp", ".cu", ".incomplete", ".part")
_OURS = frozenset({"config.json", "params.json", "adapter_config.json", "weightsmith.json"})


def open_checkpoint(source: str | Path, *, revision: str | None = None) -> Checkpoint:
    """The checkpoint at a directory, hub-cache snapshot or single ``.pt`` file, or of a Hub id ``org/name[@revision]``.

    A local path wins over a Hub id. Raises UnsafeInput where reading on would run code or leave the directory,
    ConversionError for anything damaged, missing or ambiguous.
    """
    return _open(source, revision, _read_model)


def open_adapter(source: str | Path, *, revision: str | None = None) -> Checkpoint:
    """Like `open_checkpoint`, for what peft saves: adapter_config.json and adapter_model.safetensors or .bin."""
    return _open(source, revision, _read_adapter)


_Reader = Callable[[Path], Checkpoint]


def _open(source: str | Path, revision: str | None, read: _Reader) -> Checkpoint:
    path = place(source)
    repository = parse_identifier(str(source), revision) if isinstance(source, str) else None
    if os.path.lexists(path):
        if revision is not None:
            raise UsageError(f"{show(str(path))} is a local path, which has no revision. Drop {show(revision)}.")
        found = read(path)
        if repository is None:
            return found
        note = f"{show(str(source))} exists here and was used; a Hub repository of that name was not looked for."
        return replace(found, warnings=(note, *found.warnings))
    if repository is None:
        raise UsageError(f"{show(str(source))} does not exist here and is no Hub id of the form org/name[@revision].")
    snapshot = find_snapshot(repository)
    try:
        if snapshot is not None:
            return read(snapshot)
    except Missing as error:
        return read(fetch(repository, error))
    return read(fetch(repository))


def _read_model(path: Path) -> Checkpoint:
    if path.is_file() and path.suffix in TORCH_SUFFIXES:
        real = path.resolve()
        return _read_single(list_folder(real.parent), real.name, documents={})
    folder = list_folder(path)
    if (choice := choose(folder)) is not None:
        return _assembled(folder, "config.json", lambda config: read_weights(folder, choice, tied_heads(config)))
    if shards := meta_shards(folder):
        return _assembled(folder, "params.json", lambda config: read_meta(folder, shards))
    single = [name for name in sorted(folder.names) if name.endswith(TORCH_SUFFIXES) and not name.startswith(".")]
    if len(single) == 1 and "config.json" not in folder.names:
        return _read_single(folder, single[0], find_documents(folder))
    raise _no_weights(folder, [layout.single for layout in MODELS])


def _read_adapter(path: Path) -> Checkpoint:
    folder = list_folder(path)
    choice = choose(folder, ADAPTERS)
    if choice is None:
        raise _no_weights(folder, [layout.single for layout in ADAPTERS])
    return _assembled(folder, "adapter_config.json", lambda config: read_weights(folder, choice))


def _assembled(folder: Folder, config_name: str, read: Callable[[Mapping[str, Any]], Weights]) -> Checkpoint:
    found = folder.find(config_name)
    config = read_json(found)
    documents = find_documents(folder)
    weights = read(config)
    used = {config_name, *documents, *weights.indexes, *(file.name for file in weights.files.values())}
    return Checkpoint(
        path=folder.path,
        config=config,
        tensors=weights.tensors,
        files=weights.files,
        documents=documents,
        warnings=(*weights.warnings, *_code_left_alone(folder, config, config_name), *_left_behind(folder, used)),
        config_name=config_name,
        metadata=weights.metadata,
        repository=folder.repository,
        read=(found, *(folder.find(name) for name in weights.indexes)),
    )


def _read_single(folder: Folder, name: str, documents: Mapping[str, SourceFile]) -> Checkpoint:
    """One file of torch.save that holds everything, as nanoGPT writes it: its plain values are the config."""
    source = folder.find(name)
    contents = read_file(source)
    return Checkpoint(
        path=folder.path,
        config=contents.metadata,
        tensors=contents.tensors,
        files={name: source},
        documents=documents,
        warnings=contents.warnings,
        config_name=name,
        repository=folder.repository,
    )


def _code_left_alone(folder: Folder, config: Mapping[str, Any], config_name: str) -> list[str]:
    reasons = [f"auto_map in {config_name}"] if "auto_map" in config else []
    reasons += sorted(printed(name) for name in folder.names if name.endswith(".py"))
    return [f"remote code is not run and not copied ({listed(reasons)})."] if reasons else []


def _left_behind(folder: Folder, used: Container[str]) -> list[str]:
    """Files that nobody here knows, by name: one of them may be a licence that is called like none."""
    known = (*_OTHER_WEIGHTS, *_CODE, ".index.json")
    names = [name for name in sorted(folder.names) if name not in used and not name.startswith(".")]
    left = [name for name in names if name not in _OURS and not name.lower().endswith(known) and (folder.path / name).is_file()]
    left += legal_below(folder)
    if not left:
        return []
    one = len(left) == 1
    return [
        f"{listed(map(printed, left), 8)} {'is' if one else 'are'} not carried over: no weights, and not known as part of the "
        f"tokenizer, the configuration or a licence. Copy {'it' if one else 'them'} if the model or its licence needs "
        f"{'it' if one else 'them'}."
    ]


def _no_weights(folder: Folder, wanted: list[str]) -> Missing:
    others = sorted(printed(name) for name in folder.names if name.endswith(_OTHER_WEIGHTS))
    found = f" It has {listed(others)}, in a format or under a name not supported here." if others else ""
    return Missing(
        f"no weight files found in {show(str(folder.path))}: {' or '.join(wanted)} (or their shards) is missing.{found}"
        f"{folder.unfinished(wanted[0])} Pass a directory that holds config.json and the weights, or a single .pt file."
    )
