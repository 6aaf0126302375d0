"""One odd value, one command: what is wrong with how it ended."""

from __future__ import annotations

import builtins
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from convert.validate.rules import rules
from tests.odd.here import Done, ran
from tests.odd.surfaces import Ground, Surface
from tests.odd.values import ODD, Place, places, saying

_EXCEPTIONS = [
    name for name, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, BaseException)
]
#: an exception's name, or words of Python's own that no person was meant to read
_PYTHON = re.compile(
    rf"\b({'|'.join(_EXCEPTIONS)}|Traceback|NoneType)\b|object is not|not supported between|unhashable|has no attribute"
    r"|unsupported operand|must be real number|<class '|a bug in weightsmith"
)
#: what is said in others' names: a library's quoted complaint, a template's fault, a rule's reasons
_QUOTED = re.compile(
    r"""fails: (?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|['"].*?\.\.\. \(\d+ characters\))|the chat template refuses .*"""
)
_REASONS = sorted({text for rule in rules() for text in (rule.why, rule.what, rule.fix)}, key=len, reverse=True)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u202e]")
_LONGEST = 3000  # characters of an error
#: what bad input, or a comparison with something else, may end with; never 1 (our bug), 6 (I/O) or 8 (limits) for so little
_STATUSES = (0, 2, 3, 4, 5, 9)


@dataclass(frozen=True)
class Case:
    """A value at a place of a document, and the command that is given it."""

    surface: Surface
    place: Place
    value: int  # its number in ODD
    command: str

    def __str__(self) -> str:
        where = ".".join(map(str, self.place))
        return f"{self.surface.name}: {where} = {ascii(ODD[self.value])[:60]}: {self.command}"


def cases(surface: Surface, document: Any, count: int | None = None) -> Iterator[Case]:
    """Every place and value with every command; or ``count`` of them, drawn the same way every time."""
    spots = [(), *places(document)]
    everything = len(spots) * len(ODD) * len(surface.commands)
    drawn = range(everything) if count is None else random.Random(surface.name).sample(range(everything), min(count, everything))
    for number in drawn:
        number, command = divmod(number, len(surface.commands))
        spot, value = divmod(number, len(ODD))
        yield Case(surface, spots[spot], value, surface.commands[command])


def fault(ground: Ground, case: Case, document: Any) -> str:
    """What is wrong with how a command took an odd value; empty where nothing is."""
    try:
        ground.put(case.surface, saying(document, case.place, ODD[case.value]))
    except ValueError:  # the form of the document has no such value
        return ""
    try:
        return _wrong(case.command, ran(ground.line(case.surface, case.command)))
    finally:
        ground.restore(case.surface)


def _wrong(command: str, done: Done) -> str:
    said = done.stderr
    if done.status not in _STATUSES:
        return f"status {done.status}: {said[-1500:]}"
    own = _own(said + done.stdout)
    if found := _PYTHON.search(own):
        return f"Python's words {found[0]!r}: {own[max(0, found.start() - 300):found.end() + 200]}"
    documents = " card " in command or "--fix" in command  # which are shown, or shown changed: a user's own files
    if found := _CONTROL.search("" if documents else said.replace("\r", "") + done.stdout):
        return f"a control character {found[0]!r}"
    error = [line for line in said.splitlines() if line.startswith("error: ")]
    if done.status in (3, 4) and len(error) != 1:
        return f"{len(error)} paragraphs: {said[:500]}"
    if error and len(error[0]) > _LONGEST:
        return f"{len(error[0])} characters: {said[:300]}"
    return ""


def _own(text: str) -> str:
    """A text without what it quotes of others."""
    text = _QUOTED.sub("", text)
    for reason in _REASONS:
        text = text.replace(reason, "")
    return text
