"""How much computing and memory the files of a checkpoint may cause, and where a user says otherwise.

A tokenizer is a program: forty replacements of one letter by two, in 4 KB, make 10^12 letters of one. Nothing says beforehand
how long such a program runs, so it runs in a process that the system ends (`surgery.apart`). What is allowed grows with what
the process was given, since honest files are large and honest corpora larger; what a small file may cause stays small.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from surgery.errors import UsageError, show

#: environment variables that say it for all runs; a command's options set them, so that its children know
SECONDS, MEMORY = "WEIGHTSMITH_FILE_SECONDS", "WEIGHTSMITH_FILE_MEMORY"

_SECONDS, _MEMORY = 10.0, 1_000_000_000
#: for every megabyte of files, and of text: libraries need a third of it to load a vocabulary, or to cut a text
_SECONDS_FILES, _SECONDS_TEXT = 2.0, 5.0
#: for every byte of a file given: a tokenizer.json takes 22 bytes for each when it is loaded, once
_MEMORY_A_BYTE = 20
LARGEST = 40_000_000  # bytes of files that a task is allowed for: the largest tokenizer.json known has 34 MB
_MOST_MEMORY = 4 * _MEMORY  # that the size of files adds


@dataclass(frozen=True)
class Limits:
    """What a process may use that reads what strangers wrote, before what the size of its task adds."""

    seconds: float = _SECONDS  # of computing: waiting is not counted, so that a busy machine refuses nothing
    memory: int = _MEMORY  # bytes beyond what the libraries map

    def seconds_for(self, text: int, files: int) -> float:
        """The same for so many bytes of text and of files."""
        return self.seconds + (_SECONDS_TEXT * text + _SECONDS_FILES * files) / 1e6

    def memory_for(self, files: int) -> int:
        """The same for files of so many bytes."""
        return self.memory + min(_MOST_MEMORY, _MEMORY_A_BYTE * files)

    @property
    def words(self) -> str:
        """The limits in a sentence."""
        return f"{self.seconds:g} seconds of computing or {self.memory / 1e6:,.0f} MB of memory"


def limits() -> Limits:
    """Those of the environment, else the default ones."""
    return Limits(_stated(SECONDS, _SECONDS), int(_stated(MEMORY, _MEMORY)))


def _stated(name: str, otherwise: float) -> float:
    said = os.environ.get(name)
    if not said:
        return otherwise
    try:
        number = float(said)
    except ValueError:
        number = -1.0
    if not 0 < number < 1e15:
        raise UsageError(f"{name}={show(said)} is no number above 0: seconds, or bytes.")
    return number
