"""One cell of the table: what a reader makes of an output, beside what it should make of it.

What a text should be is the source's own engine's word, in the output's numbering. Where nobody outside told it (a text with new
tokens, a vendor's text with specials inside), sentencepiece on the written model says it, else the library that is installed.
Where a source has both a model and a tokenizer.json, readers differ about the source itself: what a reader makes of text there is
what it should make of it in the output.
"""

from __future__ import annotations

import re
import shutil
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.tokenizer_table.outsiders import Installed, Outsider, Pieces, Readings
from tests.tokenizer_table.vocabularies import Vocabulary
from tests.tokenizer_table.ways import ADDED_TEXTS, ATOMS, WAYS, Output, source


@dataclass(frozen=True)
class Part:
    """One thing that is compared: how many texts were asked, and those that came out otherwise (text, right, read)."""

    asked: int
    wrong: tuple[tuple[str, object, object], ...] = ()

    def __str__(self) -> str:
        return "-" if not self.asked else "all" if not self.wrong else f"{self.asked - len(self.wrong)}/{self.asked}"


@dataclass(frozen=True)
class Cell:
    """What a reader made of an output. ``because``: why there is nothing to compare."""

    vocabulary: str
    way: str
    reader: str
    parts: Mapping[str, Part] = field(default_factory=dict)  # ids, framed, text
    because: str = ""

    @property
    def equal(self) -> bool:
        return not self.because and not any(part.wrong for part in self.parts.values())

    def __str__(self) -> str:
        return self.because or "  ".join(f"{name} {part}" for name, part in self.parts.items())


@dataclass(frozen=True)
class Right:
    """What texts should be in an output; a text that is not there has no right answer."""

    ids: Mapping[str, Sequence[int]]
    framed: Mapping[str, Sequence[int]]
    text: Mapping[str, str]
    inside: Mapping[str, str]  # texts with special tokens, spaces aside: engines put and take those beside special tokens


def cells(vocabulary: Vocabulary, folder: Path, readers: Sequence[Outsider], ways: Sequence[str] = tuple(WAYS)) -> Iterator[Cell]:
    """The cells of a vocabulary, way by way; a way that the product refuses gives one cell with its reason."""
    own = source(vocabulary, folder / "source")
    base: Readings | None = None
    both = {"tokenizer.json", "tokenizer.model"} <= vocabulary.files.keys()
    asked = _texts(vocabulary, "converted")
    there = {reader.name: reader.read(own, asked, vocabulary.specials) for reader in readers} if both else {}
    for way in ("converted", *(one for one in ways if one != "converted")):
        out = folder / way
        try:
            output = WAYS[way](vocabulary, own, out)
        except Exception as refused:  # whatever it is, it belongs into the table
            yield Cell(vocabulary.name, way, "the product", because=f"{type(refused).__name__}: {refused}")
            continue
        texts = _texts(vocabulary, way)
        specials = (*vocabulary.specials, *(ATOMS if way == "specials" else ()))
        read = {reader.name: reader.read(out, texts, specials) for reader in readers}
        first = next((one for one in read.values() if isinstance(one, Readings)), None)
        if way == "converted":
            base = first
        if way in ways:
            right = _right(vocabulary, way, output, base, read)
            for name, readings in read.items():
                theirs = _as_there(right, name, there, asked, output)
                yield _cell(vocabulary.name, way, name, texts, readings, theirs)
        shutil.rmtree(out)
    shutil.rmtree(folder)


def _texts(vocabulary: Vocabulary, way: str) -> list[str]:
    return list(dict.fromkeys((*vocabulary.texts, *(ADDED_TEXTS if way in ("pieces", "words", "specials") else ()))))


def _cell(vocabulary: str, way: str, reader: str, texts: Sequence[str], readings: Readings | str, right: Right) -> Cell:
    if isinstance(readings, str):
        return Cell(vocabulary, way, reader, because=readings)
    ids = _part(texts, readings.ids, right.ids, lambda one: list(one))
    framed = _part(texts, readings.framed, right.framed, lambda one: list(one))
    plain = _part(texts, readings.decoded, right.text, lambda one: str(one).strip(" "))
    inside = _part(texts, readings.decoded, right.inside, _without_spaces)
    return Cell(vocabulary, way, reader, {"ids": ids, "framed": framed, "text": plain, "inside": inside})


