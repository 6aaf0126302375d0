"""Record config.json as transformers 4.57's `save_pretrained` writes it, for every stock class: data of the sweep `saved`.

    python -m tests.differential.record

Makes an environment with that version, which borrows torch from the one that runs this, and asks it. Needs a package index.
"""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path
from typing import Any

from tests.differential.native import OTHERWISE, SIZES, natives
from tests.differential.saved import CHANGES, RECORDED

VERSION = "4.57.6"
#: reads sizes and changes, prints the config that each class saves; classes that the version has not are left out
_PROGRAM = """
import json, pathlib, sys, tempfile
from transformers import AutoModelForCausalLM, CONFIG_MAPPING
asked, told = json.load(sys.stdin), {}
for family, (model_type, sizes) in asked["classes"].items():
    if model_type not in CONFIG_MAPPING:
        continue
    made = CONFIG_MAPPING[model_type]
    known = made.attribute_map.values() | made().to_dict().keys()
    for name, change in asked["changes"].items():
        config = made(**{**{k: v for k, v in sizes.items() if k in known}, **change})
        with tempfile.TemporaryDirectory() as folder:
            AutoModelForCausalLM.from_config(config).save_pretrained(folder)
            told.setdefault(family, {})[name] = json.loads((pathlib.Path(folder) / "config.json").read_text())
print(json.dumps(told))
"""


def main() -> None:
    asked = {
        "classes": {one.family: (one.model_type, {**SIZES, **OTHERWISE.get(one.model_type, {})}) for one in natives()},
        "changes": dict(CHANGES),
    }
    with tempfile.TemporaryDirectory() as folder:
        told = _asked(_environment(Path(folder)), asked)
    RECORDED.write_text(json.dumps(told, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{len(told)} classes of {VERSION} recorded in {RECORDED.name}")


def _environment(home: Path) -> Path:
    """The interpreter of an environment with the old version."""
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", f"transformers=={VERSION}"], check=True)
    (packages,) = (home / "lib").glob("python*/site-packages")
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def _asked(python: Path, asked: dict[str, Any]) -> dict[str, Any]:
    done = subprocess.run(
        [python, "-W", "ignore", "-c", _PROGRAM], input=json.dumps(asked), capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


if __name__ == "__main__":
    main()
