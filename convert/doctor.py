"""The environment, as far as it decides what works: commands on PATH, versions, optional libraries, disk."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import tempfile
from pathlib import Path
from typing import Any

from convert.report import size
from convert.version import VERSION

_NEEDED = (
    "safetensors",
    "torch",
    "huggingface_hub",
    "click",
    "tqdm",
    "numpy",
    "tokenizers",
    "sentencepiece",
    "jinja2",
    "xxhash",
)
_OPTIONAL = {
    "transformers": "judges outputs (`verify --with transformers`)",
    "tiktoken": "checks tiktoken vocabularies",
}


def doctor() -> dict[str, Any]:
    """What was found, as JSON values."""
    return {
        "weightsmith": VERSION,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "commands": {name: _on_path(name) for name in ("convert", "weightsmith", "surgery")},
        "libraries": {name: _version(name) for name in _NEEDED},
        "optional": {name: {"version": _version(name), "for": use} for name, use in _OPTIONAL.items()},
        "disk": {str(place): shutil.disk_usage(place).free for place in (Path.cwd(), Path(tempfile.gettempdir()))},
        "hub_cache": os.environ.get("HF_HOME", "~/.cache/huggingface"),
        "problems": _problems(),
    }


def doctor_text(told: dict[str, Any]) -> str:
    """The same for a person."""
    lines = [f"weightsmith {told['weightsmith']} on Python {told['python']}, {told['system']}"]
    for name, places in told["commands"].items():
        lines.append(f"  {name:<12} {places[0] if places else 'not on PATH'}")
        lines += [f"  {'':<12} also {place}, which is hidden by the first" for place in places[1:]]
    lines += [f"  {name:<16} {version or 'missing'}" for name, version in told["libraries"].items()]
    lines += [
        f"  {name:<16} {found['version'] or 'not installed'}: {found['for']}"
        for name, found in told["optional"].items()
    ]
    lines += [f"  free at {place}: {size(free)}" for place, free in told["disk"].items()]
    lines += [f"  problem: {problem}" for problem in told["problems"]] or ["  no problem found"]
    return "\n".join(lines)


def _on_path(name: str) -> list[str]:
    """Every executable of this name, in the order that the shell looks."""
    folders = dict.fromkeys(os.environ.get("PATH", "").split(os.pathsep))
    found = (Path(folder) / name for folder in folders if folder)
    return [str(path) for path in found if path.is_file() and os.access(path, os.X_OK)]


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _problems() -> list[str]:
    problems = [f"{name} is not installed" for name in _NEEDED if _version(name) is None]
    first = _on_path("convert")
    if first and not _is_ours(Path(first[0])):
        problems.append(
            f"`convert` is {first[0]}, which is not weightsmith's; use `weightsmith`, which is the same program"
        )
    return problems


def _is_ours(path: Path) -> bool:
    try:
        return b"convert.cli" in path.read_bytes()[:4096]
    except OSError:
        return False
