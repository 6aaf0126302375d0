"""Who reads a written folder: transformers as it is installed, an older one, sentencepiece, llama.cpp.

What is not in this environment is asked in another interpreter, which the Makefile sets up (`make outsiders`) and
``OUTSIDERS`` names; where there is none, its columns say so.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tests.tokenizer_table import speaker

HERE = Path(__file__).resolve().parents[2]
OUTSIDERS = HERE / ".outsiders" / "bin" / "python"


@dataclass(frozen=True)
class Readings:
    """What a reader makes of each text: ids, ids with what stands around a text, and the text again; None: not asked."""

    ids: list[list[int] | None]
    framed: list[list[int] | None]
    decoded: list[str | None]


class Outsider(Protocol):
    """A reader of folders; a text instead of readings says why there are none."""

    @property
    def name(self) -> str: ...
    def read(self, folder: Path, texts: Sequence[str], specials: Sequence[str]) -> Readings | str: ...


@dataclass(frozen=True)
class Installed:
    """The library of this environment."""

    name: str = "transformers 5"

    def read(self, folder: Path, texts: Sequence[str], specials: Sequence[str]) -> Readings | str:
        return _readings(speaker.transformers(str(folder), list(texts)))


@dataclass(frozen=True)
class Pieces:
    """sentencepiece on the written model; it knows no special tokens, so texts with one are not put to it."""

    name: str = "sentencepiece"

    def read(self, folder: Path, texts: Sequence[str], specials: Sequence[str]) -> Readings | str:
        if not (folder / "tokenizer.model").exists():
            return "no tokenizer.model is written"
        from sentencepiece import SentencePieceProcessor

        pieces = SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
        plain = [None if any(special in text for special in specials) else text for text in texts]
        ids = [None if text is None else list(pieces.encode(text)) for text in plain]
        return Readings(ids, [None] * len(texts), [None if one is None else pieces.decode(one) for one in ids])


@dataclass(frozen=True)
class Elsewhere:
    """One of another interpreter's libraries."""

    name: str
    ask: Any

    def read(self, folder: Path, texts: Sequence[str], specials: Sequence[str]) -> Readings | str:
        return _readings(self.ask(self.name, str(folder), list(texts)))


@dataclass
class Interpreter:
    """Another interpreter, which reads folders until it is closed; a reader that dies there is an answer, and it starts again."""

    python: Path
    child: subprocess.Popen[str] | None = None

    def start(self) -> list[str]:
        """The names of the readers that it has."""
        env = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": "", "PYTHONWARNINGS": "ignore"}
        words = [str(self.python), str(Path(speaker.__file__))]
        self.child = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env, text=True, cwd="/"
        )
        names: list[str] = self._answer()
        return names

    def ask(self, who: str, folder: str, texts: list[str]) -> Any:
        if self.child is None:
            self.start()
        assert self.child is not None and self.child.stdin is not None
        self.child.stdin.write(json.dumps({"who": who, "folder": folder, "texts": texts}) + "\n")
        self.child.stdin.flush()
        try:
            return self._answer()
        except EOFError:
            self.close()
            return {"because": "it crashes"}

    def close(self) -> None:
        if self.child is not None:
            self.child.communicate()
            self.child = None

    def _answer(self) -> Any:
        assert self.child is not None and self.child.stdout is not None
        line = self.child.stdout.readline()
        if not line:
            raise EOFError(f"{self.python} ended")
        return json.loads(line)


@contextmanager
def outsiders(python: Path = OUTSIDERS) -> Iterator[list[Outsider]]:
    """All that can be asked here."""
    here: list[Outsider] = [Installed(), Pieces()]
    if not python.exists():
        yield here
        return
    there = Interpreter(python)
    try:
        yield here + [Elsewhere(name, there.ask) for name in there.start()]
    finally:
        there.close()


def _readings(answer: dict[str, Any]) -> Readings | str:
    if "because" in answer:
        return str(answer["because"])
    return Readings(answer["ids"], answer["framed"], answer["decoded"])
