"""The vendors' vocabularies and golden ids from ../shared, and written tokenizers as AutoTokenizer loads them."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

from tests.shared import SHARED

TOKENIZERS = SHARED / "tokenizers"
REAL = SHARED / "real"
SMALL = REAL / "stories260K-baichuan" / "tokenizer.model"

# What the two carried files of Llama 2 say is another test's matter: here its recipe works from tokenizer.model.
_LEFT_OUT = {"llama2": ("tokenizer.json",)}


@cache
def vendor_files(folder: str, whole: bool = False) -> dict[str, bytes]:
    """A vendor's tokenizer files by name, on demand with those left out here; provenance.json is ours and stays out."""
    left_out = ("provenance.json", "chinese_sp.model", *(() if whole else _LEFT_OUT.get(folder, ())))
    return {
        path.name: path.read_bytes()
        for path in sorted((TOKENIZERS / folder / "vendor").iterdir())
        if path.name not in left_out
    }


def rows(folder: str, name: str) -> list[dict[str, Any]]:
    with open(TOKENIZERS / folder / f"{name}.jsonl", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def auto_tokenizer(files: Any, directory: Path) -> Any:
    """transformers' AutoTokenizer on these files beside a Llama's config.json, as a converted checkpoint has it."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from transformers import AutoTokenizer

    directory.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (directory / name).write_bytes(data)
    (directory / "config.json").write_text('{"model_type": "llama"}')
    return AutoTokenizer.from_pretrained(directory)


def plain_ids(tokenizer: Any, texts: list[str], special: bool = False) -> list[list[int]]:
    return [tokenizer(text, add_special_tokens=special)["input_ids"] for text in texts]
