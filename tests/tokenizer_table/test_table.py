"""The table has no unequal cell without a reason in words; who is not of this environment is asked where it was set up."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.shared import needs_shared
from tests.tokenizer.figures import FIGURES, Figures
from tests.tokenizer_table.cells import Cell, Part, cells
from tests.tokenizer_table.outsiders import Installed, outsiders
from tests.tokenizer_table.reasons import REASONS, reason
from tests.tokenizer_table.vocabularies import Vocabulary, trained, vendors
from tests.tokenizer_table.ways import WAYS
from tests.trained.kinds import KINDS, Kind, kind

QUICK = ("llama-other-size", "qwen2-json")
FUZZED = 60  # of the 3,000 that `python -m tests.tokenizer_table --fuzz 3000` asks
#: one of each form; `make tokenizers` asks all, which takes as long as the rest of the suite
ASKED = ("baichuan1", "baichuan2", "chatglm3", "glm4", "gpt2", "llama2", "mistral")
EDITS = tuple(way for way in WAYS if way != "converted")


def some(place: int) -> tuple[str, ...]:
    """Two edits in turn, so that each edit meets vocabularies of several forms; `make tokenizers` asks all of each."""
    return ("converted", EDITS[place % len(EDITS)], EDITS[(place + 2) % len(EDITS)])


TRAINED = tuple(
    pytest.param(one, tuple(WAYS), id=one.name)
    if one.name in QUICK
    else pytest.param(one, some(place), id=one.name, marks=pytest.mark.slow)
    for place, one in enumerate(KINDS)
)
VENDORS = tuple(
    pytest.param(one, some(place), id=one.folder) for place, one in enumerate(one for one in FIGURES if one.folder in ASKED)
)


def unexplained(vocabulary: Vocabulary, folder: Path, ways: Sequence[str] = tuple(WAYS)) -> list[str]:
    with outsiders() as readers:
        found = list(cells(vocabulary, folder / "table", readers, ways))
    assert {cell.way for cell in found} == set(ways)
    assert {cell.reader for cell in found} & {Installed.name, "the product"}
    return [f"{cell.way} {cell.reader} {cell}" for cell in found if not cell.equal and reason(cell) is None]


@pytest.mark.parametrize(("own", "ways"), TRAINED)
def test_every_reader_makes_of_every_output_what_the_vocabularys_engine_says(
    own: Kind, ways: Sequence[str], tmp_path: Path
) -> None:
    assert unexplained(trained(own, fuzzed=FUZZED), tmp_path, ways) == []


@needs_shared
@pytest.mark.slow
@pytest.mark.parametrize(("figures", "ways"), VENDORS)
def test_every_reader_makes_of_a_vendors_outputs_what_the_vendors_code_said(
    figures: Figures, ways: Sequence[str], tmp_path: Path
) -> None:
    assert unexplained(vendors(figures), tmp_path, ways) == []


def test_a_reason_covers_only_what_it_names() -> None:
    wrong = Part(3, (("a", [1], [2]),))
    assert reason(Cell("llama", "converted", "transformers 5", {"ids": wrong})) is None
    assert reason(Cell("llama", "converted", "sentencepiece", because="no tokenizer.model is written")) is not None
    assert reason(Cell("llama", "converted", "sentencepiece", because="it burst")) is None
    assert all(one.why and (one.parts or one.said) for one in REASONS)


def test_a_wrong_id_a_wrong_frame_and_a_wrong_text_are_each_seen(tmp_path: Path) -> None:
    """The table itself, put to a reader that reads wrongly."""

    class Wrong(Installed):
        def read(self, folder, texts, specials):  # type: ignore[no-untyped-def]
            found = super().read(folder, texts, specials)
            assert not isinstance(found, str)
            found.ids[3], found.framed[4], found.decoded[5] = [7], [8], "another text"
            return found

    found = list(cells(trained(kind("llama-other-size")), tmp_path / "table", [Installed(), Wrong("wrong")], ["converted"]))
    assert [cell.equal for cell in found] == [True, False]
    assert {name: len(part.wrong) for name, part in found[1].parts.items()} == {"ids": 1, "framed": 1, "text": 1, "inside": 0}
