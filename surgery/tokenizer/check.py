"""The ids of a written tokenizer beside those of the source's own engine, on the probe."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from surgery.errors import listed, show
from surgery.tokenizer.alphabet import spell, unspell
from surgery.tokenizer.facts import Encode as Encode  # others take it from here
from surgery.tokenizer.facts import encoder, load
from surgery.tokenizer.probe import PROBE
from surgery.tokenizer.processor import processor
from surgery.tokenizer.recipe import Compose, Recipe
from surgery.tokenizer.sources import BpeFiles, SentencePieceModel, Source, TiktokenRanks

Decode = Callable[[Sequence[int]], str | None]


@dataclass(frozen=True, slots=True)
class Difference:
    """A string to which the written tokenizer gives other ids than the source's engine, or whose ids it reads otherwise."""

    text: str
    source: tuple[int, ...]
    written: tuple[int, ...]
    reason: str


@dataclass(frozen=True)
class Check:
    """What a self-check found. `independent` is False where no second engine could be asked."""

    engine: str
    strings: int
    differences: tuple[Difference, ...] = ()
    independent: bool = True

    @property
    def identical(self) -> bool:
        return not self.differences

    def __str__(self) -> str:
        if self.identical:
            tail = "" if self.independent else ", which is no second opinion"
            return f"identical to {self.engine} ({self.strings} strings{tail})"
        reasons = sorted({difference.reason for difference in self.differences})
        examples = listed([show(difference.text, 40) for difference in self.differences], 3)
        count = f"{len(self.differences)} of {self.strings} strings differ from {self.engine}"
        return f"{count}: {'; '.join(reasons)} (e.g. {examples})"


@dataclass(frozen=True)
class Engine:
    """Whoever knows the true ids."""

    name: str
    encode: Encode
    independent: bool = True
    decode: Decode | None = None  # None where it says nothing of ids, or of some


def engine(source: Source, recipe: Recipe) -> Engine:
    """The source's own engine: sentencepiece; tiktoken where it is installed; else the library that we write for."""
    match source:
        case SentencePieceModel(data=data):
            own = processor(data)
            unknown = own.unk_id()
            return Engine(
                "sentencepiece", lambda text: own.encode(text),
                decode=lambda ids: None if unknown in ids else own.decode(list(ids)),  # the unknown piece is no text
            )  # fmt: skip
        case TiktokenRanks(ranks=ranks):
            return _ranked(ranks, recipe)
        case BpeFiles(vocab=vocab, merges=merges):
            return _published(vocab, merges, recipe)
        case _:
            raise AssertionError("a tokenizer.json is its own engine")


def _ranked(ranks: Mapping[bytes, int], recipe: Recipe) -> Engine:
    nfc = Compose("NFC") in recipe.steps
    assert recipe.pattern is not None, f"the recipe {recipe.name} has no pattern, without which ranks say nothing"
    tiktoken = _tiktoken()
    if tiktoken is None:
        return _recovered(ranks, recipe)
    encoding = tiktoken.Encoding(recipe.name, pat_str=recipe.pattern, mergeable_ranks=dict(ranks), special_tokens={})
    return Engine(
        "tiktoken", lambda text: encoding.encode_ordinary(unicodedata.normalize("NFC", text) if nfc else text),
        decode=lambda ids: encoding.decode(list(ids)),
    )  # fmt: skip


def _recovered(ranks: Mapping[bytes, int], recipe: Recipe) -> Engine:
    """One merge per token, found by joining its bytes with lower ranks, as transformers' TikTokenConverter does."""
    from surgery.tokenizer.build import build

    pairs = [pair for token, rank in ranks.items() if len(token) > 1 and (pair := _last_join(token, rank, ranks))]
    ordered = tuple(
        (spell(left), spell(right)) for left, right in sorted(pairs, key=lambda pair: ranks[pair[0] + pair[1]])
    )
    value = build(
        BpeFiles(("ranks", "recovered merges"), {spell(token): rank for token, rank in ranks.items()}, ordered), recipe
    )
    value["model"]["ignore_merges"] = True
    name = "one recovered merge per token in tokenizers (tiktoken is not installed)"
    return Engine(name, encoder(load(value)), independent=False)


def _last_join(token: bytes, rank: int, ranks: Mapping[bytes, int]) -> tuple[bytes, bytes] | None:
    parts = [token[place : place + 1] for place in range(len(token))]
    while len(parts) > 2:
        joined, place = min(
            (ranks.get(parts[place] + parts[place + 1], rank), place) for place in range(len(parts) - 1)
        )
        if joined >= rank:
            return None
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return parts[0], parts[1]


