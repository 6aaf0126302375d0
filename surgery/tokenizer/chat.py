"""Chat templates: rendering them as transformers does, in a sandbox, and what a user's text can do to the prompt."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from surgery.errors import ConversionError, show

Message = Mapping[str, Any]

#: the time that templates are told, so that a prompt is the same whenever it is made
MOMENT = datetime(2024, 7, 26, 12, 30)
_THOUGHTS = ("reasoning_content", "thinking", "reasoning")  # names under which a message's thought is passed
_MARK = "CONTINUE_FINAL_MESSAGE_TAG "  # the library's: a template that trims it is told by its last character

PREVENTION = (
    "encode each message's content by itself with split_special_tokens=True and join the ids, or refuse such content; "
    "apply_chat_template alone cannot tell a token that the template wrote from one that the user typed"
)


@dataclass(frozen=True, slots=True)
class Risk:
    """A special token that would come out of a message's text. `setting` says how to prevent it."""

    message: int
    part: str  # the message's key
    special: str
    position: int  # in characters
    setting: str = PREVENTION

    def __str__(self) -> str:
        where = f"message {self.message}, {self.part}, character {self.position}"
        return f"{where}: {show(self.special)} would become a special token; {self.setting}"


def render(
    template: str, messages: Sequence[Message], *, add_generation_prompt: bool = True, continue_final_message: bool = False,
    now: datetime = MOMENT, **names: Any,
) -> str:  # fmt: skip
    """The prompt, as `apply_chat_template` renders it; `names` are what a template may ask for: bos_token, tools ...

    Raises where the template refuses. A template is a stranger's program: its TypeError or division by zero is its own, and
    no bug of ours; and it may run or grow without end, so what strangers wrote is rendered by `convert.templates`. `now` is
    what it is told of the time, and chance is none.
    """
    random.seed(0)
    try:
        if continue_final_message:
            return _continued(template, messages, now, add_generation_prompt, names)
        prompt: str = _compiled(template, now).render(**_seen(messages, add_generation_prompt, names))
    except Exception as error:
        raise ConversionError(
            f"the chat template refuses these messages: {show(str(error), 300)} ({type(error).__name__}); correct the template, "
            "or take it from the model's repository"
        ) from error
    return prompt


def _seen(messages: Sequence[Message], add_generation_prompt: bool, names: Mapping[str, Any]) -> dict[str, Any]:
    """All that a template sees: tools and documents are always there, and a thought under each of its names."""
    told = []
    for message in messages:
        thought = next((message[key] for key in _THOUGHTS if message.get(key) is not None), None)
        told.append(dict(message) if thought is None else {"thinking": thought, **message, "reasoning_content": thought})
    given = {"tools": None, "documents": None, **names}
    return {"messages": told, "add_generation_prompt": add_generation_prompt, **given}


def _continued(
    template: str, messages: Sequence[Message], now: datetime, add_generation_prompt: bool, names: Mapping[str, Any]
) -> str:
    """The prompt that breaks off where the last message's words end, for the model to go on with them."""
    said = messages[-1].get("content")
    if not isinstance(said, str) or "content" not in template:
        raise ValueError("the last message has no content to continue, or the template does not read it")
    marked = [*messages[:-1], {**messages[-1], "content": said + _MARK}]
    prompt: str = _compiled(template, now).render(**_seen(marked, add_generation_prompt, names))
    if said.strip() not in prompt or _MARK.strip() not in prompt:
        raise ValueError("the last message does not appear in the prompt, so there is nothing to continue")
    at = prompt.rindex(_MARK.strip())
    return prompt[:at] if prompt[at : at + len(_MARK)] == _MARK else prompt[:at].rstrip()


def check_template(template: str) -> None:
    """Raises where jinja2 cannot read the template."""
    from jinja2 import TemplateSyntaxError

    try:
        _compiled(template)
    except (
        Exception
    ) as error:  # besides jinja2's own: RecursionError, and Python's SyntaxError for blocks nested too deep
        line = f", line {error.lineno}" if isinstance(error, TemplateSyntaxError) else ""
        raise ConversionError(
            f"the chat template is not Jinja{line}: {show(str(error), 300)}; take it from the model's repository, or name "
            "one of ours"
        ) from error


