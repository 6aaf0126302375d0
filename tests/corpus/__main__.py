"""`python -m tests.corpus [--only PATTERN]`: every case in both halves, verified and not; what is wrong, and a table.

Without --only the counts are kept, for docs/trust.md.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

os.environ.update(WEIGHTSMITH_WITNESS="off", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

from tests.corpus.good import HALVES
from tests.corpus.judge import VERIFY, judged, left_out
from tests.corpus.table import GROUPS
from tests.odd.here import in_this_process

COUNTS = Path(__file__).with_name("counts.json")


def main() -> int:
    """Run them, and print; the status says whether anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.corpus", description=__doc__)
    parser.add_argument("--only", default="*", help="cases of this name (a pattern)")
    asked = parser.parse_args()
    right: Counter[tuple[str, str]] = Counter()
    tried: Counter[tuple[str, str]] = Counter()
    out: set[str] = set()
    with tempfile.TemporaryDirectory() as folder, in_this_process():
        for group, cases in GROUPS.items():
            for case in (case for case in cases if fnmatch.fnmatch(case.name, asked.only)):
                if left_out(case):
                    out.add(case.name)
                    continue
                for half in HALVES:
                    for verify in VERIFY:
                        found = judged(case, half, verify, Path(folder) / "case")
                        keys = ((group, verify), (case.kind, verify), ("all", verify))
                        tried.update(keys)
                        right.update(keys if not found else ())
                        for what in found:
                            print(f"WRONG {case.name} ({half}, --verify {verify}): {what}", flush=True)
    print("", f"{'':20}" + "".join(f"{'--verify ' + verify:>16}" for verify in VERIFY), sep="\n")
    seen = dict.fromkeys(key for key, _ in tried)  # the groups, then the ways to end, then all
    for key in sorted(seen, key=lambda key: (key == "all", key not in GROUPS)):
        counts = (f"{right[key, verify]} / {tried[key, verify]}" for verify in VERIFY)
        print(f"{key:20}" + "".join(f"{each:>16}" for each in counts))
    if asked.only == "*":
        kinds = (key for key in seen if key not in GROUPS and key != "all")
        kept = {kind: {verify: {"right": right[kind, verify], "of": tried[kind, verify]} for verify in VERIFY} for kind in kinds}
        COUNTS.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    if out:
        print(f"left out: {', '.join(sorted(out))}, which are none for root")
    return 0 if right == tried and tried else 1


if __name__ == "__main__":
    sys.exit(main())
