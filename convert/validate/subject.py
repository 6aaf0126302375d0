"""A repository under examination: everything the rules ask about it, read once, damaged or not.

Nothing here raises for what the repository holds: what cannot be read is absent, and its fault is kept for the rule
that tells about it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convert.checkpoint import Checkpoint
from convert.checkpoint.documents import INDEX_LIMIT, NotStrict, parse_json, read_bytes
from convert.checkpoint.files import Folder, list_folder
from convert.checkpoint.stored import Stored
from convert.given import place
from convert.manifest import NAME as MANIFEST
from convert.manifest import told
from convert.validate.expected import Expected, expect
from convert.validate.rule import Need
from convert.validate.tree import Entry, walk
from convert.validate.weights import Index, Weights, read_weights
from surgery.errors import ConversionError, listed, show

if TYPE_CHECKING:
    from convert.validate.card_text import Card
    from convert.validate.scan import Scan
    from convert.validate.under import Under
    from convert.validate.vocabulary import Vocabulary

TEXT_LIMIT = 16 << 20


@dataclass(frozen=True)
class Document:
    """A file of JSON: its object, or why there is none."""

    name: str
    present: bool
    value: Mapping[str, Any] = field(default_factory=dict)
    fault: str = ""


class Subject:
    """One directory. ``scan`` is what a deep pass over the bytes found, when there was one."""

    def __init__(self, path: str | Path, *, consumers: frozenset[str] = frozenset(), name: str = "") -> None:
        self.folder: Folder = list_folder(place(path))
        self.path = self.folder.path
        self.consumers = consumers
        self.name = (
            name or (self.folder.repository or "").partition("@")[0]
        )  # as the Hub will know it, if that is known
        self.scan: Scan | None = None
        self._documents: dict[str, Document] = {}

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        return tuple(walk(self.path))

    @cached_property
    def files(self) -> Mapping[str, Entry]:
        """Regular files and links, by their names relative to the repository."""
        return {entry.name: entry for entry in self.entries if not entry.is_folder}

    @cached_property
    def weights(self) -> Weights:
        return read_weights(self.folder)

    @property
    def tensors(self) -> Mapping[str, Stored]:
        return self.weights.tensors

    @cached_property
    def whole(self) -> bool:
        """Whether every weight file is there and readable, so that a tensor that is not seen is known to be missing."""
        named = set(self.index.weight_map.values()) if self.index is not None else set()
        return self.weights.complete and named <= self.folder.names

    @property
    def kind(self) -> str:
        """``model``, ``adapter``, ``meta`` or ``single``: which config states what the tensors are."""
        return self.weights.kind

    @property
    def config_name(self) -> str:
        return {"adapter": "adapter_config.json", "meta": "params.json"}.get(self.kind, "config.json")

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The configuration, empty when it is missing or damaged."""
        if self.kind == "single":
            return {key: value for key, value in self.weights.metadata.items() if isinstance(key, str)}
        return self.json(self.config_name).value

    @cached_property
    def text_config(self) -> Mapping[str, Any]:
        """What the config says about the language model: of a vision-language wrapper, the part inside."""
        inner = self.config.get("text_config")
        return {**self.config, **inner} if isinstance(inner, Mapping) else self.config

    @property
    def is_wrapper(self) -> bool:
        """Whether the model sees or hears too."""
        stated = self.config.get("architectures")
        named = stated if isinstance(stated, list) else ()
        told = any(isinstance(name, str) and name.endswith("ForConditionalGeneration") for name in named)
        return told or any(key in self.config for key in ("vision_config", "audio_config"))

    @property
    def index(self) -> Index | None:
        """The index of the weight files, if there is one."""
        return self.weights.index

    @cached_property
    def expected(self) -> Expected:
        """What the family tables say; a disagreement of the two forms of rope is another rule's to tell."""
        config = dict(self.config)
        if "rope_parameters" in config and ("rope_theta" in config or config.get("rope_scaling")):
            del config["rope_parameters"]
        return expect(Checkpoint(self.path, config, self.tensors, {}, {}, config_name=self.config_name))

    def json(self, name: str) -> Document:
        """The object in a file of JSON."""
        if name not in self._documents:
            self._documents[name] = self._read_json(name)
        return self._documents[name]

    def _read_json(self, name: str) -> Document:
        if name not in self.folder.names:
            return Document(name, present=False)
        try:
            value = parse_json(read_bytes(self.folder.find(name), INDEX_LIMIT))
        except (ConversionError, NotStrict) as fault:
            return Document(name, True, fault=str(fault))
        if not isinstance(value, dict):
            return Document(name, True, fault="it does not hold a JSON object")
        return Document(name, True, value)

    def text(self, name: str, limit: int = TEXT_LIMIT) -> str | None:
        """A file as text, whatever its encoding; None when it is not there, not readable or larger than ``limit``."""
        data = self.data(name, limit)
        return None if data is None else data.decode("utf-8", "replace")

    def data(self, name: str, limit: int = TEXT_LIMIT) -> bytes | None:
        """The bytes of a small file."""
        entry = self.files.get(name)
        if entry is None:
            return None
        path = entry.real if entry.is_link else entry.path
        inside = path is not None and (self.path in path.parents or path.parent == self.folder.blobs)
        try:
            if path is None or not inside or not path.is_file() or path.stat().st_size > limit:
                return None
            return path.read_bytes()
        except OSError:
            return None

    @cached_property
    def vocabulary(self) -> Vocabulary:
        from convert.validate.vocabulary import read_vocabulary

        return read_vocabulary(self)

    @cached_property
    def card(self) -> Card:
        from convert.validate.card_text import read_card

        return read_card(self.text("README.md"))

    @cached_property
    def provenance(self) -> Mapping[str, Any]:
        """What our own manifest says, when a conversion of ours wrote the directory."""
        found = told(self.json(MANIFEST).value)
        return found if found.get("tool") == "weightsmith" else {}

    @property
    def source_family(self) -> str:
        """The family that the weights were converted from, as our manifest has it."""
        source = self.provenance.get("source")
        family = source.get("family") if isinstance(source, Mapping) else ""
        return family if isinstance(family, str) else ""

    def lacks(self, need: Need) -> str:
        """Why what a rule needs is not there, though the repository has what the rule is about; empty where it is."""
        if need == "table":
            known = self.expected
            return known.problem if self.config and self.kind != "adapter" and not known.shapes else ""
        if need == "licence":
            return self._unknown_licence()
        if need == "files":
            return "not every weight file is there and readable" if self.weights.names and not self.whole else ""
        there = [*self.vocabulary.files, *(["tekken.json"] if "tekken.json" in self.folder.names else [])]
        return f"{listed(there)} cannot be read as a vocabulary" if there and not self.vocabulary.ids else ""

    @cached_property
    def under(self) -> Under:
        """The licences that the card speaks of, and those of what the base models were made from."""
        from convert.validate.under import of_subject

        return of_subject(self)

    def _unknown_licence(self) -> str:
        if self.provenance and not self.under.bases:
            return "the card does not name the model that this one was made from; its licence is unknown: read its card"
        unknown = self.under.unknown
        return f"the licence of {listed(map(show, unknown))} is unknown: read the source's card" if unknown else ""

    @cached_property
    def rows(self) -> int | None:
        """How many ids the embedding has rows for: by its tensor, else by the config."""
        name = self.expected.row_name("embed") or "model.embed_tokens.weight"
        stored = self.expected.stored.get(name) or self.tensors.get(name)
        if stored is not None and stored.shape:
            return stored.shape[0]
        stated = self.text_config.get("vocab_size")
        return stated if isinstance(stated, int) and not isinstance(stated, bool) else None


def said(value: object) -> str:
    """A value from JSON, as JSON, safe for a terminal and short."""
    text = json.dumps(value, ensure_ascii=True, default=str)
    return text if len(text) <= 120 else f"{text[:117]}..."
