"""docs/trust.md is what the counts say."""

import json

from tests.corpus.__main__ import COUNTS as BAD
from tests.faults.page import COUNTS
from tests.faults.paths import NAMES
from tests.fuzz import corpus_of
from tests.fuzz.surfaces import SURFACES
from tests.trust.page import PAGE, page


def test_the_page_is_what_the_counts_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()


def test_every_path_and_every_surface_was_tried_and_nothing_failed() -> None:
    tried = json.loads(COUNTS.read_text(encoding="utf-8"))
    assert tried.keys() == set(NAMES)
    assert sum(cell["failed"] for cells in tried.values() for cell in cells.values()) == 0
    assert json.loads(corpus_of.COUNTS.read_text(encoding="utf-8")).keys() == SURFACES.keys()
    bad = [by for kind in json.loads(BAD.read_text(encoding="utf-8")).values() for by in kind.values()]
    assert bad and all(by["right"] == by["of"] > 0 for by in bad)
