"""What can be mended without asking anybody: each repair is a value that can be shown before it is written."""

from __future__ import annotations

import difflib
import json
import os
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from convert.checkpoint.documents import parse_json
from convert.report import size
from convert.staging import hash_file, not_stored
from convert.validate.card_text import block, read_card
from convert.validate.rules.files import right_mode
from convert.validate.rules.generation import NAME as GENERATION
from convert.validate.rules.generation import idle_settings
from convert.validate.rules.headers import main_dtype
from convert.validate.rules.index import totals
from convert.validate.rules.rope import default_theta, hidden_rope
from convert.validate.subject import Subject
from surgery.errors import StorageFailed, UnsafeInput, show


@dataclass(frozen=True)
class Rewrite:
    """A small file with other content; ``before`` is None where it is new."""

    file: str
    before: str | None
    after: str

    def shown(self) -> str:
        """A unified diff."""
        old = (self.before or "").splitlines(keepends=True)
        lines = difflib.unified_diff(old, self.after.splitlines(keepends=True), f"a/{self.file}", f"b/{self.file}")
        return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)

    def apply(self, root: Path) -> None:
        _replace(root / self.file, lambda out: out.write(self.after.encode()))


@dataclass(frozen=True)
class Mode:
    """A file with another mode."""

    file: str
    before: int
    after: int

    def shown(self) -> str:
        return f"{self.file}: mode {self.before:04o} -> {self.after:04o}\n"

    def apply(self, root: Path) -> None:
        os.chmod(root / self.file, self.after)


@dataclass(frozen=True)
class Metadata:
    """A safetensors file whose header says more; the tensors' bytes are copied."""

    file: str
    metadata: Mapping[str, str]
    nbytes: int

    def shown(self) -> str:
        return (
            f"{self.file}: __metadata__ {json.dumps(dict(self.metadata))} (the file of {size(self.nbytes)} is copied)\n"
        )

    def apply(self, root: Path) -> None:
        path = root / self.file
        with open(path, "rb") as source:
            (length,) = struct.unpack("<Q", source.read(8))
            header = parse_json(source.read(length))
            text = json.dumps({"__metadata__": dict(self.metadata), **_without(header)}, separators=(",", ":")).encode()
            text += b" " * (-len(text) % 8)

            def fill(out: Any) -> None:
                out.write(struct.pack("<Q", len(text)) + text)
                shutil.copyfileobj(source, out, 16 << 20)

            _replace(path, fill)


Repair = Rewrite | Mode | Metadata


def repairs(subject: Subject, broken: set[str]) -> list[Repair]:
    """The repairs for the rules that are broken; changes of one file become one repair."""
    texts: dict[str, Rewrite] = {}
    found: list[Repair] = []
    for rule, change in _TABLES.items():
        for file, table in change(subject, _current(subject, texts)) if rule in broken else ():
            texts[file] = Rewrite(file, _before(subject, file), json.dumps(table, indent=2, ensure_ascii=False) + "\n")
    if card := _card(subject, broken):
        texts[card.file] = card
    found += [change for change in texts.values() if change.before != change.after]
    if "header-no-format" in broken:
        found += _metadata(subject)
    if "file-mode" in broken:
        found += _modes(subject)
    for repair in found:
        _inside(subject, repair.file)
    return found


def apply(subject: Subject, found: list[Repair]) -> None:
    """Write the repairs, each file as a whole or not at all; modes last."""
    for repair in found:
        repair.apply(subject.path)


Table = dict[str, Any]
Current = Callable[[str], Table]


def _index(key: str) -> Callable[[Subject, Current], Iterator[tuple[str, Table]]]:
    """The repair of one total of the index; the other may be right as it is."""

    def repair(subject: Subject, current: Current) -> Iterator[tuple[str, Table]]:
        if subject.index is not None:
            table = current(subject.index.name)
            told = table.get("metadata")
            kept = told if isinstance(told, dict) else {}
            yield subject.index.name, {**table, "metadata": {**kept, key: totals(subject)[key]}}

    return repair


def _rope(subject: Subject, current: Current) -> Iterator[tuple[str, Table]]:
    hidden, table = dict(hidden_rope(subject)), current("config.json")
    inner = table.get("text_config") if isinstance(table.get("text_config"), dict) else None
    told = inner if inner is not None and "rope_parameters" in inner else table
    theta = hidden.pop("rope_theta", (told.get("rope_parameters") or {}).get("rope_theta", default_theta(subject)))
    told.setdefault("rope_theta", theta)
    if hidden:
        told["rope_scaling"] = hidden
    yield "config.json", table


