"""Strict, bounded JSON: what every parser reads the same way, and nothing else."""

from __future__ import annotations

import json
import math
import os
import re
from contextlib import suppress
from itertools import accumulate, islice
from typing import Any, NoReturn

from convert.checkpoint.files import Folder, opened
from convert.checkpoint.names import printed
from convert.checkpoint.stored import SourceFile
from surgery.errors import ConversionError, show

MIB = 1 << 20
CONFIG_LIMIT = 16 * MIB
INDEX_LIMIT = 64 * MIB
TOKENIZER_LIMIT = 256 * MIB
DEEPEST = 64
_MOST_DIGITS = 40  # tokenizer_config.json often holds model_max_length = int(1e30), of 31 digits

_ESCAPE = re.compile(r"\\.", re.DOTALL)
_NOT_A_BRACKET = re.compile(r"[^][{}]+")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_STEP = {"[": 1, "{": 1, "]": -1, "}": -1}


class NotStrict(ValueError):
    """The text is not the JSON that we accept; the message says why."""


def parse_json(data: bytes) -> Any:
    """The value, or NotStrict: UTF-8 without BOM, no duplicate key, no NaN or overflow, nesting and digits bounded."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotStrict(f"it is not UTF-8 (byte {error.start})") from None
    if text.startswith("\ufeff"):
        raise NotStrict("it begins with a byte order mark")
    if _depth(text) > DEEPEST:
        raise NotStrict(f"it nests deeper than {DEEPEST} levels")
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_constant,
        )
    except json.JSONDecodeError as error:
        raise NotStrict(f"it is not JSON ({error.msg} at character {error.pos})") from None
    except _TooLong as error:
        (digits,) = error.args
        key = re.search(rf'"([^"\\]{{1,80}})"\s*:\s*{digits[:_MOST_DIGITS]}', text)
        raise NotStrict(f"{show(key[1]) if key else 'a value'} is an integer of {len(digits)} digits") from None
    if _SURROGATE.search(text):  # rare, so the cost of a second copy is paid only here
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            raise NotStrict("a string holds half of a surrogate pair") from None
    return value


class _TooLong(Exception):
    """An integer of too many digits, which are the argument."""


def _depth(text: str) -> int:
    """How deep brackets nest outside strings. Counted before parsing, because the parser recurses."""
    outside = "".join(_ESCAPE.sub("", text).split('"')[::2])
    return max(accumulate(map(_STEP.__getitem__, _NOT_A_BRACKET.sub("", outside))), default=0)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise NotStrict(f"duplicate key {show(twice)}")
    return value


def _integer(text: str) -> int | float:
    if len(text) > _MOST_DIGITS:
        raise _TooLong(text)
    return -0.0 if text == "-0" else int(text)


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise NotStrict(f"the number {show(text)} is too large")
    return value


def _constant(text: str) -> NoReturn:
    raise NotStrict(f"{text} is not JSON")


def read_bytes(file: SourceFile, limit: int = TOKENIZER_LIMIT) -> bytes:
    """The whole of a small file, or a refusal before reading when it is larger than ``limit``."""
    if file.size > limit:
        raise ConversionError(
            f"{printed(file.name)} has {file.size:,} bytes; files of this kind are refused above {limit:,}. "
            f"It is damaged or hostile; download it again."
        )
    with opened(file) as content:
        return content.read(0, file.size)


def read_json(file: SourceFile, limit: int = CONFIG_LIMIT) -> dict[str, Any]:
    """The JSON object in a file, held to the rules of `parse_json`."""
    try:
        value = parse_json(read_bytes(file, limit))
    except NotStrict as error:
        raise ConversionError(
            f"{printed(file.name)} cannot be used: {error}. Parsers disagree about such files or fail on them; "
            f"correct it or download it again."
        ) from None
    if type(value) is not dict:
        raise ConversionError(f"{printed(file.name)} holds a JSON {_kind(value)} where an object is needed.")
    return value


def _kind(value: object) -> str:
    names = {list: "list", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


# Everything worth carrying besides weights and config. An allow list: code, scripts and hidden files never match.
_CARRIED = re.compile(
    r"generation_config\.json"
    r"|tokenizer(_config)?\.json|special_tokens_map\.json|added_tokens\.json|tekken\.json"
    r"|vocab\.(json|txt|bpe)|encoder\.json|merges\.txt|[\w.\-]+\.(model|tiktoken|vocab)"
    r"|chat_template[\w.\-]*\.(jinja|json)"
    r"|(pre)?processor_config\.json|video_preprocessor_config\.json|(?i:readme\.(md|txt))",
    re.ASCII,
)
#: words in the names of licences, terms and notices, in the languages in which vendors publish
_LEGAL_WORD = (
    r"licen[cçs]|lizenz|notice|(?<![a-z])terms(?![a-z])|polic(?:y|ies)|agreement|copying|copyright|(?<![a-z])legal|disclaimer|patents?"
    r"|(?<![a-z])authors(?![a-z])|attribution|(?<![a-z])eula(?![a-z])"
    r"|(?<![a-z])tos(?![a-z])|acceptable.?use|responsible.?use"
    r"|许可|許可|协议|協議|条款|條款|声明|聲明|政策|授权|授權|版权|版權|规范|規範|著作権|ライセンス|規約|라이선스|약관|저작권|лиценз"
)
_LEGAL = re.compile(_LEGAL_WORD, re.IGNORECASE)
_NEVER_CARRIED = (".py", ".pyc", ".so", ".sh", ".bin", ".pt", ".pth", ".pkl", ".safetensors", ".incomplete", ".part")
_BELOW = 1000  # names of a folder that are looked at
_NO_TEXT = (".index.json", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".gguf", ".onnx", ".h5", ".zip", ".gz", ".tar",
            ".js", ".cpp", ".cu", ".c", ".h", ".ipynb")  # fmt: skip


def is_document(name: str) -> bool:
    """Whether a file of this name is carried along, if it is in the directory."""
    forbidden = name.startswith(".") or name.lower().endswith(_NEVER_CARRIED) or not name.isprintable()
    return not forbidden and (_CARRIED.fullmatch(name) is not None or is_legal(name))


def is_legal(name: str) -> bool:
    """Whether a file of this name is a licence, terms or a notice, as vendors call them.

    >>> [is_legal(name) for name in ("MODEL_LICENSE", "baichuan-7B 模型许可协议.pdf", "TERMS_OF_USE.md", "license.py")]
    [True, True, True, False]
    """
    other = name.lower().endswith((*_NEVER_CARRIED, *_NO_TEXT)) or _CARRIED.fullmatch(name) is not None
    return not other and _LEGAL.search(name) is not None


def legal_below(folder: Folder) -> list[str]:
    """Licences and notices one folder further down, such as LICENSES/MIT.txt: these are not carried, and must be known of."""
    found = []
    for name in sorted(folder.names):
        place = folder.path / name
        if name.startswith(".") or place.is_symlink() or not place.is_dir():
            continue
        with suppress(OSError), os.scandir(place) as entries:
            found += [f"{name}/{entry.name}" for entry in islice(entries, _BELOW) if is_legal(name) or is_legal(entry.name)]
    return sorted(found)


def find_documents(folder: Folder) -> dict[str, SourceFile]:
    """The tokenizer, generation config, licence, notices and README of a checkpoint, by name. Nothing is read."""
    found = {}
    for name in sorted(filter(is_document, folder.names)):
        if is_legal(name) and (folder.path / name).is_dir():  # as REUSE has it: `legal_below` says what is in it
            continue
        file = folder.find(name)
        if file.size > TOKENIZER_LIMIT:
            raise ConversionError(
                f"{printed(name)} has {file.size:,} bytes; documents are refused above {TOKENIZER_LIMIT:,}. "
                f"Move it out of the checkpoint if the model does not need it."
            )
        found[name] = file
    return found
