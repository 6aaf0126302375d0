"""One conversation in each vendor's format, in the parts that the vendor's code encodes one by one.

A part in a tuple is a special token, which the code puts there by id; sources are named in mappings/chat/*.jinja.
"""

# ruff: noqa: RUF001

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from tests.trained.truth import Mark

SYSTEM, ASKED, ANSWERED, AGAIN = "You are patient.", "几点了？ Tell me", "It is 12:45 now。", "谢谢, and the\ntime there?"

MESSAGES: Final = (
    {"role": "user", "content": ASKED}, {"role": "assistant", "content": ANSWERED}, {"role": "user", "content": AGAIN},
)  # fmt: skip
WITH_SYSTEM: Final = ({"role": "system", "content": SYSTEM}, *MESSAGES)
#: formats without a system turn: the vendor's code has no place for one
WITHOUT: Final = frozenset({"chatglm2", "internlm", "mistral"})


def _turns(user: str, assistant: str, *between: str) -> tuple[str | Mark, ...]:
    """The three turns, each behind its mark, and the mark of the answer to come."""
    return ((user,), *between, ASKED, (assistant,), *between, ANSWERED, (user,), *between, AGAIN, (assistant,))


def _chatml(first: str, joint: Sequence[str], *, role: Sequence[str] = ()) -> tuple[str | Mark, ...]:
    """ChatML as one text per turn, or with each part by itself where `role` says what stands behind a role's name."""
    turns = (("system", SYSTEM), ("user", ASKED), ("assistant", ANSWERED), ("user", AGAIN))
    parts: list[str | Mark] = [(first,)] if first else []
    for name, text in turns:
        said = (name, *role, text) if role else (f"{name}\n{text}",)
        parts += [("<|im_start|>",), *said, ("<|im_end|>",), *joint]
    last = ("assistant", *role) if role else ("assistant\n",)
    return (*parts, ("<|im_start|>",), *last)


def _header(role: str, *text: str) -> tuple[str | Mark, ...]:
    ended: tuple[str | Mark, ...] = (*text, ("<|eot_id|>",)) if text else ()
    return (("<|start_header_id|>",), role, ("<|end_header_id|>",), "\n\n", *ended)


PARTS: Final[Mapping[str, tuple[str | Mark, ...]]] = MappingProxyType({
    "baichuan1": (SYSTEM, *_turns("<reserved_102>", "<reserved_103>")),
    "baichuan2": (SYSTEM, *_turns("<reserved_106>", "<reserved_107>")),
    "yi": _chatml("", ("\n",)),
    "qwen2": _chatml("", ("\n",)),
    "minicpm3": _chatml("", ("\n",)),
    "internlm2": _chatml("<s>", ("\n",)),
    "qwen": _chatml("", ("\n",), role=("\n",)),
    "chatglm2": (
        ("[gMASK]",), ("<sop>",),
        f"[Round 1]\n\n问：{ASKED}\n\n答：{ANSWERED}\n\n[Round 2]\n\n问：{AGAIN}\n\n答：",
    ),
    "chatglm3": (("[gMASK]",), ("<sop>",), ("<|system|>",), "\n", SYSTEM, *_turns("<|user|>", "<|assistant|>", "\n")),
    "glm4": (("[gMASK]",), ("<sop>",), ("<|system|>",), "\n", SYSTEM, *_turns("<|user|>", "<|assistant|>", "\n")),
    "internlm": (
        ("<s>",), ("<s>",),
        f"<|User|>:{ASKED}<eoh>\n<|Bot|>:{ANSWERED}<eoa>\n<|User|>:{AGAIN}<eoh>\n<|Bot|>:",
    ),
    "llama2": (
        ("<s>",), f"[INST] <<SYS>>\n{SYSTEM}\n<</SYS>>\n\n{ASKED} [/INST] {ANSWERED} ", ("</s>",),
        ("<s>",), f"[INST] {AGAIN} [/INST]",
    ),
    "mistral": (("<s>",), f"[INST] {ASKED} [/INST]{ANSWERED}", ("</s>",), f"[INST] {AGAIN} [/INST]"),
    "llama3": (
        ("<|begin_of_text|>",), *_header("system", SYSTEM), *_header("user", ASKED), *_header("assistant", ANSWERED),
        *_header("user", AGAIN), *_header("assistant"),
    ),
})  # fmt: skip


def conversation(chat: str) -> list[dict[str, str]]:
    """The messages that the parts of this format say."""
    return [dict(message) for message in (MESSAGES if chat in WITHOUT else WITH_SYSTEM)]
