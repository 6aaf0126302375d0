"""The tokenizer's part of a conversion: files that load without remote code, made and checked in a child process.

The libraries that this needs are large, and the writer's memory is promised to be small; so the child reads the source's
tokenizer files, writes the new ones into the staging directory and reports what it found.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import convert.children as children
from convert.checkpoint import Checkpoint, SourceFile, read_bytes
from convert.refusal import kind_of
from surgery.errors import ConversionError, LimitExceeded

if TYPE_CHECKING:
    from convert.auto_tokenizer import AutoTokenizers
    from convert.planning import TokenizerPlan

How = Literal["convert", "canonical", "carry"]

#: what any kind of tokenizer is told by; a checkpoint with none of these has no tokenizer
_TELLING = ("tokenizer.json", "vocab.json", "encoder.json", "merges.txt", "vocab.bpe")
_ENDINGS = (".model", ".tiktoken")
_SECONDS = 900  # the largest vocabulary known takes a minute on a busy machine
_MEMORY = 6_000_000_000  # bytes beyond what the libraries map


@dataclass(frozen=True)
class TokenizerReport:
    """What was written for the tokenizer, and how it was checked."""

    recipe: str
    tokenizer_class: str
    size: int
    max_id: int
    check: str
    identical: bool
    ids: str  # how they were compared as the library builds both folders
    recorded: str  # the same for the manifest, which no library's version changes
    notices: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """What the manifest keeps."""
        return {
            "recipe": self.recipe,
            "class": self.tokenizer_class,
            "tokens": self.size,
            "check": self.check,
            "ids": self.recorded,
            "notices": list(self.notices),
        }


def has_tokenizer(names: Iterable[str]) -> bool:
    """Whether files of these names hold a vocabulary."""
    return any(name in _TELLING or name.endswith(_ENDINGS) for name in names)


def write_tokenizer(
    checkpoint: Checkpoint,
    wanted: TokenizerPlan,
    out: Path,
    *,
    config: bytes | None,
) -> TokenizerReport:
    """Convert the tokenizer of a checkpoint into ``out``, the folder of an output whose config.json is ``config``.

    ``ConversionError`` where the files are damaged, of no known kind, or name more ids than the embedding has rows, unless
    those are allowed; also where the library would build a tokenizer of other ids from them. ``LimitExceeded`` where that
    takes too long or too much memory.
    """
    task = {
        "files": {name: handed(checkpoint.documents[name]) for name in wanted.names},
        "family": wanted.family,
        "rows": wanted.rows,
        "how": wanted.how,
        "beyond": wanted.beyond,
        "target": wanted.target,
        "configs": [_text(checkpoint), config.decode() if config is not None else None],
        "out": str(out),
    }
    try:
        with children.offline() as env:
            done = children.run("convert.tokenizing:child", task, env=env, seconds=_SECONDS)
    except children.TooLong:
        raise LimitExceeded(
            f"converting the tokenizer took more than {_SECONDS} seconds, which no tokenizer needs: its files make work without "
            "end, or the machine has other work. --tokenizer carry copies them as they are, unchecked."
        ) from None
    try:
        found = json.loads(done.answer("converts the tokenizer"))
    except ConversionError as refused:
        raise kind_of(refused.status)(
            f"{str(refused).rstrip('.')}. The weights are not the reason: --tokenizer carry copies the tokenizer's "
            "files as they are, unchecked."
        ) from None
    return TokenizerReport(**{**found, "notices": tuple(found["notices"])})


def _text(checkpoint: Checkpoint) -> str | None:
    found = checkpoint.config_file
    return read_bytes(found).decode() if found is not None else None


def handed(file: SourceFile) -> dict[str, Any]:
    """A file as JSON values that another process can find it by, and know it by."""
    return {**asdict(file), "path": str(file.path)}


def received(told: Mapping[str, Any]) -> bytes:
    """The bytes of a file that was handed over; refused where another has taken its place."""
    return read_bytes(SourceFile(**{**told, "path": Path(told["path"])}))


def child() -> None:
    """The child: a task as JSON on stdin, a report as JSON on stdout."""
    from surgery.apart.confined import forbid_network, limit_memory

    task: dict[str, Any] = json.load(sys.stdin)
    forbid_network()
    library = installed()
    limit_memory(_MEMORY)
    report = convert_files(task, library)
    json.dump(report, sys.stdout)


def installed() -> AutoTokenizers | None:
    """The library that builds tokenizers for users, where it is installed."""
    from convert.auto_tokenizer import AutoTokenizers

    try:
        return AutoTokenizers()
    except ImportError:
        return None


def convert_files(task: Mapping[str, Any], library: AutoTokenizers | None) -> dict[str, Any]:
    """Carry out a task of ``write_tokenizer``, in this process: the report as JSON values."""
    from convert.tokenizer_forms import NO_LIBRARY, choose
    from mappings.chat import template_for
    from mappings.tokenizers import recipe_for
    from surgery.tokenizer.export import export

    files = {name: received(told) for name, told in task["files"].items()}
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
    ids = recorded = NO_LIBRARY
    if library is not None:
        source, target = (text.encode() if text is not None else None for text in task["configs"])
        chosen = choose(made, files, (source, target), task["target"], library)
        mismatches = notices[len(made.notices) :]
        made, ids, recorded = chosen.made, chosen.ids, chosen.recorded
        notices = [*made.notices, *mismatches]
    for name, content in made.items():
        (Path(task["out"]) / name).write_bytes(content)
    return {
        "recipe": made.recipe,
        "tokenizer_class": made.tokenizer_class,
        "size": made.facts.size,
        "max_id": made.facts.max_id,
        "check": str(made.check),
        "identical": made.check.identical,
        "ids": ids,
        "recorded": recorded,
        "notices": notices,
    }
