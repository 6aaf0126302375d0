"""What a chat template writes: prompts of conversations of every shape, and its own words, each by itself.

A template says another thing for a system turn, for tools and for a turn behind another; what none of the conversations here
makes it say is still among its words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from surgery.errors import ConversionError
from surgery.tokenizer.chat import Message, render

_CONTENTS: Final = ("Hello", "Hello! What can I do for you?", "Count to three.")
_TOOL: Final[Mapping[str, Any]] = {
    "type": "function",
    "function": {
        "name": "count", "description": "Count.", "parameters": {
            "type": "object", "properties": {"number": {"type": "integer", "description": "Number"}}, "required": ["number"],
        },
    },
}  # fmt: skip
_CALL: Final = {"type": "function", "id": "123456789", "function": {"name": "count", "arguments": {"number": 1}}}


def conversations(contents: Sequence[str] = _CONTENTS) -> Iterator[tuple[str, list[Message], dict[str, Any]]]:
    """Conversations in these words, each with its name and what ``render`` is told besides."""
    one, two, three = (contents[place % len(contents)] for place in range(3))
    system = {"role": "system", "content": three}
    turn = {"role": "user", "content": one}
    turns: list[Message] = [turn, {"role": "assistant", "content": two}, {"role": "user", "content": three}]
    call: Message = {"role": "assistant", "content": "", "tool_calls": [_CALL]}
    called: list[Message] = [turn, call, {"role": "tool", "name": "count", "tool_call_id": "123456789", "content": two}]
    shapes: dict[str, list[Message]] = {
        "one turn": [turn], "three turns": turns, "system": [system, turn], "system and three turns": [system, *turns],
    }  # fmt: skip
    for name, messages in shapes.items():
        yield name, messages, {}
        yield f"{name}, tools", messages, {"tools": [_TOOL]}
    yield "an answer last", turns[:2], {"add_generation_prompt": False}
    yield "system, an answer last", [system, *turns[:2]], {"add_generation_prompt": False}
    yield "a tool's answer", called, {"tools": [_TOOL]}
    yield "system, a tool's answer", [system, *called], {"tools": [_TOOL]}
    for setting in (True, False):  # names of Qwen 3 and its like
        yield f"thinking {setting}", [turn], {"enable_thinking": setting}


def prompts(
    template: str, names: Mapping[str, Any] = MappingProxyType({}), contents: Sequence[str] = _CONTENTS
) -> dict[str, str]:
    """The prompts of those conversations that the template takes, by the conversation's name."""
    found = {}
    for name, messages, told in conversations(contents):
        try:
            found[name] = render(template, messages, **{**names, **told})
        except ConversionError:  # one without a system turn, or tools, refuses them
            continue
    return found


def own_words(template: str) -> tuple[str, ...]:
    """The text of a template and the strings in its expressions: all that it can write by itself."""
    from jinja2 import Environment, TemplateError

    environment = Environment(trim_blocks=True, lstrip_blocks=True)
    try:
        tokens = list(environment.lexer.tokenize(template))
    except TemplateError:
        return ()
    return tuple(dict.fromkeys(token.value for token in tokens if token.type in ("data", "string") and token.value))


def answer_end(template: str, names: Mapping[str, Any], specials: Iterable[str]) -> str | None:
    """The special token that a template writes behind an answer, where generation has to stop; None where there is none."""
    messages = [{"role": "user", "content": _CONTENTS[0]}, {"role": "assistant", "content": _CONTENTS[1]}]
    try:
        prompt = render(template, messages, add_generation_prompt=False, **names)
    except ConversionError:
        return None
    behind = prompt.partition(_CONTENTS[1])[2].lstrip()
    return next((token for token in sorted(specials, key=len, reverse=True) if token and behind.startswith(token)), None)
