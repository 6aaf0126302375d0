"""A folder's tokenizer as the library itself builds it: AutoTokenizer of transformers, with the folder's own config.json.

The library chooses a class by the model's type as well as by what the tokenizer's files say, and some classes lay parts of
their own over a tokenizer.json; so what a user gets is known only from the library. Nothing is fetched, and no code of a
checkpoint runs.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from surgery.errors import complaint


@dataclass(frozen=True)
class Built:
    """A tokenizer that the library built. Encoding raises whatever the library raises."""

    tokenizer: Any

    @property
    def name(self) -> str:
        """The class that the library chose."""
        return type(self.tokenizer).__name__

    def encode(self, text: str, framed: bool = False) -> list[int]:
        """Ids of a text; ``framed`` is with what the tokenizer puts around it."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=framed)
        return list(ids)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, without special tokens."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    @property
    def specials(self) -> tuple[str, ...]:
        """Tokens that are looked for in text before anything else."""
        return tuple(self.tokenizer.get_added_vocab())

    @property
    def saved(self) -> bytes | None:
        """The tokenizer.json that says what this one does; None where it runs something else than tokenizers."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        return f"{backend.to_str(pretty=True)}\n".encode() if backend is not None else None


@dataclass(frozen=True)
class NotBuilt:
    """Why the library builds no tokenizer from a folder."""

    reason: str


class AutoTokenizers:
    """The library, loaded. ``ImportError`` where it is not installed."""

    def __init__(self) -> None:
        import transformers

        self.name = f"AutoTokenizer of transformers {transformers.__version__}"
        self._build = transformers.AutoTokenizer.from_pretrained

    def build(self, files: Mapping[str, bytes], config: bytes | None) -> Built | NotBuilt:
        """The tokenizer of a folder with these tokenizer files and this config.json; nothing else is in it."""
        with TemporaryDirectory(prefix="weightsmith-tokenizer-") as folder:
            for name, content in files.items():
                (Path(folder) / name).write_bytes(content)
            if config is not None:
                (Path(folder) / "config.json").write_bytes(config)
            return self.of(Path(folder))

    def of(self, folder: Path) -> Built | NotBuilt:
        """The tokenizer of a folder as it is."""
        with _quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the library deprecates is no fault of the folder's
            try:
                built = Built(self._build(str(folder), trust_remote_code=False, local_files_only=True))
                built.encode("a")
            except (KeyboardInterrupt, SystemExit, MemoryError):
                raise
            except BaseException as error:  # also a panic of the library's, which is no Exception
                return NotBuilt(_said(error))
        return built


@contextmanager
def _quiet() -> Iterator[None]:
    """What the library remarks about other people's files is not for our users."""
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _said(error: BaseException) -> str:
    if "custom code" in str(error) or "trust_remote_code" in str(error):
        return "it needs code of its own repository, which never runs here"
    return f"it fails: {complaint(error)}"
