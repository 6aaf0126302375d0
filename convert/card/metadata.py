"""The block of YAML: what the user wrote stays, what the source's card says is carried, the rest is seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from convert.validate.card_text import Card
from convert.validate.subject import Subject

#: what a conversion does not change, and so is carried over
CARRIED = ("license", "license_name", "license_link", "language", "datasets", "pipeline_tag", "tags", "base_model")


@dataclass(frozen=True)
class Wishes:
    """What the user says, which wins over every other source."""

    licence: str | None = None
    licence_name: str | None = None
    licence_link: str | None = None
    base_model: str | None = None
    languages: tuple[str, ...] = ()
    name: str = ""
    variant: str | None = None

    def stated(self) -> dict[str, Any]:
        """The wishes under the Hub's keys."""
        said = {
            "license": self.licence,
            "license_name": self.licence_name,
            "license_link": self.licence_link,
            "base_model": self.base_model,
            "language": list(self.languages),
        }
        return {key: value for key, value in said.items() if value}


def metadata(wishes: Wishes, own: Card, source: Subject, out: Subject) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The block for OUT, and what the user should know about it. A licence is never inferred."""
    origin = (source.folder.repository or "").partition("@")[0]
    carried = {key: value for key in CARRIED if (value := source.card.data.get(key)) is not None}
    if origin:
        carried["base_model"] = origin
    library = "peft" if out.kind == "adapter" else "transformers"
    task = "image-text-to-text" if out.is_wrapper else "text-generation"
    settled: dict[str, Any] = {"library_name": library, "pipeline_tag": task, **carried, **own.data, **wishes.stated()}
    notes = [*_licence_notes(settled, own.data, source), *_base_notes(settled)]
    order = [*CARRIED[:3], "base_model", "library_name", "pipeline_tag"]
    ordered = [*order, *(key for key in settled if key not in order)]
    return {key: settled[key] for key in ordered if key in settled}, tuple(notes)


def _licence_notes(settled: Mapping[str, Any], own: Mapping[str, Any], source: Subject) -> list[str]:
    theirs = source.card.data.get("license")
    if not settled.get("license"):
        return [
            "the source's card states no licence, and none is inferred: give --license as the source's publisher has it"
        ]
    if theirs is not None and theirs != settled["license"]:
        whose = "your card" if "license" in own else "--license"
        stated = f"{whose} states the licence {settled['license']}, the source's card {theirs}"
        return [f"{stated}: a conversion changes no licence"]
    return []


def _base_notes(settled: Mapping[str, Any]) -> list[str]:
    if settled.get("base_model"):
        return []
    return ["SRC is only a directory, so the card cannot name the source: give --base-model org/name"]
