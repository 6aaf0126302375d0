"""A vendor's tokenizer files, read into values, or refused in one paragraph each.

Files are bytes under their names; nothing is opened here. Four kinds are known: a SentencePiece model, tiktoken ranks,
`vocab.json` with `merges.txt` (GPT-2 called them `encoder.json` and `vocab.bpe`), and `tokenizer.json`.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from surgery.errors import ConversionError, LimitExceeded, listed, show
from surgery.tokenizer.bounds import MOST_IDS, refuse_many_values
from surgery.tokenizer.processor import decode_error, parsed

LARGEST = 128 * 2**20  # bytes; Gemma's tokenizer.json, the largest known, has 33 MB

# Llama gives its runs of spaces -1e9, which is "last of all" and no score to compare or to continue from: below it,
# float32 cannot count by ones.
FLOOR = -1e8

Kind = Literal["normal", "unknown", "control", "user", "unused", "byte"]
_KINDS: tuple[Kind, ...] = (
    "normal",
    "unknown",
    "control",
    "user",
    "unused",
    "byte",
)  # in the order of the enum, from 1
_MODELS = {1: "unigram", 2: "bpe", 3: "word", 4: "char"}

SENTENCEPIECE_NAMES = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "ice_text.model")
BPE_NAMES = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))


@dataclass(frozen=True, slots=True)
class Piece:
    """One SentencePiece piece; its id is its place."""

    text: str
    score: float
    kind: Kind = "normal"


@dataclass(frozen=True)
class SentencePieceModel:
    """What a SentencePiece file says, with the bytes that said it."""

    name: str
    data: bytes
    pieces: tuple[Piece, ...]
    algorithm: str  # bpe, unigram, word or char
    normaliser: str  # identity, nfkc, nmt_nfkc, nfkc_cf, nmt_nfkc_cf or a user's own
    charsmap: bytes
    dummy_prefix: bool
    collapse_spaces: bool  # remove_extra_whitespaces
    space_suffix: bool  # treat_whitespace_as_suffix
    byte_fallback: bool
    unk: int
    bos: int
    eos: int
    pad: int

    @property
    def size(self) -> int:
        return len(self.pieces)

    @property
    def tied(self) -> int:
        """How many normal pieces share their score with another one: SentencePiece then takes the leftmost."""
        scores = Counter(piece.score for piece in self.pieces if piece.kind == "normal" and piece.score > FLOOR)
        return sum(count for count in scores.values() if count > 1)

    def text(self, place: int) -> str | None:
        return self.pieces[place].text if 0 <= place < len(self.pieces) else None


@dataclass(frozen=True)
class TiktokenRanks:
    """A tiktoken file: tokens by rank, which is also their id."""

    name: str
    data: bytes
    ranks: Mapping[bytes, int]

    @property
    def size(self) -> int:
        return len(self.ranks)


@dataclass(frozen=True)
class BpeFiles:
    """Byte-level BPE as GPT-2 published it: spelled tokens with ids, and merges in order."""

    names: tuple[str, str]
    vocab: Mapping[str, int]
    merges: tuple[tuple[str, str], ...]

    @property
    def size(self) -> int:
        return len(self.vocab)


@dataclass(frozen=True)
class TokenizerJson:
    """A `tokenizer.json` that is already there."""

    name: str
    data: bytes
    value: Mapping[str, Any]

    @property
    def size(self) -> int:
        return len(spelled_ids(self.value))


Source = SentencePieceModel | TiktokenRanks | BpeFiles | TokenizerJson


def read(files: Mapping[str, bytes]) -> Source:
    """The vocabulary among a checkpoint's tokenizer files: a `tokenizer.json` first, as AutoTokenizer does."""
    if "tokenizer.json" in files:
        return read_tokenizer_json("tokenizer.json", files["tokenizer.json"])
    for name in (*SENTENCEPIECE_NAMES, *sorted(name for name in files if name.endswith(".tiktoken"))):
        if name in files:
            return _read_model(name, files[name])
    for names in BPE_NAMES:
        if all(name in files for name in names):
            return read_bpe(names, files[names[0]], files[names[1]])
    raise ConversionError(
        f"no tokenizer vocabulary among the files {listed(sorted(show(name) for name in files)) or '(none)'}: expected "
        "tokenizer.model, *.tiktoken, vocab.json with merges.txt, or tokenizer.json; copy it from the model's "
        "repository"
    )


