"""The counts: what fails is told, what is counted again takes the place of what was counted before."""

from __future__ import annotations

from pathlib import Path

from tests.faults.bench import Check
from tests.faults.page import counted, keep, page, read, shown

CHECKS = [
    Check("kill", "at 5%", redone=0.5),
    Check("kill", "at 9%", redone=1.0),
    Check("place", "OUT is a file", ("exit 0", "what was there has changed")),
]


def test_a_cell_counts_its_checks_and_tells_its_first_failure():
    assert counted(CHECKS) == {
        "kill": {"checks": 2, "failed": 0, "first": "", "redone": [0.75, 1.0]},
        "place": {
            "checks": 1, "failed": 1, "first": "place: OUT is a file: exit 0; what was there has changed", "redone": None,
        },
    }  # fmt: skip


def test_counts_of_one_mode_leave_those_of_the_others_as_they_were(tmp_path: Path):
    file = tmp_path / "counts.json"
    keep({"bin": counted(CHECKS), "cast": counted(CHECKS[:1])}, file)
    keep({"bin": counted(CHECKS[:1])}, file)
    kept = read(file)
    assert kept["bin"]["kill"]["checks"] == 1 and kept["bin"]["place"]["failed"] == 1
    assert kept["cast"]["kill"]["checks"] == 1


def test_the_tables_have_a_line_a_path_and_name_what_failed():
    counts = {"bin": counted(CHECKS), "cast": counted(CHECKS[:1])}
    assert shown(counts).splitlines() == [
        "           kill      place",
        "bin           2      1 (1)",
        "cast          1          -",
        "bin: place: OUT is a file: exit 0; what was there has changed",
        "4 checks, 1 failed",
    ]
    lines = page(counts).splitlines()
    assert lines[0] == "| path | kill | place | failed |"
    assert "| `.bin` files: Baichuan to Llama | 2 | 1 (1) | 1 |" in lines
    assert "| **all** | 3 | 1 | 1 |" in lines
    assert "- bin: place: OUT is a file: exit 0; what was there has changed" in lines
