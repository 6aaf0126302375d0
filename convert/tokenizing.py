"""The tokenizer's part of a conversion: files that load without remote code, made and checked in a child process.

The libraries that this needs are large, and the writer's memory is promised to be small; so the child reads the source's
tokenizer files, writes the new ones into the staging directory and reports what it found.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import convert.children as children
from convert.checkpoint import Checkpoint
from convert.refusal import kind_of
from surgery.errors import ConversionError

How = Literal["convert", "canonical", "carry"]

#: what any kind of tokenizer is told by; a checkpoint with none of these has no tokenizer
_TELLING = ("tokenizer.json", "vocab.json", "encoder.json", "merges.txt", "vocab.bpe")
_ENDINGS = (".model", ".tiktoken")


@dataclass(frozen=True)
class TokenizerReport:
    """What was written for the tokenizer, and how it was checked."""

    recipe: str
    tokenizer_class: str
    size: int
    max_id: int
    check: str
    identical: bool
    notices: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """What the manifest keeps."""
        return {
            "recipe": self.recipe,
            "class": self.tokenizer_class,
            "tokens": self.size,
            "check": self.check,
            "notices": list(self.notices),
        }


def has_tokenizer(names: Iterable[str]) -> bool:
    """Whether files of these names hold a vocabulary."""
    return any(name in _TELLING or name.endswith(_ENDINGS) for name in names)


def write_tokenizer(
    checkpoint: Checkpoint,
    names: Iterable[str],
    family: str,
    rows: int,
    out: Path,
    *,
    how: str = "convert",
    beyond: bool = False,
) -> TokenizerReport:
    """Convert the tokenizer files ``names`` of a checkpoint into ``out``; ``rows`` is how many ids the embedding has.

    ``how`` may be canonical, which makes equal scores of SentencePiece pieces differ. ``ConversionError`` where the files
    are damaged, of no known kind, or name more ids than the embedding has rows, unless ids ``beyond`` them are allowed.
    """
    task = {
        "files": {name: str(checkpoint.documents[name].path) for name in names},
        "family": family,
        "rows": rows,
        "out": str(out),
        "how": how,
        "beyond": beyond,
    }
    done = children.run("convert.tokenizing:child", task)
    try:
        found = json.loads(done.answer("converts the tokenizer"))
    except ConversionError as refused:
        raise kind_of(refused.status)(
            f"{str(refused).rstrip('.')}. The weights are not the reason: --tokenizer carry copies the tokenizer's "
            "files as they are, unchecked."
        ) from None
    return TokenizerReport(**{**found, "notices": tuple(found["notices"])})


def child() -> None:
    """The child: a task as JSON on stdin, a report as JSON on stdout."""
    task: dict[str, Any] = json.load(sys.stdin)
    json.dump(_convert(task), sys.stdout)


def _convert(task: Mapping[str, Any]) -> dict[str, Any]:
    from mappings.chat import template_for
    from mappings.tokenizers import recipe_for
    from surgery.tokenizer.export import export

    files = {name: Path(path).read_bytes() for name, path in task["files"].items()}
    recipe = recipe_for(task["family"], files)
    scores: Literal["canonical", "published"] = "canonical" if task["how"] == "canonical" else "published"
    made = export(recipe, files, chat_template=template_for(recipe, files), scores=scores)
    notices = list(made.notices)
    if made.facts.max_id >= task["rows"]:
        mismatch = (
            f"the tokenizer has ids up to {made.facts.max_id}, but the embeddings have {task['rows']} rows: a text with the "
            "others would crash the model"
        )
        if not task["beyond"]:
            raise ConversionError(
                f"{mismatch}. Use the tokenizer that belongs to these weights; --allow-vocab-mismatch writes it all the same."
            )
        notices.append(mismatch)
    for name, content in made.items():
        (Path(task["out"]) / name).write_bytes(content)
    return {
        "recipe": made.recipe,
        "tokenizer_class": made.tokenizer_class,
        "size": made.facts.size,
        "max_id": made.facts.max_id,
        "check": str(made.check),
        "identical": made.check.identical,
        "notices": notices,
    }
