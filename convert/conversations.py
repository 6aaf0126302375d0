"""Conversations that are put to two chat templates: what real ones have, and where templates are known to go apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convert.templates import Conversation

_USER = {"role": "user", "content": "Hello"}
_ANSWER = {"role": "assistant", "content": "Hello! What can I do for you?"}
_SYSTEM = {"role": "system", "content": "You answer in one sentence."}
_NEXT = {"role": "user", "content": "Count to three."}
_WEATHER = {"role": "user", "content": "Will it rain in Bergen?"}
_TOOLS: tuple[Mapping[str, Any], ...] = (
    {
        "type": "function",
        "function": {
            "name": "forecast",
            "description": "The weather of the next days at a place.",
            "parameters": {
                "type": "object",
                "properties": {"place": {"type": "string", "description": "A town."}, "days": {"type": "integer"}},
                "required": ["place"],
            },
        },
    },
)
_CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {"id": "call00001", "type": "function", "function": {"name": "forecast", "arguments": {"place": "Bergen", "days": 1}}}
    ],
}
_RESULT = {"role": "tool", "name": "forecast", "tool_call_id": "call00001", "content": '{"rain": 0.93}'}

#: one turn, several, a system turn, other scripts, nothing at all, spaces and newlines at the ends, tools, ways to end
ASKED: Mapping[str, Conversation] = {
    "one turn": Conversation(({"role": "user", "content": "How many ships came back?"},)),
    "three turns": Conversation((_USER, _ANSWER, _NEXT)),
    "system": Conversation((_SYSTEM, {"role": "user", "content": "Why is the sea salty?"})),
    "system and three turns": Conversation((_SYSTEM, _USER, _ANSWER, _NEXT)),
    "Chinese": Conversation(({"role": "user", "content": "请把这段话翻译成英文：床头柜上放着一本没有看完的小说。"},)),  # noqa: RUF001
    "code": Conversation(({"role": "user", "content": "Explain:\n\n```python\nprint( 'hi' )\n```"},)),
    "spaces": Conversation(({"role": "user", "content": "  spaces at both ends  "},)),
    "a newline first": Conversation(({"role": "user", "content": "\nbehind a newline"},)),
    "several lines": Conversation(({"role": "user", "content": "first\n\n  second\n"}, _ANSWER, _NEXT)),
    "no words": Conversation(({"role": "user", "content": ""},)),
    "a thought": Conversation((_USER, {**_ANSWER, "reasoning_content": "They greet me."}, _NEXT)),
    "tools": Conversation((_SYSTEM, _WEATHER), tools=_TOOLS),
    "a call of a tool": Conversation((_WEATHER, _CALL), tools=_TOOLS, add_generation_prompt=False),
    "the tool's result": Conversation((_WEATHER, _CALL, _RESULT), tools=_TOOLS),
    "behind the tool's result": Conversation(
        (_WEATHER, _CALL, _RESULT, {"role": "assistant", "content": "Yes."}, _NEXT), tools=_TOOLS
    ),
    "a question alone": Conversation((_USER,), add_generation_prompt=False),
    "ends with an answer": Conversation((_SYSTEM, _USER, _ANSWER), add_generation_prompt=False),
    "an answer, and another": Conversation((_USER, _ANSWER), add_generation_prompt=True),
    "an answer to go on with": Conversation((_USER, _ANSWER), add_generation_prompt=False, continue_final_message=True),
}
