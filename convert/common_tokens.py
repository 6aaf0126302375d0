"""Which tokens two checkpoints have in common, by what they stand for: what there is to compare where ids have moved.

Only the tokenizers say that: a config names ids that play a part, and whoever wrote it would choose what is compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from convert.checkpoint import Checkpoint
from convert.edits.tokens import tokenizer_files
from convert.tokenizing import has_tokenizer
from mappings.tokenizers import recipe_for
from surgery.errors import ConversionError
from surgery.tokenizer.alike import ids_by_bytes
from surgery.tokenizer.export import export
from surgery.tokenizer.facts import is_byte_level
from surgery.tokenizer.grow import as_tokenizer_json
from surgery.tokenizer.sources import spelled_ids
from surgery.tokenizer.trim import kept_ids

_PARTS = ("unk", "pad", "bos", "eos")  # the last one that an id plays counts

Pairs = tuple[list[int], list[int]]


@dataclass(frozen=True)
class Vocabularies:
    """Two checkpoints' tokenizers as tables: the ids of what both spell, or of one of them nothing."""

    source: Mapping[Any, int]
    output: Mapping[Any, int]
    parts: Mapping[int, int]  # the output's ids that play a part (end of text ...), with the source's that plays it
    table: Mapping[str, Any]  # the source's tokenizer.json

    def pairs(self, *, by_part: bool = False) -> Pairs | None:
        """The ids, in both, of the tokens that both have, in the source's order; every one of them.

        None where ids need no translation: every id that both have is the same token. ``by_part``: a transplanted
        tokenizer gives a token that plays a part the row of the one that played it, and so those are compared.
        """
        parts = self.parts if by_part else {}
        found = [(self.source[token], place) for token, place in self.output.items() if token in self.source]
        found = sorted([pair for pair in found if pair[1] not in parts] + [(old, place) for place, old in parts.items()])
        alike = {before for before, after in found if before == after}
        if not found or (alike == set(self.source.values()) & set(self.output.values()) and not by_part):
            return None
        return [before for before, _ in found], [after for _, after in found]

    @property
    def kept(self) -> frozenset[int]:
        """The source's ids of tokens that the output has, or whose part one of its tokens plays."""
        return frozenset(place for token, place in self.source.items() if token in self.output) | {*self.parts.values()}

    @property
    def trimmed(self) -> bool:
        """Whether the output's tokens are the source's, trimmed: all that any text needs, in the old order, without a gap."""
        kept = [self.source[token] for token, _ in sorted(self.output.items(), key=lambda one: one[1]) if token in self.source]
        if len(kept) != len(self.output) or kept != sorted(kept) or sorted(self.output.values()) != list(range(len(kept))):
            return False
        return list(kept_ids(self.table, kept)) == kept


def vocabularies(source: Checkpoint, output: Checkpoint) -> Vocabularies | None:
    """Both tokenizers; None where one has none, or one that cannot be read (which is for `validate` to judge)."""
    try:
        one, other = _read(source), _read(output)
    except ConversionError:
        return None
    if one is None or other is None:
        return None
    (table, played), (theirs, wanted) = one, other
    named = spelled_ids if is_byte_level(table) == is_byte_level(theirs) else ids_by_bytes
    parts = {wanted[part]: played[part] for part in _PARTS if wanted[part] is not None and played[part] is not None}
    return Vocabularies(named(table), named(theirs), parts, table)  # type: ignore[arg-type]


def common_tokens(source: Checkpoint, output: Checkpoint) -> Pairs | None:
    """`Vocabularies.pairs` of two checkpoints; None where one has no tokenizer to be read."""
    both = vocabularies(source, output)
    return both.pairs() if both is not None else None


def _read(checkpoint: Checkpoint) -> tuple[Mapping[str, Any], dict[str, int | None]] | None:
    files = tokenizer_files(checkpoint)
    if not has_tokenizer(files):
        return None
    recipe = partial(recipe_for, "")
    facts = export(recipe(files), files).facts
    return as_tokenizer_json(files, recipe), {part: getattr(facts, part) for part in _PARTS}
