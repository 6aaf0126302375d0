"""What a tokenizer is, in numbers: for `inspect`, and for whoever has to size an embedding."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from surgery.apart import Failed, Guest, made
from surgery.errors import ConversionError, listed, show
from surgery.tokenizer.bounds import refuse_many_parts
from surgery.tokenizer.probe import SAMPLES
from surgery.tokenizer.sources import spelled_ids

Encode = Callable[[str], Sequence[int]]


@dataclass(frozen=True)
class TokenizerFacts:
    """`size` counts tokens; `max_id` is what the embedding must exceed, and the two differ where ids have holes."""

    kind: str  # "BPE, byte-level", "BPE, pieces", "Unigram, pieces" ...
    size: int
    max_id: int
    bos: int | None
    eos: int | None
    unk: int | None
    pad: int | None
    adds_bos: bool
    prefix: tuple[int, ...]  # ids that add_special_tokens puts in front of a text
    specials: Mapping[int, str]
    chat_template: bool
    characters_per_token: Mapping[str, float]  # on samples of ours, by language


@dataclass(frozen=True)
class Encoding:
    """What a text was cut into."""

    ids: list[int]


class Tokenizer:
    """A tokenizer.json as the tokenizers library has it, which runs apart: what a file makes it do is bounded."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    def encode(self, text: str, add_special_tokens: bool = True) -> Encoding:
        return Encoding(self._asked("encode text with", "encode", text=text, framed=add_special_tokens))

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        return str(self._asked("decode ids with", "decode", ids=list(ids), skip=skip_special_tokens))

    def cut(self, text: str) -> list[tuple[int, str]]:
        """Ids and tokens that the model alone makes of a text, without what stands before and behind it."""
        return [(place, token) for place, token in self._asked("cut text with", "cut", text=text)]

    def prepared(self, text: str) -> tuple[str, int]:
        """What the normaliser makes of a text, and into how many words the text is cut before the model sees it."""
        normal, words = self._asked("normalise text with", "prepared", text=text)
        return normal, words

    def token_to_id(self, token: str) -> int | None:
        found: int | None = self._guest.call("id_of", token=token)
        return found

    def id_to_token(self, place: int) -> str | None:
        found: str | None = self._guest.call("token_of", place=place)
        return found

    def get_vocab(self) -> dict[str, int]:
        return dict(self._guest.call("vocabulary"))

    def _asked(self, doing: str, method: str, **options: Any) -> Any:
        """What the library says; some files are found wrong only here."""
        try:
            return self._guest.call(method, **options)
        except Failed as error:
            raise _refused(error, doing) from error


