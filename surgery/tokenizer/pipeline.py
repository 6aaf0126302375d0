"""The parts of a tokenizer.json besides the vocabulary, as the dictionaries that the tokenizers library reads."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

from surgery.tokenizer.recipe import Compose, Replace, Step
from surgery.tokenizer.sources import SentencePieceModel

Json = dict[str, Any]

SPACE = "\N{LOWER ONE EIGHTH BLOCK}"

# What `nmt_nfkc` does before NFKC (google/sentencepiece src/builder.cc, BuildNmtNFKCMap): 14 characters become a space,
# 30 vanish.
_SPACES = "\t\n\f\r\u1680\u200b\u200c\u200e\u200f\u2028\u2029\u2581\ufeff\ufffd"
_GONE = "".join(map(chr, (*range(1, 9), 0x0B, *range(0x0E, 0x20), 0x7F, 0x8F, 0x9F)))
# Where SentencePiece's NFKC (src/builder.cc, BuildNFKCMap) and that of tokenizers disagree on single characters: the
# wave dash is kept on purpose, the others are younger than the Unicode tables of tokenizers. Found by asking both about
# every code point.
_KEPT = "\uff5e"
_YOUNGER = {
    "\u32ff": "\u4ee4\u548c",
    "\uab69": "\u028d",
    "\U0001f16c": "MR",
    **{chr(0x1FBF0 + digit): str(digit) for digit in range(10)},
}
# Protected characters hide behind these while the others are normalised: first Unicode's 32 noncharacters, then private
# use.
_MASKS = (*map(chr, range(0xFDD0, 0xFDF0)), *map(chr, range(0x10F000, 0x10FF00)))


def replace(old: str, new: str) -> Json:
    return {"type": "Replace", "pattern": {"String": old}, "content": new}


def replace_pattern(old: str, new: str) -> Json:
    return {"type": "Replace", "pattern": {"Regex": old}, "content": new}


def step(one: Step) -> Json:
    """A recipe's normaliser step.

    >>> step(Compose("NFC"))
    {'type': 'NFC'}
    """
    match one:
        case Replace(old, new):
            return replace(old, new)
        case Compose(form):
            return {"type": form}


def sequence(kind: str, parts: Sequence[Json]) -> Json | None:
    """None for no parts, the part itself for one, otherwise a Sequence under the key that this kind of part uses."""
    if len(parts) > 1:
        return {"type": "Sequence", kind: list(parts)}
    return parts[0] if parts else None


def normaliser(model: SentencePieceModel, steps: Iterable[Step], protected: Iterable[str]) -> Json | None:
    """What SentencePiece does to text before it looks for pieces; `protected` single characters pass unchanged."""
    parts = [step(one) for one in steps]
    if model.dummy_prefix and not model.space_suffix and not model.collapse_spaces:
        parts.append(
            {"type": "Prepend", "prepend": " "}
        )  # before the rules, as an empty text has no prefix but a deleted one has
    parts += _rules(model, tuple(protected))
    if model.collapse_spaces:
        parts += [replace_pattern(rf"\A +|[ {SPACE}]+\z", ""), replace_pattern(" {2,}", " ")]
        if model.dummy_prefix and not model.space_suffix:
            parts.append({"type": "Prepend", "prepend": " "})
    if model.dummy_prefix and model.space_suffix:
        parts.append(replace_pattern("(?<=[\\s\\S])\\z", " "))
    parts.append(replace(" ", SPACE))
    return sequence("normalizers", parts)


def _rules(model: SentencePieceModel, protected: Sequence[str]) -> list[Json]:
    name = model.normaliser
    if name == "identity":
        return []
    if name not in ("nfkc", "nmt_nfkc"):
        # Per grapheme, and so not quite SentencePiece's longest match (facts: tokenizers, trap 7); the self-check
        # tells.
        from base64 import b64encode

        return [{"type": "Precompiled", "precompiled_charsmap": b64encode(model.charsmap).decode()}]
    kept = (*protected, _KEPT) if name == "nmt_nfkc" else protected
    hidden = list(zip((one for one in kept if _moves(one)), _MASKS, strict=False))
    rules = [replace(one, mask) for one, mask in (*hidden, *_YOUNGER.items())]
    if name == "nmt_nfkc":
        rules += [replace_pattern(f"[{_escaped(_GONE)}]", ""), replace_pattern(f"[{_escaped(_SPACES)}]", " ")]
    return [*rules, {"type": "NFKC"}, *(replace(mask, one) for one, mask in hidden)]


def _moves(character: str) -> bool:
    return character in _SPACES or character in _GONE or unicodedata.normalize("NFKC", character) != character


def _escaped(characters: str) -> str:
    return "".join(f"\\x{{{ord(one):04X}}}" for one in characters)


def isolate(texts: Iterable[str]) -> Json:
    """A pre-tokenizer that cuts these texts out, the longest first where several begin alike."""
    ordered = sorted(texts, key=lambda text: (-len(text), text))
    return {
        "type": "Split",
        "pattern": {"Regex": "|".join(map(re.escape, ordered))},
        "behavior": "Isolated",
        "invert": False,
    }


def byte_level(pattern: str | None) -> Json:
    """The pre-tokenizer of byte-level BPE: split by a pattern, or by GPT-2's own, then spell bytes as characters."""
    spelled = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": pattern is None}
    if pattern is None:
        return spelled
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [split, spelled]}


BYTE_LEVEL_DECODER: Json = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}


def piece_decoder(model: SentencePieceModel) -> Json:
    """Spaces back, bytes back to characters, and the dummy prefix off again."""
    parts: list[Json] = [replace(SPACE, " "), {"type": "ByteFallback"}, {"type": "Fuse"}]
    if model.dummy_prefix:
        start, stop = (0, 1) if model.space_suffix else (1, 0)
        parts.append({"type": "Strip", "content": " ", "start": start, "stop": stop})
    return {"type": "Sequence", "decoders": parts}


def in_front(prefix: Sequence[str], ids: dict[str, int]) -> Json | None:
    """The post-processor that puts the prefix before each text, or none."""
    if not prefix:
        return None

    def template(name: str, number: int) -> list[Json]:
        return [
            *({"SpecialToken": {"id": text, "type_id": number}} for text in prefix),
            {"Sequence": {"id": name, "type_id": number}},
        ]

    return {
        "type": "TemplateProcessing",
        "single": template("A", 0),
        "pair": [*template("A", 0), *template("B", 1)],
        "special_tokens": {text: {"id": text, "ids": [ids[text]], "tokens": [text]} for text in prefix},
    }