def _compiled(template: str, now: datetime = MOMENT) -> Any:
    """With the settings, names, filters and refusals of transformers 5.23 (utils/chat_template_utils.py:562-674)."""
    from json import dumps

    from jinja2 import nodes
    from jinja2.exceptions import SecurityError, TemplateError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from jinja2.utils import Namespace

    class Generation(Extension):
        """``{% generation %}``: marks what the assistant says, for training; the prompt is the same without it.

        A block of its own, whose ``set`` ends with it, as where the library calls it.
        """

        tags = {"generation"}  # noqa: RUF012 (an instance variable of Extension)

        def parse(self, parser: Parser) -> nodes.Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.CallBlock(self.call_method("_said"), [], [], body).set_lineno(line)

        def _said(self, caller: Callable[[], str]) -> str:
            return caller()

    class Dictionary:
        """``dict(...)``, without what a class gives away."""

        def __call__(self, *values: Any, **named: Any) -> dict[Any, Any]:
            return dict(*values, **named)

        def fromkeys(self, *values: Any) -> dict[Any, Any]:
            return dict.fromkeys(*values)

    class Names(Namespace):
        """``namespace(...)``, without names that begin with an underscore."""

        def __init__(*values: Any, **named: Any) -> None:
            own, *rest = values
            attributes = dict(*rest, **named)
            for name in attributes:
                Names.refuse(name)
            Namespace.__init__(own, attributes)

        def __setitem__(self, name: str, value: Any) -> None:
            Names.refuse(name)
            Namespace.__setitem__(self, name, value)

        @staticmethod
        def refuse(name: Any) -> None:
            if isinstance(name, str) and name.startswith("_"):
                raise SecurityError(f"a namespace cannot have {name!r}, a name that begins with an underscore")

    def strftime_now(form: str) -> str:
        return now.strftime(form)

    def refuse(message: str) -> None:
        raise TemplateError(message)

    def tojson(
        value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
    ) -> str:
        return dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    environment.filters["tojson"] = tojson
    environment.globals |= {
        "raise_exception": refuse, "strftime_now": strftime_now, "dict": Dictionary(), "namespace": Names,
    }  # fmt: skip
    return environment.from_string(template)


def injection_risks(
    template: str, specials: Iterable[str], messages: Sequence[Message], **names: Any
) -> tuple[Risk, ...]:
    """Special tokens in the messages' own words that the rendered prompt would carry to the tokenizer as they are.

    What the template drops (a system turn it ignores, spaces it trims) is no risk; so each finding is put to the
    template.
    """
    specials = sorted(specials, key=lambda special: (-len(special), special))
    found = []
    for number, message in enumerate(messages):
        for part, text in _texts(message):
            for position, special in _occurrences(text, specials):
                if _survives(template, messages, number, part, special, names):
                    found.append(Risk(number, part, special, position))
    return tuple(found)


def _texts(message: Message) -> list[tuple[str, str]]:
    return [(key, value) for key, value in message.items() if isinstance(value, str) and value]


def _occurrences(text: str, specials: Sequence[str]) -> list[tuple[int, str]]:
    found, position = [], 0
    while position < len(text):
        special = next((special for special in specials if special and text.startswith(special, position)), None)
        if special is not None:
            found.append((position, special))
        position += len(special) if special else 1
    return found


def _survives(
    template: str, messages: Sequence[Message], number: int, part: str, special: str, names: Mapping[str, Any]
) -> bool:
    harmless = [dict(message) for message in messages]
    harmless[number][part] = str(harmless[number][part]).replace(special, "")
    try:
        return render(template, messages, **names).count(special) > render(template, harmless, **names).count(special)
    except ConversionError:
        return True  # a refused prompt proves nothing, so the finding stands
