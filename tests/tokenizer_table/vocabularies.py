"""The vocabularies that the table is about: those that the tests train, and the vendors' own where ../shared is."""

from __future__ import annotations

import json
import random
import re
import unicodedata
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from tests.shared import SHARED
from tests.tokenizer.figures import FIGURES, Figures
from tests.tokenizer.vendors import rows, vendor_files
from tests.trained import truth
from tests.trained.corpus import ASKED, lines
from tests.trained.kinds import KINDS, Kind

Ids = tuple[int, ...]

#: goldens by family, whose layout a checkpoint with this family's vocabulary has; a Llama where none is
LAYOUT: Final[Mapping[str, str]] = {
    "baichuan": "baichuan-7b", "baichuan2": "baichuan2-7b", "chatglm2": "chatglm2", "chatglm3": "chatglm3",
    "glm4": "glm4-9b-chat", "internlm": "internlm-7b", "internlm2": "internlm2-7b", "mistral": "mistral", "qwen": "qwen-7b",
    "qwen2": "qwen2", "yi": "yi-6b", "minicpm": "minicpm-2b", "gemma": "gemma1-2b",
}  # fmt: skip


@dataclass(frozen=True)
class Vocabulary:
    """One vocabulary. ``ids`` of a text are the source's own engine's; None where nobody outside told them."""

    name: str
    family: str
    files: Mapping[str, bytes]
    specials: tuple[str, ...]
    ids: Callable[[str], Ids | None]
    framed: Callable[[str], Ids | None]
    read_back: Callable[[Ids], str | None]  # what the engine makes of ids; None where it is not to be had
    texts: tuple[str, ...]
    rows: int

    def __str__(self) -> str:
        return self.name

    @property
    def layout(self) -> str:
        return LAYOUT.get(self.family, "llama-mha")


def trained(kind: Kind, fuzzed: int = 0) -> Vocabulary:
    """A vocabulary that the tests train, asked what they are asked, and ``fuzzed`` strings with specials inside."""
    names = tuple(kind.specials)
    inside = [text for name in names[:4] for text in (name, f"a{name}b", f" {name}\n你", f"x  {name}{name} 灯塔")]
    texts = (*ASKED[::2], *inside, *fuzz(kind.name, names, fuzzed))
    moved = [text for text in texts if kind.moved and any(map(unicodedata.combining, text))]
    highest = max([*kind.specials.values(), *kind.unspelled.values(), _largest(kind.files)])
    return Vocabulary(
        kind.name, kind.family, kind.files, names,
        lambda text: tuple(truth.ids(kind, text)),
        lambda text: (*kind.prefix, *truth.ids(kind, text)),
        _reader(kind.files),
        tuple(text for text in texts if text not in moved), highest + 1,
    )  # fmt: skip