def load(value: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer of a tokenizer.json value."""
    _refuse_what_aborts(value.get("model"))
    refuse_many_parts(value)
    data = json.dumps(value, ensure_ascii=False).encode(errors="surrogatepass")
    try:
        return Tokenizer(made("surgery.tokenizer.engines:Json", [data], what="tokenizer.json"))
    except Failed as error:
        raise _refused(error, "load") from error


def _refuse_what_aborts(model: object) -> None:
    """Raises where the library would end the process, which no handler survives.

    It cuts the prefix's length off the right half of every merge without looking, perhaps in the middle of a character.
    """
    if not isinstance(model, Mapping):
        return
    prefix, merges = model.get("continuing_subword_prefix"), model.get("merges")
    if not prefix or not isinstance(prefix, str) or not isinstance(merges, list):
        return
    for merge in merges:
        right = (
            merge.partition(" ")[2]
            if isinstance(merge, str)
            else merge[-1]
            if isinstance(merge, list) and merge
            else ""
        )
        if not isinstance(right, str) or not right.startswith(prefix):
            raise ConversionError(
                f"tokenizer.json: the merge {show(merge, 60)} continues a word without the continuing_subword_prefix "
                f"{show(prefix, 40)}, so that the two are not of one tokenizer; take the file from the model's repository"
            )


def encoder(tokenizer: Tokenizer, framed: bool = False) -> Encode:
    """Text to ids; ``framed`` is with what the tokenizer puts around a text."""
    return lambda text: tokenizer.encode(text, add_special_tokens=framed).ids


def decoder(tokenizer: Tokenizer) -> Callable[[Sequence[int]], str]:
    """Ids as text, special tokens too."""
    return lambda ids: tokenizer.decode(ids, skip_special_tokens=False)


def _refused(error: Failed, doing: str) -> ConversionError:
    """What the library raised, as our refusal."""
    return ConversionError(
        f"tokenizer.json is one that the tokenizers library cannot {doing} ({show(str(error)[-200:])}): it is damaged, or was "
        "written for a newer version; download it again, or upgrade the library"
    )


def facts(
    value: Mapping[str, Any],
    config: Mapping[str, Any] = MappingProxyType({}),
    chat_template: bool = False,
    tokenizer: Tokenizer | None = None,
) -> TokenizerFacts:
    """Facts of a tokenizer.json value beside its tokenizer_config.json; `tokenizer` saves loading it again."""
    tokenizer = load(value) if tokenizer is None else tokenizer
    ids = spelled_ids(value)
    plain, framed = (list(encoder(tokenizer, framed)("a")) for framed in (False, True))
    fits = framed[len(framed) - len(plain) :] == plain
    front = tuple(framed[: len(framed) - len(plain)]) if fits else ()
    named = {name: ids.get(token_text(config.get(f"{name}_token")) or "") for name in ("bos", "eos", "unk", "pad")}
    return TokenizerFacts(
        kind=kind(value), size=len(ids), max_id=max(ids.values()), **named,
        adds_bos=named["bos"] is not None and front[:1] == (named["bos"],), prefix=front,
        specials={token["id"]: token["content"] for token in value.get("added_tokens") or () if token.get("special")},
        chat_template=chat_template or bool(config.get("chat_template")),
        characters_per_token=characters_per_token(tokenizer),
    )  # fmt: skip


def refuse_overflow(found: TokenizerFacts, rows: int) -> None:
    """Raises where the tokenizer has ids that the embedding has no row for; more rows than ids are legal padding."""
    if found.max_id < rows:
        return
    beyond = [f"{place} {show(text, 40)}" for place, text in sorted(found.specials.items()) if place >= rows]
    named = f" ({listed(beyond)})" if beyond else ""
    raise ConversionError(
        f"the tokenizer has ids up to {found.max_id}{named}, but the embedding has {rows} rows: text with such a token "
        "would read outside the matrix; take the tokenizer that belongs to this checkpoint, or extend the embedding"
    )


def token_text(token: object) -> str | None:
    """A token's text, whether tokenizer_config.json states it plainly or as an AddedToken."""
    content = token.get("content") if isinstance(token, Mapping) else token
    return content if isinstance(content, str) else None


def kind(value: Mapping[str, Any]) -> str:
    """The model's kind and what its tokens are spelled in."""
    return f"{value['model'].get('type', 'BPE')}, {'byte-level' if is_byte_level(value) else 'pieces'}"


def is_byte_level(value: Mapping[str, Any]) -> bool:
    """Whether tokens are spelled in the byte-level alphabet, by the pre-tokenizer or by the decoder."""
    parts = [value.get("pre_tokenizer") or {}, value.get("decoder") or {}]
    return any(
        part.get("type") == "ByteLevel"
        for whole in parts
        for part in (whole, *whole.get("pretokenizers", ()), *whole.get("decoders", ()))
    )


def characters_per_token(tokenizer: Tokenizer, samples: Mapping[str, str] = SAMPLES) -> dict[str, float]:
    """How many characters of text one token stands for; more is better."""
    encode = encoder(tokenizer)
    return {name: len(text) / max(1, len(encode(text))) for name, text in samples.items()}  # no unk: perhaps no token
