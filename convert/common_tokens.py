"""Which tokens two checkpoints have in common, by what they stand for: what there is to compare where ids have moved."""

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

_PARTS = ("bos", "eos", "unk", "pad")


@dataclass(frozen=True)
class _Numbered:
    """A checkpoint's tokenizer as a table, and the ids that play a part."""

    table: Mapping[str, Any]
    parts: Mapping[str, frozenset[int]]  # by the tokenizer and by the config, which may say different things


def common_tokens(source: Checkpoint, output: Checkpoint) -> tuple[list[int], list[int]] | None:
    """The ids, in both, of the tokens that both have, in the source's order.

    None where ids need no translation: every id that both have is the same token, or one has no tokenizer to be read. A
    token that plays a part in the output (end of text ...) which another played in the source is left out: a transplanted
    tokenizer gives it the row of the one that played it.
    """
    try:
        one, other = _numbered(source), _numbered(output)
    except ConversionError:
        return None  # a tokenizer that cannot be read is for `validate` to judge
    if one is None or other is None:
        return None
    named = spelled_ids if is_byte_level(one.table) == is_byte_level(other.table) else ids_by_bytes
    old: Mapping[Any, int] = named(one.table)
    new: Mapping[Any, int] = named(other.table)
    played = {theirs: one.parts[part] for part, ids in other.parts.items() for theirs in ids if one.parts[part]}
    pairs = sorted(
        (old[token], place) for token, place in new.items() if token in old and old[token] in played.get(place, {old[token]})
    )
    alike = {before for before, after in pairs if before == after}
    if not pairs or alike == set(old.values()) & set(new.values()):
        return None
    return [before for before, _ in pairs], [after for _, after in pairs]


def _numbered(checkpoint: Checkpoint) -> _Numbered | None:
    files = tokenizer_files(checkpoint)
    if not has_tokenizer(files):
        return None
    recipe = partial(recipe_for, "")
    facts = export(recipe(files), files).facts
    parts = {part: _ids(getattr(facts, part)) | _ids(checkpoint.config.get(f"{part}_token_id")) for part in _PARTS}
    return _Numbered(as_tokenizer_json(files, recipe), parts)


def _ids(value: Any) -> frozenset[int]:
    """What a config or a tokenizer names: one id, several or none."""
    return frozenset(one for one in (value if isinstance(value, list) else [value]) if isinstance(one, int))
