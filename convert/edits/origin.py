"""Where an artefact comes from: its family's table, and the documents that go with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convert.checkpoint import Checkpoint, SourceFile, read_bytes, read_json
from convert.documents import is_licence
from convert.tokenizing import has_tokenizer
from mappings import families
from mappings.family import Family
from surgery.errors import listed, show
from surgery.model import Artefact

#: documents that belong to the one checkpoint in which they lie
_OWN = frozenset({"config.json", "generation_config.json", "adapter_config.json", "README.md"})


def family_of(artefact: Artefact) -> Family:
    """The table of the family that stored the artefact."""
    return next(f for f in families() if (f.name, f.variant) == (artefact.family, artefact.variant))


def documents_with(base: Checkpoint, other: Checkpoint, *, grown: bool) -> tuple[Mapping[str, SourceFile], tuple[str, ...]]:
    """The documents to carry, and warnings: the tokenizer of what is added, if it has one, in the place of the base's.

    The licences of both are carried, since the terms of both hold for what is made of them.
    """
    legal, clash = _licences_of(base, other)
    brought = {name: file for name, file in other.documents.items() if name not in _OWN and not is_licence(name)}
    if has_tokenizer(brought):
        kept = {name: file for name, file in base.documents.items() if is_licence(name) or name in _OWN}
        return {**kept, **legal, **brought}, (*clash, *_said(base, other, brought))
    told = f"{other.path.name} has more tokens than the base and no tokenizer: bring the one it was trained with"
    return {**base.documents, **legal}, (*clash, told) if grown else clash


def _licences_of(base: Checkpoint, other: Checkpoint) -> tuple[dict[str, SourceFile], tuple[str, ...]]:
    """The licences of what is added, and a warning where the base has another file of the same name."""
    legal = {name: file for name, file in other.documents.items() if is_licence(name)}
    new = {name: file for name, file in legal.items() if name not in base.documents}
    if not (clash := [name for name in legal if name not in new and _differ(legal[name], base.documents[name])]):
        return new, ()
    return new, (f"{listed(clash)} of {other.path.name} is not carried over, as the base's has its name; add it yourself",)


def _said(base: Checkpoint, other: Checkpoint, brought: Mapping[str, SourceFile]) -> tuple[str, ...]:
    """That the tokenizer is another, if it is, and which of its special tokens the base's settings do not know.

    Those settings stay the base's: what ends a text is for whoever publishes the model to say.
    """
    new = sorted(name for name, file in brought.items() if name in base.documents and _differ(file, base.documents[name]))
    told = [f"{listed(new)} {'is' if len(new) == 1 else 'are'} that of {other.path.name}, not the base's"] if new else []
    settings = {"config.json": base.config, "generation_config.json": _json(base.documents, "generation_config.json")}
    for token, (text, number) in _special(brought).items():
        key = f"{token}_id"
        said = {name: read[key] for name, read in settings.items() if read.get(key) is not None}
        if stale := {name: value for name, value in said.items() if not _names(value, number)}:
            values = ", ".join(f"{name} {show(value)}" for name, value in stale.items())
            told.append(
                f"{token} of the tokenizer in {other.path.name} is {show(text)}, id {number}, and {key} stays the base's "
                f"({values}): libraries go by that, so correct it if the model was trained to use the other"
            )
    return tuple(told)


def _special(documents: Mapping[str, SourceFile]) -> dict[str, tuple[str, int]]:
    """The special tokens that a tokenizer names, with their ids, as far as its files tell them."""
    config = _json(documents, "tokenizer_config.json")
    added = config.get("added_tokens_decoder")
    if isinstance(added, dict):
        entries = [{"id": number, **one} for number, one in added.items() if isinstance(one, dict)]
    else:
        entries = [one for one in _json(documents, "tokenizer.json").get("added_tokens") or () if isinstance(one, dict)]
    ids = {str(one.get("content")): int(one["id"]) for one in entries if str(one.get("id")).isdecimal()}
    found = {}
    for token in ("bos_token", "eos_token", "pad_token"):
        text = config.get(token)
        text = text.get("content") if isinstance(text, dict) else text
        if isinstance(text, str) and text in ids:
            found[token] = text, ids[text]
    return found


def _names(value: Any, number: int) -> bool:
    """Whether a setting of one id or several names this one."""
    return number in value if isinstance(value, list) else bool(value == number)


def _json(documents: Mapping[str, SourceFile], name: str) -> Mapping[str, Any]:
    found = read_json(documents[name]) if name in documents else {}
    return found if isinstance(found, Mapping) else {}


def _differ(one: SourceFile, other: SourceFile) -> bool:
    return one.size != other.size or read_bytes(one) != read_bytes(other)