def vendors(figures: Figures, fuzzed: int = 0, whole: bool = False) -> Vocabulary:
    """A vendor's own vocabulary, asked what its vendor's code was asked; texts with specials inside have no truth there.

    ``whole``: with the tokenizer.json that stands beside its model.
    """
    files = vendor_files(figures.folder, whole)
    golden = rows(figures.folder, "golden")
    told = {row["text"]: tuple(row["ids_plain"]) for row in (*golden, *rows(figures.folder, "fuzz")[: fuzzed or 150])}
    framed = {row["text"]: tuple(row["ids_special"]) for row in golden}
    names = tuple(name for name in _named(files) if name.strip())
    texts = (*told, *fuzz(figures.folder, names, fuzzed))
    highest = max(max((max(ids, default=0) for ids in (*told.values(), *framed.values())), default=0), _largest(files))
    # a vocabulary file does not say how many special tokens stand behind it: their vendors' matrices have rows to spare
    rows_ = highest + 1 if "tokenizer.json" in files else -(-(highest + 1) // 512) * 512
    name = f"vendor {figures.folder}{' whole' if whole else ''}"
    return Vocabulary(name, figures.family, files, names, told.get, framed.get, _reader(files), texts, rows_)


def every(fuzzed: int = 0) -> list[tuple[str, Callable[[], Vocabulary]]]:
    """Name and maker of each vocabulary that can be had here."""
    made: list[tuple[str, Callable[[], Vocabulary]]] = [(one.name, lambda one=one: trained(one, fuzzed)) for one in KINDS]  # type: ignore[misc]
    if SHARED.is_dir():
        made += [(f"vendor {one.folder}", lambda one=one: vendors(one, fuzzed)) for one in FIGURES]  # type: ignore[misc]
        made += [(f"vendor {one.folder} whole", lambda one=one: vendors(one, fuzzed, True)) for one in FIGURES if one.whole]  # type: ignore[misc]
    return made


def fuzz(name: str, specials: tuple[str, ...], count: int) -> list[str]:
    """Strings of many scripts with specials, line ends and signs inside; the same for the same name."""
    source = random.Random(f"table {name}")
    words = [word for line in lines(200) for word in re.split(r"(\s+)", line) if word]
    signs = ("\n", "\r\n", "\t", "\n\n", "  ", "🎉", "𠮷", "é", "한글", "ß", "。", " ", "0", "²")
    pool: tuple[tuple[str, ...], ...] = (tuple(words), signs, specials or signs)
    chances = (6, 2, 1)
    return [
        "".join(source.choice(source.choices(pool, chances)[0]) for _ in range(source.randint(1, 14))) for _ in range(count)
    ]


def _largest(files: Mapping[str, bytes]) -> int:
    """The largest id of a vocabulary's files, where they have a table."""
    if "tokenizer.json" in files:
        value = json.loads(files["tokenizer.json"])
        table = value["model"]["vocab"]
        count = max(table.values()) if isinstance(table, dict) else len(table) - 1
        return max([count, *(token["id"] for token in value.get("added_tokens") or ())])
    said = json.loads(files.get("tokenizer_config.json", b"{}")).get("added_tokens_decoder") or {}
    pieces = _pieces(files)
    return max([*map(int, said), pieces.get_piece_size() - 1 if pieces is not None else 0])


def _ranks(files: Mapping[str, bytes]) -> dict[int, bytes]:
    """The bytes of each id of a tiktoken file: a line has them in base64, and their rank; nothing where there is no such file."""
    found = [data for name, data in files.items() if name.endswith(".tiktoken") or name == "tokenizer.model"]
    pairs = [line.split() for data in found for line in data.splitlines() if line]
    return {int(rank): b64decode(spelled) for spelled, rank in pairs}


def _joined(parts: list[bytes]) -> str:
    return b"".join(parts).decode(errors="replace")


def _named(files: Mapping[str, bytes]) -> list[str]:
    """The special tokens that a folder names, and the control pieces of its model."""
    config = json.loads(files.get("tokenizer_config.json", b"{}"))
    decoder = config.get("added_tokens_decoder") or {}
    table = json.loads(files["tokenizer.json"]).get("added_tokens") or () if "tokenizer.json" in files else ()
    found = [token["content"] for token in (*decoder.values(), *table) if token.get("special", True)]
    named = (config, json.loads(files.get("special_tokens_map.json", b"{}")))
    parts = [each.get(f"{part}_token") for each in named for part in ("bos", "eos", "unk", "pad")]
    texts = [part.get("content") if isinstance(part, dict) else part for part in parts]
    pieces = _pieces(files)
    size = pieces.get_piece_size() if pieces is not None else 0
    controls = [pieces.id_to_piece(place) for place in range(size) if pieces.is_control(place) or pieces.is_unknown(place)]
    return list(dict.fromkeys([*(text for text in texts if isinstance(text, str)), *controls, *found]))


@cache
def _processor(model: bytes) -> Any:
    return truth.processor(model)


def _pieces(files: Mapping[str, bytes]) -> Any:
    """sentencepiece on tokenizer.model, where that is such a file."""
    data = files.get("tokenizer.model")
    if data is None:
        return None
    try:
        return _processor(data)
    except RuntimeError:  # a tiktoken file under that name
        return None


def _reader(files: Mapping[str, bytes]) -> Callable[[Ids], str | None]:
    """What the source's own engine decodes; where that is a tokenizer.json, the library whose format it is."""
    if "tokenizer.json" in files:
        from tokenizers import Tokenizer

        whole = Tokenizer.from_str(files["tokenizer.json"].decode())
        return lambda ids: str(whole.decode(list(ids), skip_special_tokens=False))
    pieces = _pieces(files)
    if tables := [data for name, data in files.items() if name in ("vocab.json", "encoder.json")]:
        from tokenizers.decoders import ByteLevel

        spelled = {place: token for token, place in json.loads(tables[0]).items()}
        bytes_of = ByteLevel()
        return lambda ids: str(bytes_of.decode([spelled[one] for one in ids])) if all(one in spelled for one in ids) else None
    if pieces is None:
        ranked = _ranks(files)
        return lambda ids: _joined([ranked[one] for one in ids]) if all(one in ranked for one in ids) else None
    size, unknown = pieces.get_piece_size(), pieces.unk_id()
    return lambda ids: str(pieces.decode(list(ids))) if all(one < size and one != unknown for one in ids) else None
