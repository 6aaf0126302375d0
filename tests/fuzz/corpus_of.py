"""What was found: small files in the repository, by surface, named by what they are."""

from __future__ import annotations

import hashlib
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
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


def _folder(surface: str) -> Path:
    return CORPUS / surface.replace("/", "-")
