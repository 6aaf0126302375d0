"""Published config.json of Llama-like models, keys and values as released: what the config gate must not refuse.

One JSON file per model in tests/configs: `source` (where the text was read), `family` (the plain name of the table
that should recognise it), `config`, and sometimes `note` (what the place it was read from is known to have changed).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONFIGS = Path(__file__).resolve().parent / "configs"


@dataclass(frozen=True)
class Published:
    name: str
    family: str
    source: str
    config: Mapping[str, Any]
    note: str = ""

    def __str__(self) -> str:
        return self.name


def published(*families: str) -> tuple[Published, ...]:
    """Every published config of these families (with none: of all), by name."""
    read = tuple(
        Published(path.stem, **json.loads(path.read_text(encoding="utf-8"))) for path in sorted(CONFIGS.glob("*.json"))
    )
    return tuple(each for each in read if not families or each.family in families)
