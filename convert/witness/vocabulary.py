"""Which tokens a miniature has: a few of each side's, in order, with those that a config names among them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_FEW = 192  # tokens of each side, beside those that configs name
_MOST_NAMED = 1024  # ids that one config may name


@dataclass(frozen=True)
class Tokens:
    """The tokens that one side of a miniature has, ascending, of ``rows`` that the real one has."""

    ids: tuple[int, ...]
    rows: int

    def __len__(self) -> int:
        return len(self.ids)

    def of(self, token: int) -> int:
        """The miniature's id for a real one; ids beyond the real rows stay as far beyond the miniature's."""
        return bisect_left(self.ids, token) if 0 <= token < self.rows else len(self.ids) + max(token - self.rows, 0)


@dataclass(frozen=True)
class Vocabulary:
    """Both sides' tokens, and the places of those that mean the same in both."""

    source: Tokens
    output: Tokens
    pairs: tuple[tuple[int, int], ...]  # (place in the source's miniature, place in the output's)
    renumbered: bool  # whether an edit of the vocabulary stands between the two


def vocabulary(
    rows: tuple[int, int],
    shared: tuple[Sequence[int], Sequence[int]] | None,
    configs: tuple[Mapping[str, Any], Mapping[str, Any]],
) -> Vocabulary:
    """The tokens of miniatures of two vocabularies with so many ``rows``.

    ``shared`` are the ids, in both, of tokens that mean the same; None where every id below both numbers of rows does.
    """
    common = min(rows)
    old, new = shared if shared is not None else (range(common), range(common))
    named = [{token for token in named_ids(config) if token < count} for config, count in zip(configs, rows, strict=True)]
    pairs = sorted((old[place], new[place]) for place in some_places((old, new), configs))
    one, other = ({0, count - 1, *ids, *some} for count, ids, some in zip(rows, zip(*pairs, strict=True), named, strict=True))
    if shared is None:  # ids are the same on both sides, and so are the places of those that both have
        both = {token for token in one | other if token < common}
        one, other = one | both, other | both
    sides = Tokens(tuple(sorted(one)), rows[0]), Tokens(tuple(sorted(other)), rows[1])
    places = tuple((sides[0].of(a), sides[1].of(b)) for a, b in pairs)
    return Vocabulary(*sides, places, shared is not None)


def some_places(
    shared: tuple[Sequence[int], Sequence[int]], configs: tuple[Mapping[str, Any], Mapping[str, Any]]
) -> list[int]:
    """Places in ``shared`` that are enough: some all over it, and those of tokens that a side's config names."""
    old, new = shared
    one, other = (named_ids(config) for config in configs)
    step = max(1, len(old) // _FEW)
    return [at for at in range(len(old)) if at % step == 0 or old[at] in one or new[at] in other]


def named_ids(config: Mapping[str, Any]) -> set[int]:
    """The token ids that a config names, those of nested tables too."""
    found: set[int] = set()
    for key, value in config.items():
        if isinstance(value, Mapping):
            found |= named_ids(value)
        elif names_tokens(key):
            several = value if isinstance(value, list) else [value]
            found |= {one for one in several[:_MOST_NAMED] if type(one) is int and one >= 0}
    return found


def names_tokens(key: str) -> bool:
    """Whether a key's value is one token id or several."""
    return key.endswith(("_token_id", "_token_ids"))


def with_tokens_of(config: Mapping[str, Any], tokens: Tokens) -> dict[str, Any]:
    """The config with every token id that it names as the miniature numbers it."""

    def mapped(key: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {inner: mapped(inner, one) for inner, one in value.items()}
        if not names_tokens(key):
            return value
        if isinstance(value, list):
            return [mapped(key, one) for one in value]
        return tokens.of(value) if type(value) is int and value >= 0 else value

    return {key: mapped(key, value) for key, value in config.items()}