def _dtype(subject: Subject, current: Current) -> Iterator[tuple[str, Table]]:
    table, dtype = current("config.json"), main_dtype(subject)
    if dtype is not None:
        yield "config.json", {**table, **{key: dtype for key in ("dtype", "torch_dtype") if key in table}}


def _generation(subject: Subject, current: Current) -> Iterator[tuple[str, Table]]:
    idle = idle_settings(subject)
    yield GENERATION, {key: value for key, value in current(GENERATION).items() if key not in idle}


_TABLES: dict[str, Callable[[Subject, Current], Iterator[tuple[str, Table]]]] = {
    "index-total-size": _index("total_size"),
    "index-total-parameters": _index("total_parameters"),
    "rope-new-form-only": _rope,
    "transformers-4-rope": _rope,
    "mlx-rope-form": _rope,
    "dtype-config": _dtype,
    "dtype-keys-disagree": _dtype,
    "generation-sampling": _generation,
}

#: rules that `--fix` mends
MENDED = frozenset(
    {*_TABLES, "header-no-format", "file-mode", "card-missing", "card-no-metadata", "library-missing", "pipeline-tag"}
)


def _card(subject: Subject, broken: set[str]) -> Rewrite | None:
    """A card's block with what can be known; never a licence."""
    wanted = broken & {"card-missing", "card-no-metadata", "library-missing", "pipeline-tag"}
    before = subject.text("README.md")
    card = read_card(before)
    if not wanted or card.fault:
        return None
    data = dict(card.data)
    if not card.texts("library_name"):
        data["library_name"] = "peft" if subject.kind == "adapter" else "transformers"
    if "pipeline-tag" in broken or "pipeline_tag" not in data:
        data["pipeline_tag"] = "image-text-to-text" if subject.is_wrapper else "text-generation"
    body = card.body if card.present else f"\n# {subject.path.name}\n"
    return Rewrite("README.md", before, f"---\n{block(data, card)}\n---\n{body}")


def _metadata(subject: Subject) -> Iterator[Repair]:
    for name, contents in subject.weights.loaded.items():
        if name.endswith(".safetensors") and contents.metadata.get("format") != "pt":
            kept = {key: value for key, value in contents.metadata.items() if isinstance(value, str)}
            yield Metadata(name, {**kept, "format": "pt"}, subject.weights.files[name].size)


def _modes(subject: Subject) -> Iterator[Repair]:
    for name, entry in subject.files.items():
        if entry.is_file and (wanted := right_mode(entry.info.st_mode)) != entry.info.st_mode & 0o777:
            yield Mode(name, entry.info.st_mode & 0o777, wanted)


def _current(subject: Subject, texts: Mapping[str, Rewrite]) -> Current:
    """A table as the repairs before this one leave it."""

    def current(name: str) -> Table:
        found: Table = json.loads(texts[name].after if name in texts else json.dumps(dict(subject.json(name).value)))
        return found

    return current


def _before(subject: Subject, name: str) -> str | None:
    return subject.text(name, 256 << 20)


def _without(header: Mapping[str, Any]) -> dict[str, Any]:
    return {name: entry for name, entry in header.items() if name != "__metadata__"}


def _inside(subject: Subject, name: str) -> None:
    """Nothing is written through a link: it would change a file elsewhere, such as a blob of the Hub cache."""
    entry = subject.files.get(name)
    if entry is not None and entry.is_link:
        raise UnsafeInput(f"--fix: {show(name)} is a link, and a repair would change what it leads to. Work on a copy.")


class _Told:
    """A file to write to, that says what was written."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.xxh3 = xxhash.xxh3_128()

    def write(self, content: Any) -> None:
        self.xxh3.update(content)
        self._file.write(content)


def _replace(path: Path, fill: Callable[[Any], object]) -> None:
    """The file under its name with new content, all of it or none; its mode is kept."""
    mode = right_mode(path.stat().st_mode) if path.exists() else right_mode(0o600)
    try:
        with tempfile.NamedTemporaryFile("wb", dir=path.parent, prefix=f".{path.name}.", delete=False) as out:
            try:
                told = _Told(out)
                fill(told)
                out.flush()
                os.fsync(out.fileno())
                if hash_file(Path(out.name), lambda: None) != told.xxh3.hexdigest():
                    raise not_stored(path.name, "nothing of it was changed")
                os.chmod(out.name, mode)
                os.replace(out.name, path)
            except BaseException:
                os.unlink(out.name)
                raise
    except OSError as error:
        raise StorageFailed(
            f"{show(path.name)} cannot be written: {error.strerror}. Nothing of it was changed."
        ) from error
