"""Small changes to a repository, by which fixtures say what they are."""

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.validate.repository import INDEX, SHARDS, Change, Repository, adapter

ABSENT = object()


def nothing(made: Repository) -> None:
    """The good repository as it is."""


def config(**keys: Any) -> Change:
    return _table("config", keys)


def generation(**keys: Any) -> Change:
    return _table("generation", keys)


def settings(**keys: Any) -> Change:
    return _table("settings", keys)


def card(**keys: Any) -> Change:
    return _table("card", keys)


def _table(which: str, keys: dict[str, Any]) -> Change:
    def change(made: Repository) -> None:
        table = getattr(made, which)
        table.update(keys)
        for key in [key for key, value in keys.items() if value is ABSENT]:
            del table[key]

    return change


def file(name: str, content: bytes | str = b"words\n") -> Change:
    data = content.encode() if isinstance(content, str) else content
    return lambda made: made.files.__setitem__(name, data)


def without(name: str) -> Change:
    return after(lambda path: (path / name).unlink())


def after(change: Callable[[Path], object]) -> Change:
    """A change to the directory, once it is written."""
    return lambda made: made.after.append(change)


def text(name: str, edit: Callable[[str], str]) -> Change:
    def change(path: Path) -> None:
        (path / name).write_text(edit((path / name).read_text("utf-8")), "utf-8")

    return after(change)


def data(name: str, edit: Callable[[bytes], bytes]) -> Change:
    return after(lambda path: (path / name).write_bytes(edit((path / name).read_bytes())))


def indexed(edit: Callable[[dict[str, Any]], object]) -> Change:
    """A change to the index that the repository has."""
    return text(INDEX, lambda old: json.dumps(_done(edit, json.loads(old))))


def _done(edit: Callable[[Any], object], value: Any) -> Any:
    edit(value)
    return value


def tensor(name: str, make: Callable[[np.ndarray], np.ndarray]) -> Change:
    """Another value for a tensor; the index follows."""

    def change(made: Repository) -> None:
        made.put(name, make(made.tensor(name)))
        made.reindex()

    return change


def added(name: str, value: np.ndarray, shard: str = SHARDS[1]) -> Change:
    def change(made: Repository) -> None:
        made.shards.setdefault(shard, {})[name] = value
        made.reindex()

    return change


def dropped(*names: str) -> Change:
    def change(made: Repository) -> None:
        for name in names:
            made.drop(name)

    return change


def every(make: Callable[[np.ndarray], np.ndarray]) -> Change:
    """Another value for every tensor."""

    def change(made: Repository) -> None:
        for tensors in made.shards.values():
            for name, value in tensors.items():
                tensors[name] = make(value)
        made.reindex()

    return change


def single(made: Repository) -> None:
    """All tensors in one file, without an index."""
    made.shards = {"model.safetensors": {name: v for tensors in made.shards.values() for name, v in tensors.items()}}
    made.index = None


def pickled(made: Repository) -> None:
    """The weights as torch.save writes them."""
    import torch

    held = {name: torch.from_numpy(value) for tensors in made.shards.values() for name, value in tensors.items()}
    made.shards, made.index = {}, None
    made.after.append(lambda path: torch.save(held, path / "pytorch_model.bin"))


def dangerous(path: Path) -> None:
    """A file in torch's format that would run a command when it is unpickled."""

    class Run:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, ("true",)

    with zipfile.ZipFile(path / "pytorch_model.bin", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"weight": Run()}, protocol=2))
        archive.writestr("archive/version", "3\n")


def overlapping(path: Path, *, whole: bool) -> None:
    """Two tensors on one storage: views of different lengths, or the very same tensor twice."""
    import torch

    storage = torch.arange(64, dtype=torch.float32)
    torch.save({"one": storage[:40], "other": storage[:40] if whole else storage[20:60]}, path / "pytorch_model.bin")


def sparse(name: str, size: int) -> Change:
    """A file of this many bytes that takes no room."""

    def change(path: Path) -> None:
        with open(path / name, "wb") as out:
            out.truncate(size)

    return after(change)


def many(folder: str, count: int) -> Change:
    def change(path: Path) -> None:
        (path / folder).mkdir()
        for number in range(count):
            (path / folder / f"{number}.txt").write_bytes(b"1")

    return after(change)


def link(name: str, target: str) -> Change:
    return after(lambda path: (path / name).symlink_to(target))


def to_adapter(*changes: Change) -> tuple[Change, ...]:
    """The same changes to an adapter's repository."""

    def become(made: Repository) -> None:
        vars(made).update(vars(adapter()))

    return (become, *changes)


def adapter_config(**keys: Any) -> Change:
    def change(made: Repository) -> None:
        table = json.loads(made.files["adapter_config.json"]) | keys
        kept = {key: value for key, value in table.items() if value is not ABSENT}
        made.files["adapter_config.json"] = json.dumps(kept).encode()

    return change


def manifest(**keys: Any) -> Change:
    """weightsmith.json as a conversion of ours leaves it, for the shards that are there."""

    def change(path: Path) -> None:
        import xxhash

        outputs = [
            {"name": p.name, "size": p.stat().st_size, "xxh3_128": xxhash.xxh3_128(p.read_bytes()).hexdigest()}
            for p in sorted(path.glob("*.safetensors"))
        ]
        told = {"tool": "weightsmith", "schema": 1, "source": {"family": "llama"}, "outputs": outputs, **keys}
        (path / "weightsmith.json").write_text(json.dumps(told))

    return after(change)
