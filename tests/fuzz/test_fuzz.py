"""Nothing that was found is wrong again, nothing new is within a few dozen mutations, and the judge sees what is wrong."""

import random
import time
from pathlib import Path

import pytest

from surgery.errors import ConversionError
from tests.fuzz import judge
from tests.fuzz.corpus_of import CORPUS, kept
from tests.fuzz.shapes import mutated
from tests.fuzz.surfaces import SURFACES, Surface

COUNT = 40


@pytest.mark.parametrize("name", SURFACES)
def test_files_of_strangers_are_read_or_refused_in_words(name: str, tmp_path: Path) -> None:
    surface, chance = SURFACES[name], random.Random(name)
    surface.prepare(tmp_path)
    seeds = surface.seeds(tmp_path)
    assert [judge.fault(surface, data, tmp_path) for data in seeds] == [None] * len(seeds)
    found = [path.read_bytes() for path in kept(name)]
    for data in (*found, *(mutated(seeds, surface.shape, chance) for _ in range(COUNT))):
        assert judge.fault(surface, data, tmp_path) is None, data[:2000]


def test_what_was_found_belongs_to_a_surface_and_is_small() -> None:
    folders = {path.name for path in CORPUS.iterdir() if path.is_dir()}
    assert folders <= {name.replace("/", "-") for name in SURFACES}
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) < 1_000_000


@pytest.mark.parametrize(
    ("reader", "says"),
    [
        (lambda data, folder: {}["key"], "KeyError"),
        (lambda data, folder: _refuse("TypeError: unhashable type"), "raw Python"),
        (lambda data, folder: _refuse("a\x1b[31mname"), "not printable"),
        (lambda data, folder: time.sleep(60), "no end"),
        (lambda data, folder: _refuse("the file is cut off"), None),
    ],
)
def test_the_judge_sees_errors_raw_words_and_what_does_not_end(
    reader: object, says: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "SECONDS", 0.2)
    found = judge.fault(Surface("bytes", lambda folder: (b"",), reader), b"", tmp_path)  # type: ignore[arg-type]
    assert found is None if says is None else says in str(found)


def _refuse(words: str) -> None:
    raise ConversionError(words)
