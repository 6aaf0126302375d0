"""The chat template: it parses, it renders in a sandbox, and it speaks of tokens that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from convert.templates import Answer, Conversation, Refused, answer
from convert.validate.rule import Found, rule
from convert.validate.rules.generation import NAME as GENERATION
from convert.validate.subject import Subject, said
from convert.validate.vocabulary import SETTINGS
from surgery.errors import listed, show
from surgery.tokenizer.facts import token_text

FILE = "chat_template.jinja"
_ANSWER = "Good day."
_USER = {"role": "user", "content": "Hello"}
_TURNS = (
    Conversation((_USER,)),
    Conversation((_USER, {"role": "assistant", "content": _ANSWER}, {"role": "user", "content": "How are you?"})),
)
_ANSWERED = Conversation(_TURNS[-1].messages[:2], add_generation_prompt=False)
_MARK = re.compile(r"<\|[A-Za-z_][\w ]{0,40}\|>|<(?:start_of_turn|end_of_turn)>|\[/?INST\]")
_JINJA = (
    "jinja2 3.1 in the settings of transformers 5.23 utils/chat_template_utils.py, executed on every validation, in a process of "
    "its own"
)


@rule(
    "chat-template-syntax", "error",
    what="the chat template is not Jinja",
    why="apply_chat_template fails for everybody",
    fix="copy the template from the source model",
    source=_JINJA,
)  # fmt: skip
def chat_template_syntax(subject: Subject) -> Iterator[Found]:
    for name, template in templates(subject):
        if fault := _rendered(subject, template).fault:
            yield Found(name, fault)


@rule(
    "chat-template-render", "error",
    what="the chat template cannot render an ordinary conversation",
    why="chat servers answer with an error, or it asks the sandbox for something that is forbidden",
    fix="correct it; a conversation of user and assistant in turns must render",
    source=_JINJA,
)  # fmt: skip
def chat_template_render(subject: Subject) -> Iterator[Found]:
    for name, template in templates(subject):
        found = _rendered(subject, template)
        for one, prompt in zip(_TURNS, () if found.fault else found.prompts, strict=False):
            if isinstance(prompt, Refused):
                yield Found(name, prompt.why)
                break
            if any(message["content"] not in prompt for message in one.messages):
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
    "chat-template-tokens", "warning", needs="vocabulary",
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


@rule(
    "chat-template-end", "warning", needs="vocabulary",
    what="the token that the chat template puts behind an answer is no end of text",
    why="generation stops at the ids of generation_config.json (else of config.json) only, so that a chat runs on behind "
    "its answer",
    fix="add the id to eos_token_id in generation_config.json, which may be a list; a base model needs no template",
    source="transformers 5.23 generation: EosTokenCriteria; unsloth #5386, Chinese-LLaMA-Alpaca #116",
)  # fmt: skip
def chat_template_end(subject: Subject) -> Iterator[Found]:
    generation = subject.json(GENERATION)
    source, table = (GENERATION, generation.value) if generation.present else ("config.json", subject.text_config)
    stated = table.get("eos_token_id")
    ends = stated if isinstance(stated, list) else [stated]
    if stated is None or subject.kind != "model":  # generation-no-eos tells
        return
    for name, template in templates(subject):
        token = _behind_an_answer(subject, template)
        if token and (place := subject.vocabulary.ids[token]) not in ends:
            told = f"an answer ends with {show(token)}, id {place}; eos_token_id in {source} is {said(stated)}"
            yield Found(name, told)


@rule(
    "chat-template-unread", "error",
    what="the only chat template lies where no tokenizer of a text model reads it",
    why="apply_chat_template finds no template and fails, and servers fall back to one that the model was not trained on",
    fix="move it to chat_template.jinja",
    source="transformers 5.23 tokenization_utils_base.py: chat_template.jinja, additional_chat_templates and "
    "tokenizer_config.json; chat_template.json is a processor's; executed",
)  # fmt: skip
def chat_template_unread(subject: Subject) -> Iterator[Found]:
    if subject.kind != "model" or subject.is_wrapper or next(templates(subject), None) is not None:
        return
    if any(name.startswith("additional_chat_templates/") for name in subject.files):
        return
    for name in _UNREAD:
        value = subject.json(name).value.get("chat_template") if name.endswith(".json") else subject.text(name)
        if isinstance(value, str) and value:
            yield Found(name, "it holds a chat template, and the tokenizer has none")


#: files that have held chat templates, and that only processors or nobody reads
_UNREAD = (
    "chat_template.json", "processor_config.json", "preprocessor_config.json", "config.json", "generation_config.json",
    "chat_template.jinja2", "chat_template.j2", "chat_template.txt",
)  # fmt: skip


def _behind_an_answer(subject: Subject, template: str) -> str:
    """The special token that closes an answer; empty where there is none, as where the next turn's mark opens it.

    A conversation that ends with the answer shows which it is: there is no next turn to be opened.
    """
    prompt = _rendered(subject, template).prompts[-1]
    if isinstance(prompt, Refused):
        return ""  # chat-template-render tells
    behind = prompt.partition(_ANSWER)[2].lstrip()
    specials = sorted(_specials(subject), key=len, reverse=True)
    return next((token for token in specials if token in subject.vocabulary.ids and behind.startswith(token)), "")


def _rendered(subject: Subject, template: str) -> Answer:
    """What the template makes of each of the turns, and last of an answer; it is rendered once for all rules."""
    return answer(template, (*_TURNS, _ANSWERED), _names(subject))


def _specials(subject: Subject) -> set[str]:
    """The texts of the tokens that the tokenizer takes whole, wherever they stand in a text."""
    known = subject.vocabulary
    added = known.fast.value.get("added_tokens") if known.fast is not None else None
    decoder = known.settings.get("added_tokens_decoder")
    entries = [*(added if isinstance(added, list) else ()), *(decoder.values() if isinstance(decoder, dict) else ())]
    entries += [known.settings.get(f"{role}_token") for role in ("bos", "eos", "pad")]
    return {text for entry in entries if (text := token_text(entry))}


def _names(subject: Subject) -> dict[str, Any]:
    """What templates may ask for beside the messages."""
    settings = subject.vocabulary.settings
    return {key: token_text(settings.get(key)) or "" for key in ("bos_token", "eos_token", "pad_token", "unk_token")}


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