def _read_model(name: str, data: bytes) -> SentencePieceModel | TiktokenRanks:
    refuse_pointer(name, data)
    return read_tiktoken(name, data) if looks_like_tiktoken(data) else read_sentencepiece(name, data)


def looks_like_tiktoken(data: bytes) -> bool:
    """Whether the first line is base64, a space and a number, with any line end."""
    token, _, rank = data[:1024].split(b"\n", 1)[0].rstrip(b"\r").partition(b" ")
    return bool(token) and rank.isdigit() and all(byte in _BASE64 for byte in token)


_BASE64 = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")


def refuse_pointer(name: str, data: bytes) -> None:
    """Raises where Git LFS left its note (about 130 bytes) in place of the file, or the file is empty or enormous."""
    if data.startswith(b"version https://git-lfs.github.com/spec/"):
        facts = dict(line.partition(b" ")[::2] for line in data.splitlines())
        raise ConversionError(
            f"{show(name)} is a Git LFS pointer of {len(data)} bytes, not the vocabulary: the real file has "
            f"{show(facts.get(b'size', b'unknown').decode('utf-8', 'replace'))} bytes and "
            f"{show(facts.get(b'oid', b'').decode('utf-8', 'replace'))}; "
            "run `git lfs pull` in the checkpoint's clone, or download the file itself"
        )
    if not data:
        raise ConversionError(f"{show(name)} is empty: the download was cut off; download the file again")
    if len(data) > LARGEST:
        raise LimitExceeded(
            f"{show(name)} has {len(data)} bytes, more than the {LARGEST} bytes that a tokenizer file may have: the "
            "largest known "
            "vocabulary takes 33 MB, so this is probably another file under that name; check where it came from"
        )


def read_sentencepiece(name: str, data: bytes) -> SentencePieceModel:
    """A SentencePiece model out of its serialised form."""
    refuse_pointer(name, data)
    try:
        model = parsed(data)
    except decode_error() as error:
        raise ConversionError(
            f"{show(name)} is not a SentencePiece model ({show(str(error))}): the file is cut off, or was changed as "
            "text, "
            "e.g. by Git rewriting line ends; download it again and compare its sha256 with the repository's"
        ) from error
    if not model.pieces:
        raise ConversionError(f"{show(name)} has no pieces, so it is not a SentencePiece model; download it again")
    pieces = tuple(
        Piece(piece.piece, piece.score, _kind(name, place, piece.type)) for place, piece in enumerate(model.pieces)
    )
    _refuse_malformed(name, pieces, model.trainer_spec.byte_fallback)
    _refuse_twins(name, (piece.text for piece in pieces))
    trainer, normaliser = model.trainer_spec, model.normalizer_spec
    algorithm = _MODELS.get(trainer.model_type, "unknown")
    return SentencePieceModel(
        name, data, pieces, algorithm, _normaliser(normaliser), normaliser.precompiled_charsmap,
        normaliser.add_dummy_prefix, normaliser.remove_extra_whitespaces, trainer.treat_whitespace_as_suffix,
        any(piece.kind == "byte" for piece in pieces),
        next((place for place, piece in enumerate(pieces) if piece.kind == "unknown"), -1),
        trainer.bos_id, trainer.eos_id, trainer.pad_id,
    )  # fmt: skip


def _refuse_malformed(name: str, pieces: tuple[Piece, ...], byte_fallback: bool) -> None:
    """Raises where sentencepiece would not load the model, or loads it with scores that have no order."""
    unknown = sum(piece.kind == "unknown" for piece in pieces)
    wrong = [
        *(f"{unknown} pieces are of the kind unknown, not 1" for _ in range(unknown != 1)),
        *(fault for place, piece in enumerate(pieces) if (fault := _fault(place, piece, byte_fallback))),
    ]
    if wrong:
        raise ConversionError(
            f"{show(name)} is no SentencePiece model that can be used: {listed(wrong, 3)}; it is damaged or was edited by hand, "
            "download it again and compare its sha256 with the repository's"
        )


