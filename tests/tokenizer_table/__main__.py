"""Prints the table; exit status 1 where a cell is unequal and nobody has said why."""

from __future__ import annotations

import argparse
import fnmatch
import sys
import tempfile
from pathlib import Path

from tests.tokenizer_table.cells import Cell, cells
from tests.tokenizer_table.outsiders import outsiders
from tests.tokenizer_table.reasons import reason
from tests.tokenizer_table.vocabularies import every
from tests.tokenizer_table.ways import WAYS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.tokenizer_table", description=__doc__)
    parser.add_argument("--only", default="*", help="vocabularies of this name (a pattern: llama*, 'vendor *')")
    parser.add_argument("--ways", default=",".join(WAYS), help=f"some of {','.join(WAYS)}")
    parser.add_argument("--fuzz", type=int, default=0, help="so many more strings, with specials inside (3000 say)")
    parser.add_argument("--all", action="store_true", help="shows three texts of each unequal cell, with a reason or without")
    asked = parser.parse_args()
    unexplained = total = 0
    with outsiders() as readers:
        print(f"readers: {', '.join(reader.name for reader in readers)}\n")
        print(f"{'vocabulary':22} {'way':13} {'reader':15} what is equal")
        for name, make in every(asked.fuzz):
            if not fnmatch.fnmatch(name, asked.only):
                continue
            with tempfile.TemporaryDirectory() as folder:
                for cell in cells(make(), Path(folder) / "table", readers, asked.ways.split(",")):
                    total += 1
                    unexplained += _told(name, cell, asked.all)
    print(f"\n{total} cells, {unexplained} unequal without a reason")
    return 1 if unexplained else 0


def _told(name: str, cell: Cell, examples: bool) -> bool:
    """Prints a cell; whether it is unequal and nobody has said why."""
    because = None if cell.equal else reason(cell)
    unexplained = not cell.equal and because is None
    tail = "" if cell.equal else f"  ({because})" if because else "  UNEQUAL"
    print(f"{name:22} {cell.way:13} {cell.reader:15} {str(cell)[:90]}{tail}", flush=True)
    if unexplained or (examples and not cell.equal):
        for part, found in cell.parts.items():
            for text, right, read in found.wrong[:3]:
                print(f"    {part} of {text!r}: right {str(right)[:120]!r}, read {str(read)[:120]!r}")
    return unexplained


if __name__ == "__main__":
    sys.exit(main())
