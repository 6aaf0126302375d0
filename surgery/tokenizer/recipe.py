"""What a vocabulary file does not say about itself: which tokens are never split, what goes in front, other names.

A recipe is data. Everything that a SentencePiece model states (normaliser, dummy prefix, user-defined pieces, scores)
is read from the model, so that a recipe without a single entry is exact for a vocabulary nobody has seen before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal


@dataclass(frozen=True, slots=True)
class Special:
    """A token that is looked for in text before anything else happens to it."""

    text: str
    strip: bool = False  # eats the spaces on both sides
    normalised: bool = False  # is looked for after the normaliser, not before
    special: bool = True  # skipped by decode(skip_special_tokens=True)


@dataclass(frozen=True, slots=True)
class Replace:
    """A normaliser step: every `old` becomes `new`."""

    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Compose:
    """A normaliser step: one of Unicode's normal forms."""

    form: Literal["NFC", "NFKC"]


Step = Replace | Compose


@dataclass(frozen=True, slots=True)
class Names:
    """Which tokens play the parts that tokenizer_config.json and generation know."""

    bos: str | None = None
    eos: str | None = None
    unk: str | None = None
    pad: str | None = None

    def items(self) -> dict[str, str]:
        """The parts that are given."""
        parts = {"bos": self.bos, "eos": self.eos, "unk": self.unk, "pad": self.pad}
        return {part: name for part, name in parts.items() if name is not None}


@dataclass(frozen=True)
class Recipe:
    """How one vocabulary becomes a tokenizer.json.

    `specials` are found by their text; `numbered` ones stand at these ids, which a tiktoken file does not list, and
    `renamed` gives a SentencePiece piece another name. `prefix` is what add_special_tokens puts in front.
    """

    name: str
    specials: tuple[Special, ...] = ()
    numbered: Mapping[int, Special] = field(default_factory=lambda: MappingProxyType({}))
    renamed: Mapping[int, str] = field(default_factory=lambda: MappingProxyType({}))
    steps: tuple[Step, ...] = ()  # before what the model itself normalises
    pattern: str | None = None  # a byte-level tokenizer's pre-tokenizer; None is GPT-2's own
    prefix: tuple[str, ...] = ()
    names: Names = Names()
    ties: bool = False  # pieces share scores so that only SentencePiece itself is exact
    chat: str | None = None  # the family's chat template
    chat_in_code: bool = False  # the vendor's prompt is built by its modeling code, so no file of the checkpoint has it
    unsaid: tuple[str, ...] = ()  # what a vendor's template writes and this tokenizer no longer reads


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """How a recipe's vocabulary is recognised: by what is in the file, whatever family the checkpoint is."""

    form: Literal["sentencepiece", "tiktoken", "bpe"]
    sizes: tuple[int, ...]
    families: tuple[str, ...] = ()  # asked only where another vocabulary has the same size
    mentions: tuple[str, ...] = ()  # or one of these in tokenizer_config.json
    pieces: tuple[str, ...] = ()  # pieces that must be there
