"""What runs in the process that builds two tokenizers: by the library's own choice of class, else from tokenizer.json."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convert.auto_tokenizer import AutoTokenizers, Built, NotBuilt
from convert.chat_check import CONVERSATIONS
from surgery.apart import Failed
from surgery.apart.confined import forbid_network, limit_memory
from surgery.errors import ConversionError
from surgery.tokenizer.facts import load
from surgery.tokenizer.probe import PROBE
from surgery.tokenizer.processor import processor
from surgery.tokenizer.sources import read_json

#: beside the probe, which has no capitals in a row and no text at both of whose ends a template may stand
_MORE = ("THE QUICK Brown Fox", "Hello World", " leading and trailing ", "")


def main() -> None:
    """A task as JSON on stdin, the answer as the last line of stdout."""
    task: dict[str, Any] = json.load(sys.stdin)
    forbid_network()
    limit_memory(task["memory"])
    print(json.dumps(_answer([Path(folder) for folder in task["folders"]])))


def _answer(folders: Sequence[Path]) -> dict[str, Any]:
    texts = [*PROBE, *_MORE]
    try:
        library = AutoTokenizers()
    except ImportError:
        why = "transformers is not installed"
    else:
        built = [library.of(folder) for folder in folders]
        both = [one for one in built if isinstance(one, Built)]
        if len(both) == len(built):
            ids = [[one.encode(text, framed=True) for text in texts] for one in both]
            return {
                "runner": library.name,
                "texts": texts,
                "ids": ids,
                "decoded": [[one.decode(each) for each in own] for one, own in zip(both, ids, strict=True)],
                "skipped": [one.skipped for one in both],
                "prompts": [_rendered(one) for one in both],
                "own": _own(folders[0], texts),
            }
        why = f"transformers cannot build both ({next(one.reason for one in built if isinstance(one, NotBuilt))})"
    if not all((folder / "tokenizer.json").is_file() for folder in folders):
        return {"because": f"{why}, and not both have a tokenizer.json"}
    try:
        values = [_value(folder) for folder in folders]
        plain = [load(value) for value in values]
    except ConversionError as error:
        return {"because": f"{why}; {str(error)[:200]}"}
    ids = [[one.encode(text).ids for text in texts] for one in plain]
    decoded = [[one.decode(each) for each in own] for one, own in zip(plain, ids, strict=True)]
    runner = f"the tokenizers library ({why})"
    added = [value.get("added_tokens") or () for value in values]
    skipped = [{str(one["id"]): one["content"] for one in side if one.get("special")} for side in added]
    told = {"texts": texts, "ids": ids, "decoded": decoded, "skipped": skipped}
    return {"runner": runner, **told, "prompts": None, "own": {}}


def _own(folder: Path, texts: Sequence[str]) -> dict[str, list[list[int]]]:
    """What the source's files say by themselves: a library's class may build something else of a tokenizer.json or a model."""
    found: dict[str, list[list[int]]] = {}
    if (folder / "tokenizer.json").is_file():
        plain = load(_value(folder))
        found["whole"] = [plain.encode(text).ids for text in texts]
    if (folder / "tokenizer.model").is_file():
        try:
            pieces = processor((folder / "tokenizer.model").read_bytes())
            found["bare"] = [pieces.encode(text) for text in texts]
        except (ImportError, ConversionError, Failed, OSError):  # not installed, or no SentencePiece model
            pass
    return found


def _value(folder: Path) -> dict[str, Any]:
    value: dict[str, Any] = read_json("tokenizer.json", (folder / "tokenizer.json").read_bytes())
    return value


def _rendered(built: Built) -> dict[str, Any] | None:
    """The prompt of every conversation, with and without the beginning of an answer, or that the template refuses it.

    None where there is no template.
    """
    prompts: dict[str, Any] = {}
    for name, messages in CONVERSATIONS.items():
        for more in (True, False):
            said = name if more else f"{name}, no answer begun"
            prompts[said] = built.prompt(messages, more)
            if prompts[said] is None:
                return None
    return prompts
