"""The tokenizer of a repository: what of it can be read, and why the rest cannot."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from surgery.apart import TooMuch
from surgery.errors import ConversionError, complaint, show
from surgery.tokenizer.facts import Tokenizer, load, token_text
from surgery.tokenizer.sources import (
    BPE_NAMES,
    SENTENCEPIECE_NAMES,
    BpeFiles,
    SentencePieceModel,
    Source,
    TiktokenRanks,
    TokenizerJson,
    read,
    spelled_ids,
)

if TYPE_CHECKING:
    from convert.validate.subject import Subject

JSON = "tokenizer.json"
SETTINGS = "tokenizer_config.json"
_LARGEST = 256 << 20
_ID = re.compile("[0-9]{1,9}")

#: text in which tokenizers differ: spaces, line ends, Chinese, full-width forms, digits, code, a rare character
SAMPLES = (
    "Hello world", "The quick brown fox, 1234567 times.", "  two  spaces and a\ttab\n\nnext paragraph",
    "\u4f60\u597d\uff0c\u4e16\u754c\uff01\u4eca\u5929\u7684\u5929\u6c14\u5f88\u597d\u3002",
    "caf\u00e9 na\u00efve \u00fcber \U0001f600",
    "def f(x):\n    return x ** 2\n", "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440",
)  # fmt: skip


@dataclass(frozen=True)
class Vocabulary:
    """Tokens by their ids, from whatever file states them."""

    files: tuple[str, ...]  # those that hold a vocabulary
    faults: Mapping[str, str]
    sources: Mapping[str, Source]
    settings: Mapping[str, Any]  # tokenizer_config.json
    tokenizer: Tokenizer | None = None  # from tokenizer.json
    ids: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def max_id(self) -> int | None:
        return max(self.ids.values(), default=None)

    @property
    def fast(self) -> TokenizerJson | None:
        found = self.sources.get(JSON)
        return found if isinstance(found, TokenizerJson) else None

    @property
    def pieces(self) -> SentencePieceModel | None:
        return next((source for source in self.sources.values() if isinstance(source, SentencePieceModel)), None)

    def named(self, role: str) -> int | None:
        """The id of the bos, eos, pad or unk token that tokenizer_config.json names."""
        text = token_text(self.settings.get(f"{role}_token"))
        return self.ids.get(text) if text is not None else None


def read_vocabulary(subject: Subject) -> Vocabulary:
    """Every vocabulary in the repository, each by itself."""
    names = subject.folder.names
    groups: list[tuple[str, ...]] = [(name,) for name in (JSON, *SENTENCEPIECE_NAMES) if name in names]
    groups += [(name,) for name in sorted(names) if name.endswith(".tiktoken")]
    groups += [pair for pair in BPE_NAMES if names.issuperset(pair)]
    faults: dict[str, str] = {}
    sources: dict[str, Source] = {}
    for group in groups:
        data = {name: subject.data(name, _LARGEST) for name in group}
        if unread := [name for name, content in data.items() if content is None]:
            faults[unread[0]] = "it cannot be read, or is larger than any tokenizer"
            continue
        try:
            sources[group[0]] = read({name: content for name, content in data.items() if content is not None})
        except ConversionError as error:
            faults[group[0]] = str(error)
        except (AttributeError, LookupError, TypeError, ValueError) as error:  # what the reader takes for granted
            faults[group[0]] = f"it does not have the form of a tokenizer (a reader fails: {complaint(error)})"
    tokenizer = None
    if isinstance(fast := sources.get(JSON), TokenizerJson):
        tokenizer, fault = _working(fast)
        if fault:
            faults[JSON] = fault
            del sources[JSON]
    settings = subject.json(SETTINGS).value
    files = tuple(name for group in groups for name in group)
    return Vocabulary(files, faults, sources, settings, tokenizer, _ids(subject, sources, settings))


def _working(fast: TokenizerJson) -> tuple[Tokenizer | None, str]:
    """The tokenizer, once it has encoded and decoded the samples; or why it cannot."""
    try:
        tokenizer = load(fast.value)
        for text in SAMPLES:
            for framed in (False, True):
                tokenizer.decode(tokenizer.encode(text, add_special_tokens=framed).ids, skip_special_tokens=False)
    except TooMuch as error:
        return None, str(error)
    except ConversionError as error:
        return None, f"the tokenizers library refuses it: {show(str(error.__cause__ or error))}"
    return tokenizer, ""


def _ids(subject: Subject, sources: Mapping[str, Source], settings: Mapping[str, Any]) -> dict[str, int]:
    found: dict[str, int] = {}
    for source in sources.values():
        match source:
            case TokenizerJson(value=value):
                return spelled_ids(value)
            case SentencePieceModel(pieces=pieces):
                found = {piece.text: place for place, piece in enumerate(pieces)}
            case BpeFiles(vocab=vocab):
                found = dict(vocab)
            case TiktokenRanks(ranks=ranks):
                found = {token.decode("latin-1"): place for token, place in ranks.items()}
    added = settings.get("added_tokens_decoder")
    for place, token in added.items() if found and isinstance(added, Mapping) else ():
        if _ID.fullmatch(str(place)) and (text := token_text(token)) is not None:
            found[text] = int(place)
    for text, place in subject.json("added_tokens.json").value.items() if found else ():
        if isinstance(place, int) and not isinstance(place, bool):
            found.setdefault(text, place)
    return found
