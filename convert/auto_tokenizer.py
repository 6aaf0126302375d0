"""A folder's tokenizer as the library itself builds it: AutoTokenizer of transformers, with the folder's own config.json.

The library chooses a class by the model's type as well as by what the tokenizer's files say, and some classes lay parts of
their own over a tokenizer.json; so what a user gets is known only from the library. Nothing is fetched, and no code of a
checkpoint runs; the library itself runs apart, where what it may use is bounded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from surgery.apart import Failed, Guest, made

_READ = (".json", ".model", ".txt", ".tiktoken", ".jinja", ".bpe", ".vocab")  # endings of what the library reads
_LARGEST = 1 << 28  # bytes of a file that counts as a tokenizer's


@dataclass(frozen=True)
class Built:
    """A tokenizer that the library built. Encoding raises ``Failed`` where the library does."""

    guest: Guest

    @property
    def name(self) -> str:
        """The class that the library chose."""
        return str(self.guest.told["name"])

    def encode(self, text: str, framed: bool = False) -> list[int]:
        """Ids of a text; ``framed`` is with what the tokenizer puts around it."""
        ids: list[int] = self.guest.call("encode", text=text, framed=framed)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, without special tokens."""
        return str(self.guest.call("decode", ids=list(ids)))

    @property
    def specials(self) -> tuple[str, ...]:
        """Tokens that are looked for in text before anything else."""
        return tuple(self.guest.call("specials"))

    @property
    def skipped(self) -> dict[str, str]:
        """The added tokens, by their ids as text, that decoded text leaves out along with special tokens."""
        found: dict[str, str] = self.guest.call("skipped")
        return found

    @property
    def saved(self) -> bytes | None:
        """The tokenizer.json that says what this one does; None where it runs something else than tokenizers."""
        text: str | None = self.guest.call("saved")
        return text.encode() if text is not None else None

    def prompt(self, messages: Sequence[Mapping[str, Any]], answering: bool) -> str | dict[str, str] | None:
        """A conversation in its template, or that it refuses it; None where it has none."""
        told: str | dict[str, str] | None = self.guest.call("prompt", messages=list(messages), answering=answering)
        return told


@dataclass(frozen=True)
class NotBuilt:
    """Why the library builds no tokenizer from a folder."""

    reason: str


class AutoTokenizers:
    """The library. ``ImportError`` where it is not installed."""

    def __init__(self) -> None:
        try:
            number = version("transformers") if find_spec("transformers") is not None else ""
        except (PackageNotFoundError, ValueError):
            number = ""
        if not number:
            raise ImportError("transformers is not installed", name="transformers")
        self.name = f"AutoTokenizer of transformers {number}"

    def build(self, files: Mapping[str, bytes], config: bytes | None) -> Built | NotBuilt:
        """The tokenizer of a folder with these tokenizer files and this config.json; nothing else is in it."""
        with TemporaryDirectory(prefix="weightsmith-tokenizer-") as folder:
            for name, content in files.items():
                (Path(folder) / name).write_bytes(content)
            if config is not None:
                (Path(folder) / "config.json").write_bytes(config)
            found = self.of(Path(folder))
        if isinstance(found, Built):
            found.guest.again = lambda: _guest(self.build(files, config))
        return found

    def of(self, folder: Path) -> Built | NotBuilt:
        """The tokenizer of a folder as it is. ``TooMuch`` where building it takes more than is allowed."""
        guest = made(
            "convert.auto_tokenizer_process:Built", folder=str(folder), weight=_nbytes(folder),
            what="the tokenizer, as transformers builds it,",
        )  # fmt: skip
        return NotBuilt(guest.told["reason"]) if "reason" in guest.told else Built(guest)


def _guest(found: Built | NotBuilt) -> Guest:
    """That of a tokenizer that was built before, from the same files."""
    if isinstance(found, NotBuilt):
        raise Failed("NotBuilt", found.reason, panicked=False)
    return found.guest


def _nbytes(folder: Path) -> int:
    """The size of what the library may read there; its work grows with it."""
    sizes = [one.stat().st_size for one in folder.iterdir() if one.name.endswith(_READ) and one.is_file()]
    return sum(size for size in sizes if size <= _LARGEST)
