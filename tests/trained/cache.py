"""What was trained once on this machine, kept in pytest's cache folder under a key of the recipe and its libraries.

Each file is whole or not there: it is written beside its name and renamed, so workers that train the same at the same
time write the same.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_FOLDER = _HERE.parents[1] / ".pytest_cache" / "vocabularies"
_LIBRARIES = ("sentencepiece", "tokenizers")


@cache
def _key() -> str:
    said = [f"{name} {version(name)}".encode() for name in _LIBRARIES]
    said += [path.read_bytes() for path in sorted(_HERE.glob("*.py"))]
    return hashlib.sha256(b"\0".join(said)).hexdigest()[:16]


def trained(name: str, train: Callable[[], bytes]) -> bytes:
    """The file of this name, trained if this machine has not trained it yet."""
    folder = _FOLDER / _key()
    path = folder / name
    try:
        return path.read_bytes()
    except FileNotFoundError:
        data = train()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(dir=folder)
    except OSError:  # a clone that may not be written to: then each process trains for itself
        return data
    with os.fdopen(handle, "wb") as file:
        file.write(data)
    os.rename(beside, path)
    return data
