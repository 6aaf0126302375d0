"""The ways in which we say no, each with the exit status that the command line documents.

A message is one paragraph for a person: what is wrong, where (file, tensor, key), why it matters, what to do next.
Anything else that escapes (``AssertionError``, ``KeyError``) is a bug of ours and exits with 1.
"""

from __future__ import annotations

from typing import ClassVar

_LONGEST = 120


class ConversionError(Exception):
    """Bad, unsupported or ambiguous input; also the root of every refusal."""

    status: ClassVar[int] = 3


class UsageError(ConversionError):
    """The command's own words or paths cannot be followed: unknown pair, OUT inside SRC."""

    status = 2


class UnsafeInput(ConversionError):
    """Following the input would run code or leave the checkpoint's directory."""

    status = 4


class VerificationFailed(ConversionError):
    """What was written does not compute what was read, or validation has findings."""

    status = 5


class StorageFailed(ConversionError):
    """The operating system refused to read or write: no space, EIO, permissions."""

    status = 6


class OutputBusy(ConversionError):
    """The output's name is taken, by a finished directory or by another run."""

    status = 7


class CannotJudge(ConversionError):
    """Nothing was refuted, and not everything proved: what the verifier has no means to compare."""

    status = 9


class LimitExceeded(ConversionError):
    """A limit on memory or size, ours or the user's, would be exceeded."""

    status = 8


def show(untrusted: object, longest: int = _LONGEST) -> str:
    """Text from a checkpoint, made safe for a terminal: escaped, quoted and cut.

    >>> show("a\\x1b[31mb")
    "'a\\\\x1b[31mb'"
    >>> show("x" * 200, longest=10)
    "'xxxxxxxxx... (202 characters)"
    """
    text = ascii(untrusted)
    return text if len(text) <= longest else f"{text[:longest]}... ({len(text)} characters)"


def visible(text: str) -> str:
    r"""Text for a page: what is not to be seen (escapes, line ends, marks that turn the direction) is spelled out.

    >>> visible("a\x1b[31m\u202eb, 灯塔")
    'a\\x1b[31m\\u202eb, 灯塔'
    """
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def complaint(error: BaseException, longest: int = 160) -> str:
    """What a library complained of, on one line and quoted. The class of a Python error tells a person nothing.

    >>> complaint(KeyError("vocab"))
    "'vocab'"
    >>> complaint(ValueError())
    'without a word'
    """
    told = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    words = " ".join(told.split())
    return show(words, longest) if words else "without a word"


def quote(text: str, longest: int = _LONGEST) -> str:
    """A user's own words as they were written, quoted: only what no terminal should be given is escaped.

    >>> quote("灯塔\\x1b[31m")
    "'灯塔\\\\x1b[31m'"
    """
    quoted = repr(text)
    return quoted if len(quoted) <= longest else f"{quoted[:longest]}... ({len(quoted)} characters)"


def listed(names: object, most: int = 5) -> str:
    """The first few of many names, and how many more there are.

    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    names = [str(name) for name in names]  # type: ignore[attr-defined]
    head = ", ".join(names[:most])
    return head if len(names) <= most else f"{head} and {len(names) - most} more"
