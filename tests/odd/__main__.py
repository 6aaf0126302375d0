"""`python -m tests.odd [--count N] [DOCUMENT ...]`: the sweep, with every fault; without --count all of it."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

os.environ.update(WEIGHTSMITH_WITNESS="off", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

from tests.odd.here import in_this_process
from tests.odd.surfaces import SURFACES, ground
from tests.odd.sweep import cases, fault


def main() -> int:
    """Sweep, and print a line for each document; the status says whether there was a fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.odd", description=__doc__)
    parser.add_argument("documents", nargs="*", metavar="DOCUMENT", help=", ".join(SURFACES))
    parser.add_argument("--count", type=int, help="values for each document, drawn the same way every time")
    asked = parser.parse_args()
    faults: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder, in_this_process():
        place = ground(Path(folder))
        for name in asked.documents or SURFACES:
            surface = SURFACES[name]
            document, tried = place.whole(surface), 0
            for case in cases(surface, document, asked.count):
                tried += 1
                if why := fault(place, case, document):
                    faults[name] += 1
                    print(f"FAULT {case}\n  {why}", flush=True)
            print(f"{name}: {tried} tried, {faults[name]} faults", flush=True)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
