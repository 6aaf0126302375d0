"""Chat templates: rendering them as transformers does, in a sandbox, and what a user's text can do to the prompt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from surgery.errors import ConversionError, show

Message = Mapping[str, Any]

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


def render(template: str, messages: Sequence[Message], *, add_generation_prompt: bool = True, **names: Any) -> str:
    """The prompt; `names` are what a template may ask for: bos_token, tools ... Raises where the template refuses.

    A template is a stranger's program: its TypeError or division by zero is its own, and no bug of ours.
    """
    try:
        prompt: str = _compiled(template).render(
            messages=messages, add_generation_prompt=add_generation_prompt, **names
        )
    except Exception as error:
        raise ConversionError(
            f"the chat template refuses these messages: {show(str(error), 300)} ({type(error).__name__}); correct the template, "
            "or take it from the model's repository"
        ) from error
    return prompt


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


def _compiled(template: str) -> Any:
    """With the settings and names of transformers (utils/chat_template_utils.py)."""
    from datetime import datetime
    from json import dumps

    from jinja2 import nodes
    from jinja2.exceptions import TemplateError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """``{% generation %}``: marks what the assistant says, for training; the prompt is the same without it."""

        tags = {"generation"}  # noqa: RUF012 (an instance variable of Extension)

        def parse(self, parser: Parser) -> nodes.Node:
            line = next(parser.stream).lineno
            return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)

    def strftime_now(form: str) -> str:
        return datetime.now().strftime(form)

    def refuse(message: str) -> None:
        raise TemplateError(message)

    def tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None) -> str:
        return dumps(value, ensure_ascii=ensure_ascii, indent=indent)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    environment.filters["tojson"] = tojson
    environment.globals |= {"raise_exception": refuse, "strftime_now": strftime_now}
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
