"""How many strings of a vendor's own get the right ids from the tokenizers that we write, and how many prompts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mappings.chat import template
from mappings.tokenizers import recipe_for
from surgery.tokenizer.export import TokenizerFiles, export
from tests.tokenizer.figures import Figures
from tests.tokenizer.vendors import auto_tokenizer, plain_ids, rows, vendor_files


@dataclass(frozen=True)
class Measured:
    """Equal ids; `wrong` has the strings that differ, by file."""

    written: TokenizerFiles
    golden: int
    special: int
    fuzz: int | None
    chats: tuple[int, int]
    extras: int
    wrong: dict[str, list[Any]]


def written(figures: Figures) -> TokenizerFiles:
    """The files of a folder's vocabulary, with the family's template."""
    files = vendor_files(figures.folder)
    return export(
        recipe_for(figures.family, files), files, chat_template=None if figures.chat is None else template(figures.chat)
    )


def measure(figures: Figures, directory: Path, fuzz: int | None = None) -> Measured:
    """Ids against the vendor's; `fuzz` limits how many of the 1500 strings are asked (None is all)."""
    files = written(figures)
    tokenizer = auto_tokenizer(files, directory)
    wrong: dict[str, list[Any]] = {}

    def equal(name: str, key: str, special: bool, most: int | None = None) -> int:
        lines = rows(figures.folder, name)[:most]
        got = plain_ids(tokenizer, [line["text"] for line in lines], special)
        wrong[f"{name} {key}"] = [
            (line["text"], line[key], ids) for line, ids in zip(lines, got, strict=True) if line[key] != ids
        ]
        return len(lines) - len(wrong[f"{name} {key}"])

    def prompts(name: str) -> tuple[int, int]:
        same = refused = 0
        for line in rows(figures.folder, name) if figures.chat else ():
            try:
                ids = list(
                    tokenizer.apply_chat_template(
                        line["messages"], add_generation_prompt=True, tokenize=True, return_dict=False
                    )
                )
            except Exception as error:  # jinja2's own, from inside transformers
                ids = None if type(error).__name__ == "TemplateError" else [str(error)]
            same += ids is not None and ids == line["ids"]
            refused += ids is None and line["ids"] is None
            if ids != line["ids"]:
                wrong.setdefault(name, []).append((line["messages"], line["ids"], ids))
        return same, refused

    return Measured(
        files, equal("golden", "ids_plain", False), equal("golden", "ids_special", True),
        equal("fuzz", "ids_plain", False, fuzz),
        prompts("chat"), prompts("chat_extra")[0], wrong,
    )  # fmt: skip
