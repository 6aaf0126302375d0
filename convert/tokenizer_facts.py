"""What a checkpoint's tokenizer is, in numbers, found by a child process: the libraries that read it are large."""

from __future__ import annotations

import json
import sys
from typing import Any

import convert.children as children
from convert.checkpoint import Checkpoint
from convert.documents import carried, is_licence
from convert.tokenizing import handed, has_tokenizer, received
from surgery.errors import ConversionError

_SECONDS = 900.0  # what a file may cause is bounded there; this is for our own work

def tokenizer_facts(checkpoint: Checkpoint, family: str) -> dict[str, Any] | None:
    """Facts as JSON values, or ``{"problem": ...}``; None, and at once, where there is no tokenizer."""
    names = [name for name in carried(checkpoint) if not is_licence(name)]
    if not has_tokenizer(names):
        return None
    task = {"files": {name: handed(checkpoint.documents[name]) for name in names}, "family": family}
    try:
        done = children.run("convert.tokenizer_facts:child", task, seconds=_SECONDS)
        found: dict[str, Any] = json.loads(done.answer("reads the tokenizer"))
    except children.TooLong:
        return {"problem": f"the tokenizer could not be read within {_SECONDS:.0f} seconds"}
    except (children.Crashed, ConversionError) as error:
        return {"problem": f"the tokenizer could not be read: {error}"}
    return found


def tokenizer_lines(found: dict[str, Any], rows: int | None) -> list[str]:
    """The same for a person; ``rows`` is how many ids the embedding has."""
    if "problem" in found:
        return [found["problem"]]
    named = ", ".join(f"{name} {found[name]}" for name in ("bos", "eos", "unk", "pad") if found[name] is not None)
    front = f"puts {found['prefix']} in front" if found["prefix"] else "puts nothing in front"
    chat = "with a chat template" if found["chat_template"] else "no chat template"
    lines = [
        f"{found['kind']}, {found['size']} tokens, ids up to {found['max_id']}; {named or 'no named tokens'}; {front}; {chat}",
        "characters per token: "
        + ", ".join(f"{name} {value:.2f}" for name, value in found["characters_per_token"].items()),
    ]
    if rows is not None and found["max_id"] >= rows:
        lines.append(f"ids reach beyond the embedding, which has {rows} rows: text with those would crash the model")
    elif rows is not None and found["max_id"] + 1 < rows:
        lines.append(f"{rows - found['max_id'] - 1} rows of the embedding have no token (padding)")
    return lines


def child() -> None:
    """The child: a task as JSON on stdin, facts as JSON on stdout."""
    from dataclasses import fields

    from mappings.chat import template_for
    from mappings.tokenizers import recipe_for
    from surgery.tokenizer.export import export

    task: dict[str, Any] = json.load(sys.stdin)
    try:
        files = {name: received(told) for name, told in task["files"].items()}
        recipe = recipe_for(task["family"], files)
        made = export(recipe, files, chat_template=template_for(recipe, files))
    except ConversionError as error:
        json.dump({"problem": str(error)}, sys.stdout)
        return
    told = {field.name: getattr(made.facts, field.name) for field in fields(made.facts)}
    json.dump({**told, "recipe": made.recipe}, sys.stdout, default=dict)
