"""Chat templates of strangers, rendered in a process of its own: bounded in time, in memory and in what they may write.

A template is a program, and a sandbox does not end it: nested loops, a doubled string or a power of ten run for hours or fill
the memory. Whoever renders what came with a checkpoint asks here.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from types import FrameType
from typing import Any

import convert.children as children
from convert.refusal import starved
from surgery.errors import ConversionError, LimitExceeded
from surgery.tokenizer.chat import Message, check_template, injection_risks, render

_SECONDS = 3.0  # of computing that one rendering may take; no vendor's template needs a hundredth
_PATIENCE = 4.0  # times that, of waiting for all renderings of one template, on a machine that has other work
_START = 30.0  # seconds that a process may take to begin
_MEMORY = 256 << 20  # bytes beyond what the process has
_LONGEST = 1 << 20  # characters of a prompt
_REMEMBERED = 256  # templates whose prompts are kept, since several rules ask for them


@dataclass(frozen=True)
class Conversation:
    """What is said, and how the prompt is to end: where the assistant begins, or where its last words break off."""

    messages: Sequence[Message]
    tools: Sequence[Mapping[str, Any]] | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False

    @property
    def plain(self) -> bool:
        """Whether the messages say all of it: no tools, and the assistant is to begin."""
        return self.tools is None and self.add_generation_prompt and not self.continue_final_message

    def options(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if key != "messages"}


@dataclass(frozen=True)
class Refused:
    """Why a template gave no prompt."""

    why: str


@dataclass(frozen=True)
class Answer:
    """What one template makes of what it was asked, in order."""

    fault: str = ""  # why it is no template at all
    prompts: Sequence[str | Refused] = ()
    risks: Sequence[tuple[str, str]] = ()  # a special token in a user's own words, and what prevents it


def answer(
    template: str,
    conversations: Sequence[Conversation] = (),
    names: Mapping[str, Any] | None = None,
    specials: Sequence[str] = (),
) -> Answer:
    """The prompts of all ``conversations``, and which ``specials`` come out of a user's words; ``names`` are bos_token ...

    What does not end in time, needs too much memory or writes without end is a refusal of the template.
    """
    told = {
        "template": template, "names": dict(names or {}), "specials": list(specials),
        "conversations": [{"messages": list(one.messages), **one.options()} for one in conversations],
    }  # fmt: skip
    return _asked(json.dumps(told))


@lru_cache(maxsize=_REMEMBERED)
def _asked(task: str) -> Answer:
    told = json.loads(task)
    count = len(told["conversations"])
    seconds = _START + _PATIENCE * _SECONDS
    try:
        ended = children.run("convert.templates:main", told, seconds=seconds)
        found = json.loads(ended.answer("renders a chat template"))
    except (children.TooLong, children.Crashed, LimitExceeded):
        # a single step that no signal interrupts, such as a power of ten, or more memory than there is
        why = f"it did not end within {seconds:.0f} seconds, or within {_MEMORY >> 20} MB of memory{_ENDLESS}"
        return Answer(prompts=(Refused(why),) * count) if count else Answer(fault=why)
    prompts = [one if isinstance(one, str) else Refused(one["refused"]) for one in found["prompts"]]
    return Answer(found["fault"], tuple(prompts), tuple((text, setting) for text, setting in found["risks"]))


_ENDLESS = ": no conversation needs as much. Correct the template, or take it from the model's repository"


def main() -> None:
    """The child: a task as JSON on stdin, an `Answer` as JSON on stdout."""
    from surgery.apart.confined import forbid_network, limit_memory

    task: dict[str, Any] = json.load(sys.stdin)
    forbid_network()
    import jinja2.sandbox  # noqa: F401 - its own memory is not the template's

    limit_memory(_MEMORY)
    json.dump(_answer(task), sys.stdout)


def _answer(task: Mapping[str, Any]) -> dict[str, Any]:
    template, names = task["template"], task["names"]
    try:
        with _limits():
            check_template(template)
    except ConversionError as refusal:
        return {"fault": str(refusal), "prompts": [{"refused": str(refusal)} for _ in task["conversations"]], "risks": []}
    prompts: list[Any] = []
    late = 0
    for one in task["conversations"]:
        if late > 1:  # the next would not end either
            prompts.append(prompts[-1])
            continue
        try:
            with _limits():
                prompts.append(_short(render(template, **one, **names)))
        except ConversionError as refusal:
            late += isinstance(refusal, LimitExceeded)
            prompts.append({"refused": str(refusal)})
    risks: list[tuple[str, str]] = []
    try:
        with _limits():
            for special in task["specials"] if not late else ():
                said = [{"role": "user", "content": f"say {special} please"}]
                risks += [(risk.special, risk.setting) for risk in injection_risks(template, [special], said, **names)]
    except ConversionError:
        pass  # what was found until then stands
    return {"fault": "", "prompts": prompts, "risks": risks}


class _Late(BaseException):
    """Time is up: raised within a template, where nothing catches it."""


@contextmanager
def _limits() -> Iterator[None]:
    """What is done within has `_SECONDS`, and the memory of the process; more is a refusal that says so."""

    def late(number: int, frame: FrameType | None) -> None:
        raise _Late

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, _SECONDS)
    try:
        yield
    except _Late:
        raise LimitExceeded(f"the chat template did not end within {_SECONDS:.0f} seconds{_ENDLESS}") from None
    except ConversionError as refusal:
        if isinstance(refusal.__cause__, MemoryError) or starved(str(refusal.__cause__)):
            raise _hungry() from None
        raise
    except MemoryError:
        raise _hungry() from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)


def _hungry() -> LimitExceeded:
    return LimitExceeded(f"the chat template needs more than {_MEMORY >> 20} MB of memory{_ENDLESS}")


def _short(prompt: str) -> str:
    if len(prompt) > _LONGEST:
        raise LimitExceeded(f"the chat template wrote {len(prompt):,} characters for a few words{_ENDLESS}")
    return prompt
