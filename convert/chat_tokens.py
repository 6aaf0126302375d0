"""What the tokens of two prompts stand for, and why the same text may rightly be cut into others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from convert.common_tokens import Vocabularies
from convert.templates import Conversation
from surgery.tokenizer.alike import bytes_of
from surgery.tokenizer.facts import is_byte_level

_BETWEEN = 8  # bytes of JSON that may stand beside a word of a tool


@dataclass(frozen=True)
class Names:
    """What the ids of both sides stand for, named the same way on both."""

    sides: tuple[Mapping[int, Any], Mapping[int, Any]]
    means: tuple[Mapping[int, bytes], Mapping[int, bytes]]  # the text of each
    specials: frozenset[Any]  # of the source: tokens that stand for themselves
    replaced: bool  # whether the output's tokenizer is another model's
    trimmed: bool  # whether its tokens are the source's, fewer

    @classmethod
    def of(cls, both: Vocabularies) -> Names:
        """Of two checkpoints' vocabularies."""
        sides = tuple({place: token for token, place in one.items()} for one in (both.source, both.output))
        means = tuple(
            {place: bytes_of(token, is_byte_level(side.table)) for token, place in side.spelled.items()}
            for side in (both.one, both.other)
        )
        ids = {both.one.spelled[token["content"]] for token in both.one.table.get("added_tokens") or ()}
        specials = frozenset(sides[0][place] for place in ids if place in sides[0])
        return cls((sides[0], sides[1]), (means[0], means[1]), specials, both.replaced, both.trimmed)

    def of_ids(self, ids: Sequence[int], side: int) -> tuple[Any, ...]:
        """The names of these ids."""
        return tuple(self.sides[side].get(token, token) for token in ids)

    def cut(self, source: Sequence[int], output: Sequence[int], said: Conversation) -> str:
        """Why the same text comes in other tokens; empty where nothing explains it.

        The output has further tokens, or fewer, or its tokenizer is another model's. A special token must stay one, whoever
        cuts the text around it; and a trimmed vocabulary has all that the template writes.
        """
        one, other = self.of_ids(source, 0), self.of_ids(output, 1)
        if [token for token in one if token in self.specials] != [token for token in other if token in self.specials]:
            return ""
        if self.replaced:
            return "as another model's tokenizer cuts it"
        if not set(self.sides[0].values()).issuperset(other):
            return "some of them new"
        return "since some of its words' tokens were trimmed" if self.trimmed and self._fewer(source, output, said) else ""

    def _fewer(self, source: Sequence[int], output: Sequence[int], said: Conversation) -> bool:
        """Whether tokens differ in what was said alone, and there only around such as are gone."""
        text, other = (b"".join(self.means[side].get(token, b"") for token in ids) for side, ids in enumerate((source, output)))
        if other != text:
            return False
        spoken, kept = _spans(text, said), set(self.sides[1].values())
        return all(
            not kept.issuperset(tokens) and any(begin < last and first < end for first, last in spoken)
            for begin, end, tokens in self._apart(source, output)
        )

    def _apart(self, source: Sequence[int], output: Sequence[int]) -> Iterator[tuple[int, int, tuple[Any, ...]]]:
        """Stretches of the text, by its bytes, that are cut otherwise, each with the source's tokens."""
        cuts = []
        for side, ids in enumerate((source, output)):
            ends = accumulate(len(self.means[side].get(token, b"")) for token in ids)
            cuts.append(list(zip(ends, self.of_ids(ids, side), strict=True)))
        common = sorted({end for end, _ in cuts[0]} & {end for end, _ in cuts[1]})
        for begin, end in zip([0, *common], common, strict=False):
            one, other = (tuple(token for place, token in cut if begin < place <= end) for cut in cuts)
            if one != other:
                yield begin, end, one


def _spans(text: bytes, said: Conversation) -> list[tuple[int, int]]:
    """Where a prompt has what was said: the messages' words, and those of tools with the JSON around them."""
    contents = [str(message.get("content", "")) for message in said.messages]
    calls = [message[key] for message in said.messages for key in message if key not in ("role", "content")]
    plain = [(form.encode(), 0) for word in contents for form in {word, word.strip()}]
    found = plain + [(word.encode(), _BETWEEN) for word in _words([said.tools, *calls])]
    return [(at - more, at + len(word) + more) for word, more in found if word for at in _places(text, word)]


def _words(value: Any) -> Iterator[str]:
    """All text in JSON values."""
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from (str(key), *_words(one))
    elif isinstance(value, Iterable) and not isinstance(value, str):
        for one in value:
            yield from _words(one)
    elif value is not None:
        yield str(value)


def _places(text: bytes, word: bytes) -> Iterator[int]:
    at = text.find(word)
    while at >= 0:
        yield at
        at = text.find(word, at + 1)