def _fault(place: int, piece: Piece, byte_fallback: bool) -> str | None:
    text: object = piece.text
    if not isinstance(text, str):  # protobuf leaves what is no UTF-8 as bytes
        return f"piece {place}, {show(text, 40)}, is not UTF-8"
    if not piece.text:
        return f"piece {place} is empty"
    if not math.isfinite(piece.score):
        return f"piece {place}, {show(piece.text, 40)}, has the score {piece.score}"
    if piece.kind == "byte" and not byte_fallback:
        return f"piece {place}, {show(piece.text, 40)}, is of the kind byte, but byte_fallback is off"
    return None


def _normaliser(spec: Any) -> str:
    return spec.name or ("custom" if spec.precompiled_charsmap else "identity")


def _kind(name: str, place: int, number: int) -> Kind:
    if 1 <= number <= len(_KINDS):
        return _KINDS[number - 1]
    raise ConversionError(
        f"{show(name)}: piece {place} has type {number}, which SentencePiece does not define; the file is damaged"
    )


def _refuse_twins(name: str, texts: Iterable[str]) -> None:
    """Raises where one spelling has two ids: only one of the two rows could ever be reached."""
    twins = [text for text, count in Counter(texts).items() if count > 1]
    if twins:
        raise ConversionError(
            f"{show(name)}: {len(twins)} pieces occur twice ({listed(show(text) for text in twins)}), so that one "
            "spelling has two ids "
            "and no tokenizer.json can hold both; the vocabulary was merged without looking for duplicates: merge it "
            "again"
        )


def read_tiktoken(name: str, data: bytes) -> TiktokenRanks:
    """Ranks out of lines of base64, space, rank."""
    refuse_pointer(name, data)
    if b"\r" in data:
        raise ConversionError(
            f"{show(name)} has Windows line ends (CRLF), which a tiktoken file never has: Git or an editor rewrote "
            "it, and it no longer is "
            "the published file; download it again, or remove the carriage returns and compare the sha256 with the "
            "repository's"
        )
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(data.splitlines(), 1):
        encoded, _, rank = line.partition(b" ")
        try:
            token, place = base64.b64decode(encoded, validate=True), int(rank)
        except (binascii.Error, ValueError):
            raise ConversionError(
                f"{show(name)}, line {number}: {show(line.decode('utf-8', 'replace'), 60)} is not base64, space, "
                "rank; the file is damaged, download it again"
            ) from None
        if token in ranks:
            raise ConversionError(
                f"{show(name)}, line {number}: the token {show(token)} has rank {ranks[token]} already; the file is "
                "damaged"
            )
        ranks[token] = place
    _refuse_shared_ids(name, ((str(token), rank) for token, rank in ranks.items()))
    missing = [byte for byte in range(256) if bytes([byte]) not in ranks]
    if missing:
        raise ConversionError(
            f"{show(name)} lacks {len(missing)} of the 256 single bytes "
            f"({listed(f'0x{byte:02x}' for byte in missing)}), so that some text would have "
            "no tokens at all; the file is cut off or belongs to something else, download it again"
        )
    return TiktokenRanks(name, data, ranks)


def read_bpe(names: tuple[str, str], vocab: bytes, merges: bytes) -> BpeFiles:
    """Ids out of JSON, merges out of lines."""
    ids = read_json(names[0], vocab)
    if not isinstance(ids, dict) or not ids or not all(_is_id(value) for value in ids.values()):
        raise ConversionError(f"{show(names[0])} is not a table of tokens and ids; it is another file under that name")
    _refuse_shared_ids(names[0], ids.items())
    refuse_pointer(names[1], merges)
    try:
        lines = merges.decode("utf-8").replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError as error:
        raise ConversionError(f"{show(names[1])} is not UTF-8 text ({show(str(error))}); download it again") from error
    pairs = []
    for number, line in enumerate(lines, 1):
        if not line or (number == 1 and line.startswith("#version")):
            continue
        left, _, right = line.partition(" ")
        if not all(part in ids for part in (left, right, left + right)):
            raise ConversionError(
                f"{show(names[1])}, line {number}: the merge {show(line, 60)} names tokens that {show(names[0])} "
                "lacks; "
                "the two files are not of one tokenizer, download both again"
            )
        pairs.append((left, right))
    return BpeFiles(names, ids, tuple(pairs))


