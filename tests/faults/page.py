"""What was counted: by path and mode, as a table for the terminal, as JSON, and as the table of the documentation."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.faults.bench import Check
from tests.faults.modes import MODES
from tests.faults.paths import ABOUT, NAMES

COUNTS = Path(__file__).with_name("counts.json")
_SHOWN = 200  # characters of a failure in the table

Cell = Mapping[str, Any]  # `checks`, `failed`, `first` (the first failure), `redone` (median and largest share of bytes)
Counts = Mapping[str, Mapping[str, Cell]]  # path -> mode -> cell


def counted(checks: Iterable[Check]) -> dict[str, Cell]:
    """The cells of one path, by mode."""
    by: dict[str, list[Check]] = {}
    for check in checks:
        by.setdefault(check.mode, []).append(check)
    return {mode: _cell(by[mode]) for mode in MODES if mode in by}


def _cell(checks: Sequence[Check]) -> Cell:
    failed = [check for check in checks if not check.passed]
    redone = [check.redone for check in checks if check.redone is not None]
    return {
        "checks": len(checks),
        "failed": len(failed),
        "first": str(failed[0]) if failed else "",
        "redone": [round(statistics.median(redone), 3), round(max(redone), 3)] if redone else None,
    }


def keep(counts: Counts, file: Path) -> None:
    """Put these cells into the place of what the file said of them before."""
    kept = read(file)
    for path, cells in counts.items():
        kept[path] = {**kept.get(path, {}), **cells}
    file.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read(file: Path) -> dict[str, Mapping[str, Cell]]:
    """What the file says, by path; nothing where there is none."""
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def shown(counts: Counts) -> str:
    """For the terminal: a line a path, and below it the first failure of each cell that has one."""
    modes = [mode for mode in MODES if any(mode in cells for cells in counts.values())]
    width = max((len(path) for path in counts), default=0)
    lines = [" ".join([" " * width, *(f"{mode:>10}" for mode in modes)])]
    for path, cells in counts.items():
        lines.append(" ".join([f"{path:{width}}", *(f"{_numbers(cells.get(mode)):>10}" for mode in modes)]))
    for path, cells in counts.items():
        lines += [f"{path}: {cell['first'][:_SHOWN]}" for cell in cells.values() if cell["first"]]
    checks, failed = _sum(counts, "checks"), _sum(counts, "failed")
    return "\n".join([*lines, f"{checks} checks, {failed} failed"])


def _numbers(cell: Cell | None) -> str:
    if cell is None:
        return "-"
    return f"{cell['checks']} ({cell['failed']})" if cell["failed"] else str(cell["checks"])


def page(counts: Counts) -> str:
    """For the documentation, in Markdown: how many checks every path passed of each mode, and what the modes are."""
    told = [path for path in NAMES if path in counts]
    modes = [mode for mode in MODES if any(mode in counts[path] for path in told)]
    lines = [f"| path | {' | '.join(modes)} | failed |", f"|---|{'---:|' * (len(modes) + 1)}"]
    for path in told:
        cells = counts[path]
        failed = sum(cell["failed"] for cell in cells.values())
        lines.append(f"| {ABOUT[path]} | {' | '.join(_numbers(cells.get(mode)) for mode in modes)} | {failed} |")
    total = {mode: _sum(counts, "checks", mode) for mode in modes}
    lines.append(f"| **all** | {' | '.join(f'{total[mode]:,}' for mode in modes)} | {_sum(counts, 'failed')} |")
    failures = [f"{path}: {cell['first']}" for path in told for cell in counts[path].values() if cell["first"]]
    said = [f"- `{mode}`: {MODES[mode].says}." for mode in modes]
    return "\n".join([*lines, "", *said, *(["", "Failed:", "", *(f"- {one}" for one in failures)] if failures else [])])


def _sum(counts: Counts, what: str, mode: str | None = None) -> int:
    cells = (cell for path in counts.values() for name, cell in path.items() if mode in (None, name))
    return sum(cell[what] for cell in cells)
