"""The chat template: it parses, it renders in a sandbox, and it speaks of tokens that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from convert.validate.rule import Found, rule
from convert.validate.subject import Subject
from convert.validate.vocabulary import SETTINGS
from surgery.errors import ConversionError, listed, show
from surgery.tokenizer.chat import check_template, render
from surgery.tokenizer.facts import token_text

FILE = "chat_template.jinja"
_USER = {"role": "user", "content": "Hello"}
_TURNS = (
    [_USER],
    [_USER, {"role": "assistant", "content": "Good day."}, {"role": "user", "content": "How are you?"}],
)
_MARK = re.compile(r"<\|[A-Za-z_][\w ]{0,40}\|>|<(?:start_of_turn|end_of_turn)>|\[/?INST\]")
_JINJA = "jinja2 3.1 in the settings of transformers 5.23 utils/chat_template_utils.py, executed on every validation"


@rule(
    "chat-template-syntax", "error",
    what="the chat template is not Jinja",
    why="apply_chat_template fails for everybody",
    fix="copy the template from the source model",
    source=_JINJA,
)  # fmt: skip
def chat_template_syntax(subject: Subject) -> Iterator[Found]:
    for name, template in templates(subject):
        try:
            check_template(template)
        except ConversionError as error:
            yield Found(name, str(error))


@rule(
    "chat-template-render", "error",
    what="the chat template cannot render an ordinary conversation",
    why="chat servers answer with an error, or it asks the sandbox for something that is forbidden",
    fix="correct it; a conversation of user and assistant in turns must render",
    source=_JINJA,
)  # fmt: skip
def chat_template_render(subject: Subject) -> Iterator[Found]:
    for name, template in templates(subject):
        try:
            check_template(template)
        except ConversionError:
            continue
        settings = subject.vocabulary.settings
        names: dict[str, Any] = {
            key: token_text(settings.get(key)) or "" for key in ("bos_token", "eos_token", "pad_token", "unk_token")
        }
        for turns in _TURNS:
            try:
                prompt = render(template, turns, add_generation_prompt=True, **names)
            except ConversionError as error:
                yield Found(name, str(error))
                break
            if any(message["content"] not in prompt for message in turns):
                yield Found(name, f"the prompt {show(prompt)} lacks the words of the conversation")
                break


@rule(
    "chat-template-twice", "warning",
    what="chat_template.jinja and tokenizer_config.json hold different templates",
    why="transformers 5 takes the file, older versions and other servers the setting: two prompts for one model",
    fix="keep chat_template.jinja and remove the setting, or make them equal",
    source="transformers 5.23 and 4.57.6 tokenization_utils_base.py",
)  # fmt: skip
def chat_template_twice(subject: Subject) -> Iterator[Found]:
    found = dict(templates(subject))
    if FILE in found and SETTINGS in found and found[FILE].strip() != found[SETTINGS].strip():
        yield Found(FILE, f"it differs from chat_template in {SETTINGS}")


@rule(
    "chat-template-tokens", "warning",
    what="the chat template writes marks that are no tokens of the vocabulary",
    why="the mark is then cut into ordinary pieces, which the model was never trained on",
    fix="take template and tokenizer from the same model, or add the marks as special tokens",
    source="tokenizers 0.23; LlamaFactory #8399",
)  # fmt: skip
def chat_template_tokens(subject: Subject) -> Iterator[Found]:
    ids = subject.vocabulary.ids
    if subject.vocabulary.fast is None:  # other tokenizers may have special tokens in code
        return
    for name, template in templates(subject):
        unknown = sorted({mark for mark in _MARK.findall(template) if mark not in ids and "INST" not in mark})
        if unknown:
            yield Found(name, f"{listed(map(show, unknown))}")


def templates(subject: Subject) -> Iterator[tuple[str, str]]:
    """Every chat template with the file that holds it; of several in one setting, the default."""
    if (text := subject.text(FILE)) is not None:
        yield FILE, text
    stated = subject.json(SETTINGS).value.get("chat_template")
    if isinstance(stated, list):
        named = {
            one.get("name"): one.get("template")
            for one in stated
            if isinstance(one, dict) and isinstance(one.get("name"), str)
        }
        stated = named.get("default", next(iter(named.values()), None))
    if isinstance(stated, str):
        yield SETTINGS, stated