def read_tokenizer_json(name: str, data: bytes) -> TokenizerJson:
    """A tokenizer.json, with the checks that loading it would not make."""
    value = read_json(name, data)
    if not isinstance(value, dict) or not isinstance(value.get("model"), dict):
        raise ConversionError(
            f"{show(name)} has no `model`, so it is not a file of the tokenizers library; download it again"
        )
    spelled_ids(value, name)
    _refuse_misshapen_steps(name, value)
    return TokenizerJson(name, data, value)


#: the steps of a tokenizer.json, each null or an object, with the key of a Sequence's own steps
_STEPS = {
    "normalizer": "normalizers",
    "pre_tokenizer": "pretokenizers",
    "post_processor": "processors",
    "decoder": "decoders",
}


def _refuse_misshapen_steps(name: str, value: Mapping[str, Any]) -> None:
    """Raises where the steps around the model have another shape: whoever looks into them takes it for granted."""
    for key, within in _STEPS.items():
        step = value.get(key)
        inner = step.get(within, []) if isinstance(step, dict) else []
        if not (step is None or isinstance(step, dict)) or not _is_steps(inner):
            raise ConversionError(
                f"{show(name)}: {key} is {show(step)}, which is neither null nor an object with the type of a step "
                "(or a list of such objects in a Sequence); the file is damaged, download it again"
            )


def _is_steps(inner: object) -> bool:
    return isinstance(inner, list) and all(isinstance(one, dict) for one in inner)


def spelled_ids(value: Mapping[str, Any], name: str = "tokenizer.json") -> dict[str, int]:
    """Every token of a tokenizer.json, added ones included, with its id; raises where two tokens have one id."""
    ids = _vocabulary(value["model"].get("vocab", {}), name)
    added = value.get("added_tokens") or []
    if not isinstance(added, list) or not all(map(_is_added, added)):
        raise ConversionError(
            f"{show(name)}: added_tokens is not a list of tokens with `content` and `id`; download the file again"
        )
    for token in added:
        before = ids.setdefault(token["content"], token["id"])
        if before != token["id"]:
            raise ConversionError(
                f"{show(name)}: the token {show(token['content'])} has the ids {before} and {token['id']}: its row "
                "in the embedding is "
                "ambiguous; repair the file, or take it from the model's repository"
            )
    _refuse_shared_ids(name, ids.items())
    if not ids:
        raise ConversionError(f"{show(name)} has no tokens at all; the file is damaged, download it again")
    return ids


def _vocabulary(vocab: object, name: str) -> dict[str, int]:
    """The model's own tokens: a table of ids, or Unigram's list of [piece, score]."""
    if isinstance(vocab, dict):
        return dict(vocab)
    if isinstance(vocab, list) and all(isinstance(p, list) and len(p) == 2 and isinstance(p[0], str) for p in vocab):
        return {piece[0]: place for place, piece in enumerate(vocab)}
    raise ConversionError(
        f"{show(name)}: the model's vocab is neither a table of tokens and ids nor a list of pieces and scores; download the "
        "file again"
    )


def _is_added(token: object) -> bool:
    return isinstance(token, dict) and isinstance(token.get("content"), str) and "id" in token


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MOST_IDS


def _refuse_shared_ids(name: str, ids: Iterable[tuple[str, int]]) -> None:
    owner: dict[int, str] = {}
    shared = []
    for token, place in ids:
        if not _is_id(place):
            raise ConversionError(
                f"{show(name)}: the token {show(token)} has the id {show(place)}, which is not a row number (no "
                f"embedding has {MOST_IDS:,} rows); the file is damaged"
            )
        if place in owner:
            shared.append(f"{place} is {show(owner[place], 40)} and {show(token, 40)}")
        owner[place] = token
    if shared:
        raise ConversionError(
            f"{show(name)}: {len(shared)} ids belong to two tokens each ({listed(shared, 3)}): one embedding row "
            "cannot mean two things; "
            "repair the file, or take it from the model's repository"
        )


def read_json(name: str, data: bytes) -> Any:
    """JSON in which no object says a key twice."""
    refuse_pointer(name, data)
    refuse_many_values(name, data)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) != len(pairs):
            _refuse_twins(name, (key for key, _ in pairs))
        return value

    try:
        return json.loads(data, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise ConversionError(
            f"{show(name)} is not JSON ({show(str(error))}); the download was cut off or changed, download it again"
        ) from error
