"""A card made or completed, and written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convert.card.metadata import Wishes, metadata
from convert.card.text import made_part, merged, safe_title
from convert.checkpoint import open_checkpoint
from convert.prepare import open_artefact
from convert.validate.card_text import TOLD, block
from convert.validate.rules.files import right_mode
from convert.validate.subject import Subject
from convert.validate.under import Under, of_source, texts, under
from surgery.errors import ConversionError, StorageFailed, show
from surgery.model import Artefact

__all__ = ["Made", "Wishes", "make_card", "write_card"]


_UNCLOSED = (
    "README.md begins with a line of dashes and has no second one: what stands behind it is text and no metadata, and was kept "
    "as text. If it was meant as metadata, end it with a line ---, take out the block above it, and make the card again"
)


@dataclass(frozen=True)
class Made:
    """A whole README.md, and what the user should know about it."""

    text: str
    notes: tuple[str, ...]


def make_card(source: str | Path, out: str | Path, wishes: Wishes | None = None) -> Made:
    """README.md for ``out``, which was made from ``source``; the user's own text and metadata in it are kept.

    ``ConversionError`` where the README's block of YAML is damaged, since completing it would lose what it says.
    """
    wishes = wishes or Wishes()
    origin, result = Subject(open_checkpoint(source).path), Subject(out, name=wishes.name)
    if result.card.fault:
        raise ConversionError(
            f"README.md of {show(str(out))} cannot be completed: {result.card.fault}. Correct the block between the "
            "two lines of dashes; nothing was changed."
        )
    data, notes = metadata(wishes, result.card, origin, result)
    body = result.card.body if result.card.present else f"# {safe_title(wishes.name or result.path.name)}\n"
    found = _under(data, origin)
    text = merged(body, made_part(origin, result, data, _artefact(out, wishes.variant), found))
    notes = (*notes, *_licence_notes(data, found), *((_UNCLOSED,) if result.card.unclosed else ()))
    head = f"---\n{block(data, result.card, origin.card)}\n---\n\n"
    end = "\r\n" if "\r\n" in body else "\n"
    return Made(head.replace("\n", end) + text.lstrip("\n\r"), notes)


def write_card(out: str | Path, made: Made) -> Path:
    """README.md in ``out``, replaced as a whole or not at all."""
    path = Path(out) / "README.md"
    try:
        with tempfile.NamedTemporaryFile("w", dir=out, prefix=".README.", encoding="utf-8", delete=False) as file:
            file.write(made.text)
        os.chmod(file.name, right_mode(0o600))
        os.replace(file.name, path)
    except OSError as error:
        raise StorageFailed(f"{show(str(path))} cannot be written: {error.strerror}. Nothing was changed.") from error
    return path


def _under(data: Mapping[str, Any], source: Subject) -> Under:
    """The licences that hold, by the block and by what the source's own card says."""
    bases = texts(data.get("base_model"))
    told = {key: source.card.data[key] for key in TOLD if key in source.card.data}
    licence, name = (next(iter(texts(data.get(key))), "") for key in ("license", "license_name"))
    return under(bases, licence, name, of_source(bases, told))


def _licence_notes(data: Mapping[str, Any], found: Under) -> list[str]:
    """What is unknown, and what holds although the block states something looser."""
    notes = [f"the licence of {show(base)} is unknown: read its card" for base in found.unknown]
    name = next(iter(texts(data.get("license_name"))), "")
    stated = [licence for licence in texts(data.get("license")) if any(p.terms.accepts(licence, name) for p in found.holding)]
    for part in found.holding if data.get("license") and not stated else ():
        notes.append(f"{show(part.repository)} is under the {part.terms.name}, which holds for what was made from it too")
    return notes


def _artefact(out: str | Path, variant: str | None) -> Artefact | None:
    """What is read for the table of memory, where a family's table knows it."""
    try:
        return open_artefact(open_checkpoint(Path(out)), variant=variant)
    except ConversionError:
        return None
