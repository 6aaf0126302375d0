"""The tokenizer of a repository: what of it can be read, and why the rest cannot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from surgery.errors import ConversionError, show
from surgery.tokenizer.facts import load, token_text
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


@dataclass(frozen=True)
class Vocabulary:
    """Tokens by their ids, from whatever file states them."""

    files: tuple[str, ...]  # those that hold a vocabulary
    faults: Mapping[str, str]
    sources: Mapping[str, Source]
    settings: Mapping[str, Any]  # tokenizer_config.json
    tokenizer: Any = None  # of the tokenizers library, from tokenizer.json
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
    tokenizer = None
    if isinstance(fast := sources.get(JSON), TokenizerJson):
        try:
            tokenizer = load(fast.value)
        except Exception as error:  # the library raises bare Exception for whatever it dislikes
            faults[JSON] = f"the tokenizers library refuses it: {show(str(error))}"
    settings = subject.json(SETTINGS).value
    files = tuple(name for group in groups for name in group)
    return Vocabulary(files, faults, sources, settings, tokenizer, _ids(subject, sources, settings))


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
        if str(place).isdigit() and (text := token_text(token)) is not None:
            found[text] = int(place)
    for text, place in subject.json("added_tokens.json").value.items() if found else ():
        if isinstance(place, int):
            found.setdefault(text, place)
    return found
