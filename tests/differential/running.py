"""Cases over processes: those of one source go to one process, one after another."""

from __future__ import annotations

import multiprocessing
import os
import random
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import groupby
from pathlib import Path

from tests.differential.case import Case, Fault, Outcome, brief, concluded
from tests.differential.room import Room, memory

_ROOM: list[Room] = []


def run(cases: Sequence[Case], workers: int) -> Iterator[Outcome]:
    """The outcome of each case, in the order in which they end."""
    groups = [list(group) for _, group in groupby(cases, key=lambda case: case.source)]
    with tempfile.TemporaryDirectory(prefix="differential-", dir=memory()) as folder:
        if workers == 1:
            room = Room(Path(folder))
            yield from (outcome for group in groups for outcome in judged(group, room))
            return
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context, initializer=_enter, initargs=(folder,)) as pool:
            for outcomes in pool.map(_judged, groups, chunksize=4):
                yield from outcomes


def judged(cases: Iterable[Case], room: Room) -> list[Outcome]:
    """The outcomes of some cases in this process; what a case lets escape is told as its crash."""
    found = []
    for case in cases:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found.append(case.judged(room))
            except Exception as error:
                found.append(concluded(case.id, [Fault("crash", f"the case itself: {brief(error)}")]))
    return found


def sampled(cases: Iterable[Case], count: int, seed: int) -> list[Case]:
    """So many cases, spread evenly over the sweeps by a seed; the rest of a small sweep goes to the others."""
    chosen = random.Random(seed)
    by: dict[str, list[Case]] = {}
    for case in cases:
        by.setdefault(case.id.partition("/")[0], []).append(case)
    found: list[Case] = []
    for left, some in zip(range(len(by), 0, -1), sorted(by.values(), key=len), strict=True):
        share = min(len(some), (count - len(found)) // left)
        found += chosen.sample(some, share)
    return sorted(found, key=lambda case: (case.source, case.id))


def _enter(folder: str) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    _ROOM[:] = [Room(Path(tempfile.mkdtemp(dir=folder)))]


def _judged(cases: Sequence[Case]) -> list[Outcome]:
    return judged(cases, _ROOM[0])

