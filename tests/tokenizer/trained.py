"""A tokenizer written for a trained vocabulary, as AutoTokenizer reads it, beside what the vocabulary's own engine says."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from pathlib import Path

from mappings.chat import template
from mappings.tokenizers import recipe_for
from surgery.tokenizer.export import TokenizerFiles, export
from tests.tokenizer.vendors import auto_tokenizer, plain_ids
from tests.trained.corpus import ASKED
from tests.trained.kinds import Kind
from tests.trained.prompts import PARTS, conversation
from tests.trained.truth import ids, prompt


@dataclass(frozen=True)
class Compared:
    """How many strings were asked, and those with other ids: text, the engine's, ours; framed by what stands in front."""

    written: TokenizerFiles
    asked: int
    wrong: list[tuple[str, list[int], list[int]]]
    wrong_framed: list[tuple[str, list[int], list[int]]]
    prompted: bool  # the conversation's prompt is the vendor's, where there is one

    @property
    def complete(self) -> bool:
        return not self.wrong and not self.wrong_framed and self.prompted


def written(kind: Kind) -> TokenizerFiles:
    """The files of a vocabulary, with the family's template."""
    chat = None if kind.chat is None else template(kind.chat)
    return export(recipe_for(kind.family, kind.files), kind.files, chat_template=chat)


def asked(kind: Kind) -> list[str]:
    """What a kind is asked: text without its special tokens and with them, less what is known to move."""
    names = list(kind.specials)[:12]
    texts = [
        *ASKED, *(f"before {name} after" for name in names), *(f"{name}{name}x\n{name}\n" for name in names[:4]),
        *(f"灯塔{name}的" for name in names[-4:]), "".join(names),
    ]  # fmt: skip
    return [text for text in texts if not (kind.moved and any(map(unicodedata.combining, text)))]


def compare(kind: Kind, directory: Path) -> Compared:
    """The tokenizer that is written for a kind, read from `directory`, beside the kind's engine."""
    made = written(kind)
    tokenizer = auto_tokenizer(made, directory)
    texts = asked(kind)
    wanted = [ids(kind, text) for text in texts]
    plain = zip(texts, wanted, plain_ids(tokenizer, texts), strict=True)
    framed = zip(texts, ([*kind.prefix, *want] for want in wanted), plain_ids(tokenizer, texts, special=True), strict=True)
    prompted = True
    if kind.chat is not None:
        got = tokenizer.apply_chat_template(
            conversation(kind.chat), add_generation_prompt=True, tokenize=True, return_dict=False
        )
        prompted = list(got) == prompt(kind, PARTS[kind.chat])
    return Compared(
        made, len(texts), [one for one in plain if one[1] != one[2]], [one for one in framed if one[1] != one[2]], prompted
    )
