"""What was found: small files in the repository, by surface, named by what they are."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
COUNTS = Path(__file__).parent / "counts.json"
_SMALL = 20_000  # bytes of a file that is kept


def kept(surface: str) -> list[Path]:
    """What was found on a surface before."""
    return sorted(_folder(surface).glob("*"))


def keep(surface: str, data: bytes) -> Path:
    """Where a file is kept from now on; one too large for the repository is written to no place."""
    place = _folder(surface) / hashlib.sha256(data).hexdigest()[:12]
    if len(data) <= _SMALL:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    return place


def record(surface: str, cases: int, seconds: float, found: int) -> None:
    """Adds to what was tried on a surface in all, which docs/trust.md shows; ``found`` may since have been mended."""
    counts = json.loads(COUNTS.read_text()) if COUNTS.exists() else {}
    told = counts.setdefault(surface, {"cases": 0, "seconds": 0, "found": 0})
    counts[surface] = {
        "cases": told["cases"] + cases, "seconds": told["seconds"] + round(seconds), "found": told["found"] + found,
    }  # fmt: skip
    COUNTS.write_text(json.dumps(dict(sorted(counts.items())), indent=1) + "\n")


def _folder(surface: str) -> Path:
    return CORPUS / surface.replace("/", "-")
