"""Odd values at every key of every document: refused in one paragraph, found, or taken; never a bug of ours. A sample.

`python -m tests.odd` tries all of them, which takes hours.
"""

from collections.abc import Iterator

import pytest

from tests.odd.here import in_this_process
from tests.odd.surfaces import SURFACES, Ground, Surface, ground
from tests.odd.sweep import cases, fault

QUICK, SLOW = 12, 250  # drawn for each document


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with in_this_process():
        yield ground(tmp_path_factory.mktemp("odd"))


def faults(place: Ground, surface: Surface, count: int) -> list[str]:
    document = place.whole(surface)
    tried = list(cases(surface, document, count))
    assert len(tried) == count
    return [f"{case}: {why}" for case in tried if (why := fault(place, case, document))]


@pytest.mark.parametrize("name", SURFACES)
def test_an_odd_value_is_nobodys_bug(name: str, place: Ground) -> None:
    assert faults(place, SURFACES[name], QUICK) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", SURFACES)
def test_no_odd_value_of_many_is_a_bug(name: str, place: Ground) -> None:
    assert faults(place, SURFACES[name], SLOW) == []
