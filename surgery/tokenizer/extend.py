"""New tokens for a BPE tokenizer.json, as real merges behind its own, so that no id of old text changes.

Added tokens would be matched before everything else, inside words and past the normaliser; merges behave as trained
ones do. A token that the present tokenizer cuts in two needs one merge; in more parts, a chain with the steps as tokens
of their own. Every merge we append makes a token that was not there, and stands behind all others: what old text is cut
into, they never see. facts/ecosystem.md 2.2 has the experiment.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from surgery.errors import ConversionError, show
from surgery.tokenizer.alphabet import spell, unspell
from surgery.tokenizer.facts import Tokenizer, is_byte_level, load
from surgery.tokenizer.pieces import refusal
from surgery.tokenizer.pipeline import SPACE, Json
from surgery.tokenizer.sources import spelled_ids

Pair = tuple[str, str]


@dataclass(frozen=True)
class Extension:
    """The extended tokenizer.json; `added` in order of their ids, from `first`, the steps of chains among them."""

    tokenizer_json: Json
    first: int
    added: tuple[str, ...]  # as the file spells them
    steps: frozenset[str] = frozenset()  # those of `added` that nobody asked for
    duplicates: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()  # token, reason

    @property
    def report(self) -> str:
        return (
            f"{len(self.added) - len(self.steps)} tokens added and {len(self.steps)} steps towards them, "
            f"{len(self.duplicates)} there already, {len(self.skipped)} skipped"
        )


@dataclass
class _Growing:
    """Merges while they are appended: the one place here that changes."""

    old: Mapping[str, int]
    added: dict[str, None] = field(default_factory=dict)
    ranks: dict[Pair, int] = field(default_factory=dict)

    def cut(self, parts: Sequence[str]) -> list[str]:
        """What the appended merges make of the parts that the old tokenizer leaves."""
        parts = list(parts)
        while len(parts) > 1:
            rank, place = min(
                (self.ranks.get((parts[at], parts[at + 1]), len(self.ranks)), at) for at in range(len(parts) - 1)
            )
            if rank == len(self.ranks):
                break
            parts[place : place + 2] = [parts[place] + parts[place + 1]]
        return parts

    def append(self, pairs: Sequence[Pair]) -> None:
        for left, right in pairs:
            self.ranks.setdefault((left, right), len(self.ranks))
            self.added.setdefault(left + right)

    def undo(self, merges: int, tokens: int) -> None:
        for pair in list(self.ranks)[merges:]:
            del self.ranks[pair]
        for token in list(self.added)[tokens:]:
            del self.added[token]


def extend_bpe(
    tokenizer_json: Mapping[str, Any], tokens: Iterable[bytes | str], *, first: int | None = None
) -> Extension:
    """The tokenizer with these tokens appended in their order; ids go on from `first`, by default behind the highest.

    Text means UTF-8. Every new token is then put to the tokenizers library, which must give exactly its one id.
    """
    value = _ready(tokenizer_json)
    model, byte_level = value["model"], is_byte_level(value)
    ids = spelled_ids(value)
    tokenizer = load({**value, "model": {**model, "ignore_merges": False}})
    growing, steps = _Growing(ids), set[str]()
    duplicates: dict[str, None] = {}
    skipped: dict[str, str] = {}
    for token in tokens:
        spelled, reason = _spelled(token, byte_level, tokenizer)
        if reason is not None:
            skipped[spelled] = reason
        elif spelled in ids or (spelled in growing.added and spelled not in steps):
            duplicates[spelled] = None
        else:
            reason = _add(growing, steps, spelled, tokenizer, byte_level)
            if reason is not None:
                skipped[spelled] = reason
    start = max(ids.values()) + 1 if first is None else first
    if start <= max(ids.values()):
        raise ConversionError(
            f"new ids are to begin at {start}, but the tokenizer has ids up to {max(ids.values())}; begin behind them"
        )
    vocab = {**model["vocab"], **{token: start + place for place, token in enumerate(growing.added)}}
    value["model"] = {**model, "vocab": vocab, "merges": [*model["merges"], *(list(pair) for pair in growing.ranks)]}
    made = Extension(value, start, tuple(growing.added), frozenset(steps), tuple(duplicates), tuple(skipped.items()))
    _prove(made)
    return made


def _ready(tokenizer_json: Mapping[str, Any]) -> Json:
    """A copy whose merges are pairs and whose added tokens are in the vocabulary.

    An added token that the model lacks gets the next free id when the file is loaded, which new tokens would move.
    """
    value = {**tokenizer_json, "model": dict(tokenizer_json["model"])}
    model = value["model"]
    if model.get("type", "BPE") != "BPE" or not isinstance(model.get("vocab"), dict):
        raise ConversionError(
            f"the tokenizer.json is a {show(model.get('type'))} model, and merges can only be appended to BPE; extend "
            "the SentencePiece model it came from instead, or add the tokens as special ones"
        )
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        raise ConversionError(
            "the tokenizer.json marks the middle or end of words in its tokens (continuing_subword_prefix, "
            "end_of_word_suffix), as no family we know does; its tokens cannot be joined by spelling"
        )
    model["vocab"] = spelled_ids(tokenizer_json)
    model["merges"] = [pair.split(" ") if isinstance(pair, str) else list(pair) for pair in model["merges"]]
    return copy.deepcopy({key: part for key, part in value.items() if key != "model"}) | {"model": model}


def _spelled(token: bytes | str, byte_level: bool, tokenizer: Tokenizer) -> tuple[str, str | None]:
    """The token as the file would spell it, and why it cannot be one, if so."""
    data = token.encode() if isinstance(token, str) else token
    try:
        text: str | None = data.decode()
    except UnicodeDecodeError:
        text = None
    if text is not None:
        spelled = spell(data) if byte_level else text.replace(" ", SPACE)
        reason = refusal(text)
        if reason is None and byte_level:
            reason = _untouched(text, tokenizer)
        return spelled, reason
    return (spell(data), None) if byte_level else (repr(data), "it is no text, and this tokenizer's pieces are")


def _untouched(text: str, tokenizer: Tokenizer) -> str | None:
    normal, words = tokenizer.prepared(text)
    if normal != text:
        return "the normaliser changes it, so text never has it"
    if words != 1:
        return "the pre-tokenizer cuts it"
    return None


def _add(growing: _Growing, steps: set[str], spelled: str, tokenizer: Tokenizer, byte_level: bool) -> str | None:
    """Appends what makes the token reachable, or nothing and says why not."""
    merges, tokens = len(growing.ranks), len(growing.added)
    if not byte_level:
        for character in spelled:  # without a piece of its own it would fall into bytes, which never merge
            if character not in growing.old and character not in growing.added:
                growing.added[character] = None
    left = _left(spelled, growing, tokenizer)
    whole = growing.cut(left)
    if len(whole) > 1:
        pairs = _chain(whole, growing)
        if pairs is not None:
            growing.append(pairs)
    if growing.cut(left) != [spelled]:
        growing.undo(merges, tokens)
        return "its parts make a token that is there already, which old text would then get, or merge otherwise first"
    new = list(growing.added)[tokens:]
    steps.update(token for token in new if token != spelled)
    steps.discard(spelled)
    return None


def _left(spelled: str, growing: _Growing, tokenizer: Tokenizer) -> list[str]:
    """What the old merges leave; characters that are new tokens stand between them as they are."""
    parts: list[str] = []
    run = ""
    for character in (*spelled, ""):
        if character and character in growing.old:
            run += character
            continue
        parts += [token for _, token in tokenizer.cut(run)] if run else []
        parts += [character] if character else []
        run = ""
    return parts


def _chain(parts: Sequence[str], growing: _Growing) -> list[Pair] | None:
    """Merges that join the parts with the fewest new tokens, none of them an old one; None where there is no way."""

    @cache
    def best(start: int, stop: int) -> tuple[int, tuple[Pair, ...]] | None:
        if stop - start == 1:
            return 0, ()
        joined = "".join(parts[start:stop])
        if joined in growing.old:
            return None
        ways = []
        for middle in range(stop - 1, start, -1):  # the longest left part first: BPE joins from the left
            left, right = best(start, middle), best(middle, stop)
            if left is not None and right is not None:
                pair = ("".join(parts[start:middle]), "".join(parts[middle:stop]))
                cost = left[0] + right[0] + (joined not in growing.added)
                ways.append((cost, (*left[1], *right[1], pair)))
        return min(ways, key=lambda way: way[0], default=None)

    found = best(0, len(parts)) if len(parts) <= 24 else None
    return None if found is None else list(dict.fromkeys(found[1]))


def _prove(made: Extension) -> None:
    tokenizer = load({**made.tokenizer_json, "model": {**made.tokenizer_json["model"], "ignore_merges": False}})
    for place, token in enumerate(made.added):
        ids = [piece for piece, _ in tokenizer.cut(token)]
        assert ids == [made.first + place], f"{token!r} became {ids} instead of {made.first + place}"


def add_special_tokens(
    tokenizer_json: Mapping[str, Any], tokens: Iterable[str], *, first: int | None = None, special: bool = True
) -> Extension:
    """The tokenizer with tokens that are found in text before anything else, behind its highest id or from `first`."""
    ids = spelled_ids(tokenizer_json)
    start = max(ids.values()) + 1 if first is None else first
    new, duplicates, skipped = dict[str, None](), dict[str, None](), dict[str, str]()
    for token in tokens:
        reason = refusal(token) or ("it is only spaces" if not token.strip() else None)
        if reason is not None:
            skipped[token] = reason
        elif token in ids:
            duplicates[token] = None
        else:
            new[token] = None
    entries = [
        {
            "id": start + place, "content": token, "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": False, "special": special,
        }
        for place, token in enumerate(new)
    ]  # fmt: skip
    value = {**tokenizer_json, "added_tokens": [*(tokenizer_json.get("added_tokens") or ()), *entries]}
    if isinstance(tokenizer_json["model"].get("vocab"), dict):
        vocab = {**ids, **{token: start + place for place, token in enumerate(new)}}
        value["model"] = {**tokenizer_json["model"], "vocab": vocab}
    return Extension(value, start, tuple(new), frozenset(), tuple(duplicates), tuple(skipped.items()))


def as_text(spelled: str, byte_level: bool) -> str | None:
    """A token's text, or None where its bytes are none."""
    data = unspell(spelled) if byte_level else spelled.replace(SPACE, " ").encode()
    try:
        return None if data is None else data.decode()
    except UnicodeDecodeError:
        return None
