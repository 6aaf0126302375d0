"""Which tokens two checkpoints have in common, by what they stand for: what there is to compare where ids have moved.

Only the tokenizers say that: a config names ids that play a part, and whoever wrote it would choose what is compared.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from convert.checkpoint import Checkpoint
from convert.edits.tokens import tokenizer_files
from convert.tokenizing import has_tokenizer
from mappings.tokenizers import recipe_for
from surgery.errors import ConversionError
from surgery.tokenizer.alike import ids_by_bytes
from surgery.tokenizer.export import TokenizerFiles, export
from surgery.tokenizer.facts import is_byte_level
from surgery.tokenizer.sources import SENTENCEPIECE_NAMES, read_sentencepiece, spelled_ids
from surgery.tokenizer.trim import kept_ids

_PARTS = ("unk", "pad", "bos", "eos")  # the last one that an id plays counts
_NAMED = ("pad", "bos", "eos")  # by a config
_ROWS = ("vocab_size", "padded_vocab_size")
_REPLACING = "transplant-tokenizer"  # the edit that pairs tokens by what they stand for; all others keep spellings

Pairs = tuple[list[int], list[int]]


@dataclass(frozen=True)
class Side:
    """One checkpoint's tokenizer as a table, and how many rows its embeddings have, where its config says that."""

    table: Mapping[str, Any]  # its tokenizer.json, or what says as much of ids
    parts: Mapping[str, int | None]
    rows: int | None
    files: Mapping[str, bytes]

    @cached_property
    def spelled(self) -> dict[str, int]:
        return spelled_ids(self.table)

    @cached_property
    def by_bytes(self) -> dict[bytes, int]:
        return ids_by_bytes(self.table)

    @cached_property
    def spoken(self) -> frozenset[int]:
        """The ids that tokens have."""
        return frozenset(self.spelled.values())


@dataclass(frozen=True)
class Vocabularies:
    """Two checkpoints' tokenizers, and the edit that the output's manifest names, which says how tokens are told to be alike."""

    one: Side
    other: Side
    edit: str = ""

    def pairs(self) -> Pairs | None:
        """The ids, in both, of the tokens that both have, in the source's order; every one of them.

        None where ids need no translation: both have the same tokens by the same ids. Where only some ids are without a
        token on both sides, and no token has moved, those rows are the same too, and are among the pairs.
        """
        found = self._alike()
        if not found:
            return None
        if all(before == after for before, after in found):
            if self.one.spoken == self.other.spoken and len(found) == len(self.one.spoken):
                return None
            found += [(row, row) for row in self._silent()]
        one, other = ((side.rows if side.rows is not None else 1 << 62) for side in (self.one, self.other))
        kept = sorted((before, after) for before, after in found if before < one and after < other)
        return [before for before, _ in kept], [after for _, after in kept]

    @property
    def source(self) -> Mapping[Any, int]:
        """The source's ids of its tokens, as both sides name them."""
        return self.one.by_bytes if self._by_bytes else self.one.spelled

    @property
    def output(self) -> Mapping[Any, int]:
        return self.other.by_bytes if self._by_bytes else self.other.spelled

    @property
    def trimmed(self) -> bool:
        """Whether the output's tokens are the source's, trimmed: all that any text needs, in the old order, without a gap."""
        kept = [self.source[token] for token, _ in sorted(self.output.items(), key=lambda one: one[1]) if token in self.source]
        if len(kept) != len(self.output) or kept != sorted(kept) or sorted(self.output.values()) != list(range(len(kept))):
            return False
        return list(kept_ids(self.one.table, kept)) == kept

    @property
    def replaced(self) -> bool:
        """Whether the output's tokenizer is said to be another model's."""
        return self.edit == _REPLACING

    def ends(self, config: Mapping[str, Any]) -> bool:
        """Whether what begins and ends texts by the output's ``config`` are special tokens, where its tokenizer names such.

        Which of them is another matter: the tokenizers of instruct models name the end of a document, their configs that of an
        answer.
        """
        stated = [config.get(f"{part}_token_id") for part in _NAMED if self.other.parts[part] is not None]
        ids = [one for value in stated if value is not None for one in (value if isinstance(value, list) else [value])]
        marks = {token["id"] for token in self.other.table.get("added_tokens") or () if token.get("special", True)}
        return all(type(one) is int and (one in marks or one in self.other.parts.values()) for one in ids)

    @property
    def _by_bytes(self) -> bool:
        return self.replaced or is_byte_level(self.one.table) != is_byte_level(self.other.table)

    @property
    def _playing(self) -> dict[int, int]:
        """The output's ids that play a part (end of text ...), with the source's that plays it."""
        one, other = self.one.parts, self.other.parts
        return {there: here for part in _PARTS if (there := other[part]) is not None and (here := one[part]) is not None}

    def _alike(self) -> list[tuple[int, int]]:
        """A transplanted tokenizer gives a token that plays a part the row of the one that played it, so these are compared.

        Where ids have moved and nobody says by which edit, a pair that one of the two ways to tell tokens contradicts, or the
        part that one plays, is left out: of two SentencePiece models the byte <0x09> may stand for what a piece stands for.
        """
        playing = self._playing
        found = [(self.source[token], place) for token, place in self.output.items() if token in self.source]
        if self.replaced:
            return [pair for pair in found if pair[1] not in playing] + [(here, there) for there, here in playing.items()]
        if self.edit or all(before == after for before, after in found):
            return found
        means = {place: token for token, place in self.one.by_bytes.items()}
        return [
            (before, after) for before, after in found
            if self.other.by_bytes.get(means.get(before, b""), after) == after and playing.get(after, before) == before
        ]  # fmt: skip

    def _silent(self) -> list[int]:
        """The rows, in both, that no token of either has."""
        known = [side.rows for side in (self.one, self.other) if side.rows is not None]
        spoken = self.one.spoken | self.other.spoken
        return [row for row in range(min(known, default=max(spoken) + 1)) if row not in spoken]