def _part(texts: Sequence[str], read: Sequence[object], right: Mapping[str, object], form: Callable[..., object]) -> Part:
    """``form`` is what of an answer counts."""
    asked = [(text, right[text], one) for text, one in zip(texts, read, strict=True) if one is not None and text in right]
    return Part(len(asked), tuple(one for one in asked if form(one[1]) != form(one[2])))


def _without_spaces(text: object) -> str:
    return "".join(str(text).split())


def _right(vocabulary: Vocabulary, way: str, output: Output, base: Readings | None, read: Mapping[str, Readings | str]) -> Right:
    """``base`` is what the installed library reads of the converted output: whoever is asked after that is held to it."""
    specials = (*vocabulary.specials, *(ATOMS if way == "specials" else ()))
    known = {text: place for place, text in enumerate(_texts(vocabulary, "converted"))}
    here = [one for name in (Installed.name, Pieces.name) if isinstance(one := read.get(name), Readings)]
    right = Right({}, {}, {}, {})
    for place, text in enumerate(_texts(vocabulary, way)):
        at = known.get(text)
        before = base if base is not None and at is not None else None
        old = _first(vocabulary.ids(text), before and before.ids[at or 0])
        framed = _first(vocabulary.framed(text), before and before.framed[at or 0])
        written = _first(*(one.ids[place] for one in reversed(here)))
        if output.renumbered is not None and text in output.corpus:
            right.ids[text] = _moved(old or (), output.renumbered)
            if framed is not None and not set(framed) - output.renumbered.keys():
                right.framed[text] = _moved(framed, output.renumbered)
        elif output.renumbered is None and old is not None and not _fresh(here, place, output.first):
            right.ids[text] = old
            if framed is not None:
                right.framed[text] = framed
        elif written is not None:  # a text with new tokens, or one that the corpus does not have
            right.ids[text] = written
        parts = _split(text, specials)
        spoken = [part if part in specials else _said(vocabulary, part) for part in parts]
        if None not in spoken:
            plain = len(parts) == 1 and parts[0] not in specials
            (right.text if plain else right.inside)[text] = "".join(map(str, spoken))
        elif len(parts) > 1 and before is not None and not _fresh(here, place, output.first):
            right.inside[text] = str(before.decoded[at or 0])
    return right


def _as_there(right: Right, name: str, there: Mapping[str, Readings | str], texts: Sequence[str], output: Output) -> Right:
    """The same, but for text of the source's tokens what a reader made of it in the source.

    Of text with new tokens, and of text that the corpus of a trimmed vocabulary does not have, nobody knows what is right where
    readers differ about the source.
    """
    known = [one for one in there.values() if isinstance(one, Readings)]
    mine = there.get(name)
    if not isinstance(mine, Readings):
        return right
    ids, framed = dict(right.ids), dict(right.framed)
    for place, text in enumerate(texts):
        several = len({tuple(one.ids[place] or ()) for one in known if one.ids[place] is not None}) > 1
        fresh = output.first is not None and max(right.ids.get(text, ()), default=0) >= output.first
        promised = not fresh if output.renumbered is None else text in output.corpus
        for those, old in ((ids, mine.ids[place]), (framed, mine.framed[place])):
            if promised and old is not None:
                those[text] = old if output.renumbered is None else _moved(old, output.renumbered)
            elif several and not promised:
                those.pop(text, None)
    return Right(ids, framed, right.text, right.inside)


def _first(*found: Sequence[int] | None) -> Sequence[int] | None:
    return next((list(one) for one in found if one is not None), None)


def _moved(ids: Sequence[int], to: Mapping[int, int]) -> list[int]:
    """Old ids in new numbers; -1 is a token that is gone, and that no reader gives."""
    return [to.get(one, -1) for one in ids]


def _fresh(here: Sequence[Readings], place: int, first: int | None) -> bool:
    """Whether a text has new tokens, as anyone here reads it."""
    return first is not None and any(one >= first for each in here for one in each.ids[place] or ())


def _said(vocabulary: Vocabulary, text: str) -> str | None:
    """What plain text is once the source's own engine has encoded and decoded it; None where it has nothing to say."""
    ids = vocabulary.ids(text)
    if ids is not None:
        return vocabulary.read_back(tuple(ids))
    return unicodedata.normalize("NFC", text) if text in ADDED_TEXTS else None


def _split(text: str, specials: Sequence[str]) -> list[str]:
    """The text's special tokens, and what is between them."""
    pattern = "|".join(re.escape(one) for one in sorted(specials, key=len, reverse=True))
    return [part for part in re.split(f"({pattern})", text) if part] if pattern else [text]
