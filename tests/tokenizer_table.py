"""`python -m tests.tokenizer_table`: how many strings get the right ids from the tokenizers that we write.

First for the vocabularies that the tests train, where the engine of each says what is right; then, where ../shared lies
beside the repository, for the vendors' own, where their own code said it.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mappings.chat import template
from mappings.tokenizers import recipe_for
from surgery.tokenizer.export import TokenizerFiles, export
from tests.shared import SHARED
from tests.tokenizer.figures import FIGURES, Figures
from tests.tokenizer.trained import compare
from tests.tokenizer.vendors import auto_tokenizer, plain_ids, rows, vendor_files
from tests.trained.kinds import KINDS


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


def main() -> int:
    short = _trained()
    if SHARED.is_dir():
        print()
        short += _vendors()
    return 1 if short else 0


def _trained() -> int:
    """Prints a line for each trained vocabulary; how many of them fall short."""
    print(f"{'trained':16} {'recipe':22} {'class':24} {'asked':>9} {'special':>9} {'chat':>5}  self-check")
    short = 0
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as directory:
            found = compare(kind, Path(directory))
        short += not found.complete
        print(
            f"{kind.name:16} {found.written.recipe:22} {found.written.tokenizer_class:24} "
            f"{f'{found.asked - len(found.wrong)}/{found.asked}':>9} "
            f"{f'{found.asked - len(found.wrong_framed)}/{found.asked}':>9} "
            f"{'-' if kind.chat is None else 'yes' if found.prompted else 'NO':>5}  {found.written.check}"
            + ("" if found.complete else "  WRONG IDS"),
            flush=True,
        )
    return short


def _vendors() -> int:
    """Prints a line for each vendor's vocabulary; how many of them fall short of their figures."""
    print(
        f"{'vocabulary':15} {'class':22} {'golden':>9} {'special':>9} {'fuzz':>10} {'chat':>6} {'extra':>6}  self-check"
    )
    short = 0
    for figures in FIGURES:
        with tempfile.TemporaryDirectory() as directory:
            found = measure(figures, Path(directory))
        chat, extra = (len(rows(figures.folder, name)) if figures.chat else 0 for name in ("chat", "chat_extra"))
        fewer = (
            found.golden < figures.golden
            or (found.fuzz or 0) < figures.fuzz
            or found.chats < figures.chats
            or found.extras < figures.extras
        )
        short += fewer
        print(
            f"{figures.folder:15} {found.written.tokenizer_class:22} {found.golden:>5}/135 {found.special:>5}/135 "
            f"{found.fuzz:>5}/1500 "
            f"{f'{sum(found.chats)}/{chat}' if chat else '-':>6} {f'{found.extras}/{extra}' if extra else '-':>6}  "
            f"{found.written.check}" + ("  BELOW THE FIGURE" if fewer else ""),
            flush=True,
        )
    return short


if __name__ == "__main__":
    sys.exit(main())