def vocabularies(source: Checkpoint, output: Checkpoint, edit: str = "") -> Vocabularies | None:
    """Both tokenizers; None where one has none, or one that cannot be read (which is for `validate` to judge)."""
    try:
        one, other = _read(source), _read(output)
    except ConversionError:
        return None
    return Vocabularies(one, other, edit) if one is not None and other is not None else None


def common_tokens(source: Checkpoint, output: Checkpoint) -> Pairs | None:
    """`Vocabularies.pairs` of two checkpoints; None where one has no tokenizer to be read."""
    both = vocabularies(source, output)
    return both.pairs() if both is not None else None


def _read(checkpoint: Checkpoint) -> Side | None:
    files = tokenizer_files(checkpoint)
    if not has_tokenizer(files):
        return None
    made = export(recipe_for("", files), files)
    stated = (checkpoint.config.get(key) for key in _ROWS[::-1])
    rows = next((size for size in stated if type(size) is int and 0 < size <= _most_rows(checkpoint)), None)
    return Side(_table(made), {part: getattr(made.facts, part) for part in _PARTS}, rows, files)


def _most_rows(checkpoint: Checkpoint) -> int:
    """What the number of rows cannot exceed, whatever a config says: lists of that size are made."""
    return max((math.prod(stored.shape) for stored in checkpoint.tensors.values()), default=0)


def _table(made: TokenizerFiles) -> Mapping[str, Any]:
    """The tokenizer.json; of a vocabulary that has none, since only sentencepiece itself is exact, its tokens and ids."""
    if "tokenizer.json" in made:
        value: dict[str, Any] = json.loads(made["tokenizer.json"])
        return value
    name = next(name for name in SENTENCEPIECE_NAMES if name in made)
    ids = {piece.text: place for place, piece in enumerate(read_sentencepiece(name, made[name]).pieces)}
    added = [{"content": text, "id": place} for place, text in made.facts.specials.items() if text not in ids]
    return {"model": {"type": "BPE", "vocab": ids}, "added_tokens": added}
