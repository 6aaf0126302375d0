"""How the rows that only an output has begin, as the edit that made them says: enough to make them again of the others.

The edit tells how (a mean of which rows, a seed), both tokenizers tell the tokens; what comes of a donor is not known here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from convert.common_tokens import Vocabularies
from convert.verification.asked import Made, Ways
from surgery.errors import ConversionError
from surgery.gathered import mean_of
from surgery.tokenizer.alike import bytes_of
from surgery.tokenizer.alphabet import spell
from surgery.tokenizer.facts import is_byte_level, load
from surgery.tokenizer.pieces import bare
from surgery.tokenizer.pipeline import SPACE
from surgery.tokenizer.sources import SENTENCEPIECE_NAMES, looks_like_tiktoken

_DEVIATION = 0.02  # where a config says none: `initializer_range` of the library

_COUNTS = ("first", "tokens", "rows")  # of an edit


def made_rows(both: Vocabularies, told: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[Made, ...]:
    """The new rows that ``told``, an edit of a vocabulary as a manifest has it, explains; none where it does not say enough.

    ``config`` is the source's.
    """
    rows = both.other.rows
    counts = [told.get(key) for key in _COUNTS]
    if rows is None or any(type(n) is int and n > rows for n in counts):  # no list is made of what is not there
        return ()
    try:
        found = tuple(_MAKERS[told["edit"]](both, told, config))
    except (KeyError, TypeError, ValueError, ConversionError):  # written by whoever wrote the output
        return ()
    sound = all(0 < one.old <= one.first and one.first + one.count <= rows for one in found)
    return tuple(one for one in found if one.count) if sound else ()


def _extended(both: Vocabularies, told: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[Made]:
    first, count, rows, before = told["first"], told["tokens"], told["rows"], both.one.rows
    if before is None or any(type(n) is not int for n in (first, count, rows)) or first > before:
        return
    begun = _begun(both, told, config, first, count)
    if begun is None:
        return
    yield begun
    behind = max(before, first + count)
    yield Made("mean", behind, rows - behind, first)


def _begun(
    both: Vocabularies, told: Mapping[str, Any], config: Mapping[str, Any], first: int, count: int
) -> Made | None:
    init, seed = told["init"], told["seed"]
    if init in ("mean", "zero"):
        return Made(init, first, count, first)
    if init in ("normal", "mean-cov") and type(seed) is int:
        deviation = config.get("initializer_range", _DEVIATION)
        return Made(init, first, count, first, deviation=float(deviation), seed=seed)
    if init == "subword-mean":
        tokens = {place: token for token, place in both.other.spelled.items()}
        cut = _Cut(both)
        return Made("mixed", first, count, first, ways=[cut.ways(tokens[first + at]) for at in range(count)])
    kind, _, token = init.partition(":")
    if kind == "copy" and token.encode() in both.one.by_bytes:
        row = both.one.by_bytes[token.encode()]
        return Made("mixed", first, count, first, ways=[[[(row, 1.0)]]] * count)
    return None


def _padded(both: Vocabularies, told: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[Made]:
    if both.one.rows is not None and told["padding"] in ("mean", "zero"):
        yield Made(told["padding"], both.one.rows, told["rows"] - both.one.rows, both.one.rows)


def _trimmed(both: Vocabularies, told: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[Made]:
    yield Made("mean", told["tokens"], told["rows"] - told["tokens"], told["tokens"])


_MAKERS = {"extend-vocab": _extended, "pad-vocab": _padded, "trim-vocab": _trimmed}


class _Cut:
    """How the source's tokenizer cuts a token that it has not: by its own engine, and as its tokenizer.json says."""

    def __init__(self, both: Vocabularies) -> None:
        self._byte_levels = is_byte_level(both.one.table), is_byte_level(both.other.table)
        files = both.one.files
        name = next((name for name in SENTENCEPIECE_NAMES if name in files and not looks_like_tiktoken(files[name])), None)
        self._engine = bare(files[name]) if name is not None else None
        self._json = load(both.one.table) if self._engine is None or "tokenizer.json" in files else None

    def ways(self, token: str) -> Ways:
        """Equal parts of the tokens that it was cut into, by each."""
        cuts: list[Sequence[int]] = []
        if self._engine is not None:
            cuts.append(self._engine.encode(bytes_of(token, self._byte_levels[1]).decode(errors="replace")))
        if self._json is not None:
            # a token that is looked for before all else is spelled as it is, whatever the alphabet of the others
            spelled = {token, spell(token.encode())} if self._byte_levels[0] else {token, token.replace(" ", SPACE)}
            cuts += [[piece for piece, _ in self._json.cut(one)] for one in sorted(spelled)]
        return [mean_of(ids) for ids in cuts]
