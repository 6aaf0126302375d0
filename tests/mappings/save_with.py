"""Writes what the classes of the transformers at hand save, to be recorded: ``python -m tests.mappings.save_with FILE``.

Run with another release of the library than the project's: ``saved_by_4_57.json`` is what 4.57.6 wrote.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from tests.mappings.classes import config_of, native


def main(file: str) -> None:
    found = {}
    for kind in native():
        with tempfile.TemporaryDirectory() as folder:
            config_of(kind).save_pretrained(folder)
            found[kind] = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    Path(file).write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