def _published(vocab: Mapping[str, int], merges: Sequence[tuple[str, str]], recipe: Recipe) -> Engine:
    """tiktoken's engine on the same merges; where it is missing, the library's own model on the published files."""
    tokens = dict.fromkeys(
        (*sorted(token for token in vocab if len(token) == 1), *(left + right for left, right in merges))
    )
    spelled = [unspell(token) for token in tokens]
    nfc = Compose("NFC") in recipe.steps
    pattern = recipe.pattern or _GPT_2
    tiktoken = _tiktoken()
    twins, gaps = len(set(spelled)) != len(spelled), not set(spelled) >= _BYTES
    if tiktoken is None or None in spelled or twins or gaps:  # tiktoken panics where a byte has no token
        return _library(vocab, merges, pattern, nfc)
    ids = [vocab[token] for token in tokens]
    encoding = tiktoken.Encoding(
        recipe.name,
        pat_str=pattern,
        mergeable_ranks={token: rank for rank, token in enumerate(spelled)},
        special_tokens={},
    )
    return Engine(
        "tiktoken on the published merges",
        lambda text: [
            ids[rank] for rank in encoding.encode_ordinary(unicodedata.normalize("NFC", text) if nfc else text)
        ],
    )


_BYTES = {bytes([byte]) for byte in range(256)}
_GPT_2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"  # openai/gpt-2 src/encoder.py


def _tiktoken() -> Any:
    try:
        import tiktoken
    except ModuleNotFoundError:
        return None
    return tiktoken


def _library(vocab: Mapping[str, int], merges: Sequence[tuple[str, str]], pattern: str, nfc: bool) -> Engine:
    steps = [
        {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
    ]
    tokenizer = load({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [],
        "normalizer": {"type": "NFC"} if nfc else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps}, "post_processor": None, "decoder": None,
        "model": {"type": "BPE", "vocab": dict(vocab), "merges": [list(pair) for pair in merges]},
    })  # fmt: skip
    return Engine(
        "tokenizers on the published files (tiktoken is not installed, or cannot take them)",
        encoder(tokenizer),
        independent=False,
    )


@dataclass(frozen=True)
class Truth:
    """What the ids of a text are: special tokens in it first, each part between them as the source's engine has it."""

    name: str
    encode: Encode
    front: tuple[int, ...]  # what stands in front of a text
    decode: Decode | None = None  # of ids of plain text


def truth(own: Engine, added: Iterable[Mapping[str, Any]], front: tuple[int, ...]) -> Truth:
    """The engine with the tokens that are looked for before it, given as a tokenizer.json has them (``added_tokens``).

    That is how the vendors' own classes encode: they split a text at its special tokens and give what is between to the
    engine, each part by itself.
    """
    tokens = {token["content"]: token for token in added}
    ids = {text: token["id"] for text, token in tokens.items()}
    cut = re.compile("|".join(f"({re.escape(text)})" for text in sorted(tokens, key=len, reverse=True)) or "(?!)")

    def encode(text: str) -> list[int]:
        found: list[int] = []
        at, strip = 0, False
        for match in (*cut.finditer(text), None):
            part = text[at : match.start() if match is not None else None]
            token = tokens[match.group()] if match is not None else {}
            part = part.lstrip() if strip else part
            found += own.encode(part.rstrip() if token.get("lstrip") else part)
            if match is not None:
                found.append(ids[match.group()])
                at, strip = match.end(), token["rstrip"]
        return found

    return Truth(own.name, encode, front, own.decode)


def compare(
    own: Engine,
    written: Encode,
    reason: Callable[[str], str],
    strings: Iterable[str] = PROBE,
    decode: Callable[[Sequence[int]], str] | None = None,
) -> Check:
    """Both encoders on every string; and where ids are equal, what both make of them again."""
    strings = tuple(strings)
    differences = []
    for text in strings:
        want, got = tuple(own.encode(text)), tuple(written(text))
        if want != got:
            differences.append(Difference(text, want, got, reason(text)))
        elif decode is not None and own.decode is not None:
            said, again = own.decode(want), decode(got)
            if said is not None and said.strip(" ") != again.strip(" "):  # at its ends, each library has a rule of its own
                back = f"its ids come back as {show(again, 30)}, not as {show(said, 30)}"
                differences.append(Difference(text, want, got, back))
    return Check(own.name, len(strings), tuple(differences), own.independent)


_UNKNOWN = "not one of the known causes; please report it"


def reason(source: Source) -> Callable[[str], str]:
    """Why a string may get other ids than SentencePiece gives it, from the known causes; the last is none of them."""

    def of(text: str) -> str:
        if not isinstance(source, SentencePieceModel):
            return _UNKNOWN
        if "\x00" in text:
            return "a NUL character, which sentencepiece 0.2.3 does not look up"
        if source.normaliser != "identity" and any(unicodedata.combining(one) for one in text):
            return "combining marks, whose order Unicode's NFKC changes and SentencePiece's does not"
        if source.normaliser not in ("identity", "nfkc", "nmt_nfkc"):
            return f"the model's rules {source.normaliser}, which tokenizers applies to whole graphemes only"
        if source.algorithm == "unigram":
            return (
                "two ways of cutting with (nearly) equal scores: SentencePiece adds in float32, tokenizers in float64"
            )
        if source.tied:
            return (
                f"{source.tied} pieces share their score with others, and SentencePiece then joins the leftmost pair, "
                "which a merge list cannot say"
            )
        return _UNKNOWN

    return of
