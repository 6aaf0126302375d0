"""Recipes: a checkpoint, edits in order, a family to write; all of it in one pass over the source.

    source = "Baichuan-7B"
    target = "llama"
    output = "Baichuan-7B-chat-llama"

    [[edit]]
    do = "merge-lora"
    adapter = "my-adapter"

    [[edit]]
    do = "cast"
    dtype = "bfloat16"

Paths are relative to the recipe. ``STEPS`` is the table of edits; a test compares it with their signatures.
"""

from __future__ import annotations

import difflib
import importlib
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convert.given import content, place
from convert.planning import SHARD_SIZE, Plan
from convert.quantity import nbytes
from surgery.errors import UsageError, show
from surgery.model import Artefact

#: in a line: the reader keeps every beginning of a dotted key, so that a key of 60,000 parts takes 14 GB
_MOST_DOTS = 64
_LARGEST = 1 << 20  # bytes of a recipe


@dataclass(frozen=True)
class Setting:
    """A key of a recipe: the type of its value, and how the function calls it where that is not its own name."""

    kind: type
    required: bool = False
    choices: tuple[str, ...] = ()
    argument: str = ""


@dataclass(frozen=True)
class Step:
    """An edit that a recipe may name: where its function is (``module:attribute``, Artefact -> Artefact), its settings."""

    function: str
    settings: Mapping[str, Setting] = field(default_factory=dict)


STEPS: dict[str, Step] = {
    "untie": Step("surgery.edits.tie:untie"),
    "tie": Step("convert.edits.sameness:tied_by_bits"),
    "cast": Step(
        "surgery.edits.dtype:cast",
        {
            "dtype": Setting(str, required=True, choices=("float32", "float16", "bfloat16", "float64")),
            "clamp": Setting(bool),
        },
    ),
    "repeat-kv": Step("surgery.edits.heads:repeat_kv", {"kv": Setting(int)}),
    "merge-lora": Step(
        "convert.edits.lora:merge_lora",
        {"adapter": Setting(Path, required=True), "weight": Setting(float), "subtract": Setting(bool)},
    ),
    "apply-delta": Step(
        "convert.edits.delta:apply_delta",
        {
            "delta": Setting(Path, required=True),
            "pad": Setting(str, choices=("zero", "mean")),
            "sum": Setting(float, argument="total"),
        },
    ),
}

_TOP = {
    "source": Setting(Path, required=True),
    "output": Setting(str),
    "target": Setting(str),
    "variant": Setting(str),
    "accept-key": Setting(list),
    "mend": Setting(list),
    "max-shard-size": Setting(str),
    "tokenizer": Setting(str, choices=("convert", "carry")),
    "edit": Setting(list),
}


@dataclass(frozen=True)
class Edit:
    """One step of a recipe, with the arguments of its function."""

    name: str
    arguments: Mapping[str, Any]

    def __call__(self, artefact: Artefact) -> Artefact:
        module, _, attribute = STEPS[self.name].function.partition(":")
        function: Callable[..., Artefact] = getattr(importlib.import_module(module), attribute)
        return function(artefact, **self.arguments)


@dataclass(frozen=True)
class Recipe:
    """What a recipe's file says, checked."""

    source: str
    output: str | None
    target: str | None
    edits: tuple[Edit, ...]
    variant: str | None = None
    accept: tuple[str, ...] = ()
    mends: tuple[str, ...] = ()
    max_shard_size: int = SHARD_SIZE
    tokenizer: str | None = None

    def plan(self) -> Plan:
        """The plan: the checkpoint opened, every edit applied in order, written as the target."""
        from convert.checkpoint import open_checkpoint
        from convert.prepare import open_artefact, plan_artefact

        artefact = open_artefact(open_checkpoint(self.source), variant=self.variant, accept=self.accept)
        for edit in self.edits:
            artefact = edit(artefact)
        same = self.target in (None, artefact.family)
        return plan_artefact(
            artefact,
            self.target,
            mends=self.mends,
            max_shard_size=self.max_shard_size,
            tokenizer=self.tokenizer or ("carry" if same else "convert"),  # type: ignore[arg-type]
        )


def read_recipe(path: str | Path) -> Recipe:
    """The recipe in a TOML file; ``UsageError`` names the line or the key that cannot be followed."""
    folder = Path(path).parent
    text = content(path, _LARGEST, "a recipe")
    if max((line.count(b".") for line in text.splitlines()), default=0) > _MOST_DOTS:
        raise UsageError(f"{show(str(path))} has a line with over {_MOST_DOTS} dots: no key or path of a recipe has as many.")
    try:
        told = tomllib.loads(text.decode())
    except ValueError as error:  # also a number of more digits than Python reads
        raise UsageError(f"{show(str(path))} is not TOML: {error}.") from None
    except RecursionError:
        raise UsageError(
            f"{show(str(path))} nests brackets deeper than can be read; a recipe has two levels. Write it anew."
        ) from None
    where = show(str(path))
    top = _read(told, _TOP, where, folder)
    edits = tuple(_edit(number, entry, where, folder) for number, entry in enumerate(top.get("edit", ()), 1))
    return Recipe(
        source=top["source"],
        output=str(folder / place(top["output"])) if "output" in top else None,
        target=top.get("target"),
        edits=edits,
        variant=top.get("variant"),
        accept=tuple(_texts(top, "accept-key", where)),
        mends=tuple(_texts(top, "mend", where)),
        max_shard_size=_size(top.get("max-shard-size"), where),
        tokenizer=top.get("tokenizer"),
    )


def recipe_text(recipe: Recipe, plan: Plan, out: str | None) -> str:
    """What a recipe does, in English."""
    prefixes = tuple(f"{one.prefix}/" for one in plan.checkpoint.additions)
    own = sum(not name.startswith(prefixes or ("//",)) for name in plan.checkpoint.tensors)
    added = len(plan.checkpoint.tensors) - own
    beside = f" and {added} of what is added to it" if added else ""
    lines = [f"Read {recipe.source}, a {plan.source} checkpoint ({own} tensors{beside})."]
    lines += [f"  {number}. {step[:1].upper()}{step[1:]}." for number, step in enumerate(plan.steps, 1)]
    lines += [f"Write it as {plan.target}{f' to {out}' if out else ''}, in one pass.", ""]
    return "\n".join(lines)


def _edit(number: int, entry: Any, where: str, folder: Path) -> Edit:
    at = f"{where}, edit {number}"
    if not isinstance(entry, dict) or not isinstance(entry.get("do"), str):
        raise UsageError(f'{at} does not say what to do. Write [[edit]] and do = "untie", or another of {_all(STEPS)}.')
    name = entry["do"]
    if name not in STEPS:
        raise UsageError(f"{at}: there is no edit {show(name)}{_meant(name, STEPS)}; known are {_all(STEPS)}.")
    step = STEPS[name]
    given = _read({k: v for k, v in entry.items() if k != "do"}, step.settings, f"{at} ({name})", folder)
    return Edit(name, {step.settings[key].argument or key.replace("-", "_"): value for key, value in given.items()})


def _read(told: Mapping[str, Any], settings: Mapping[str, Setting], where: str, folder: Path) -> dict[str, Any]:
    """The values of a table, each of its kind; paths as seen from ``folder``."""
    if unknown := [key for key in told if key not in settings]:
        known = f"known are {_all(settings)}" if settings else "it takes no settings"
        raise UsageError(f"{where}: there is no key {show(unknown[0])}{_meant(unknown[0], settings)}; {known}.")
    if missing := [key for key, setting in settings.items() if setting.required and key not in told]:
        raise UsageError(f"{where}: the key {missing[0]} is missing.")
    found = {}
    for key, value in told.items():
        setting = settings[key]
        kinds = {Path: (str,), float: (int, float)}.get(setting.kind, (setting.kind,))
        if type(value) not in kinds:
            wanted = {Path: "a path", str: "a text", bool: "true or false", int: "a whole number", float: "a number"}
            raise UsageError(f"{where}: {key} = {show(value)} is not {wanted.get(setting.kind, 'a list')}.")
        if setting.choices and value not in setting.choices:
            raise UsageError(f"{where}: {key} = {show(value)} is none of {', '.join(setting.choices)}.")
        found[key] = _path(value, folder) if setting.kind is Path else value
    return found


def _path(text: str, folder: Path) -> str:
    """A path as seen from the recipe; what is not there stays as it is, for it may be a repository on the Hub."""
    beside = folder / place(text)
    return str(beside) if os.path.exists(beside) or text.count("/") != 1 or text.startswith(".") else text


def _texts(top: Mapping[str, Any], key: str, where: str) -> list[str]:
    found: list[Any] = top.get(key, [])
    if not all(isinstance(item, str) for item in found):
        raise UsageError(f"{where}: {key} = {show(found)} is not a list of texts.")
    return found


def _size(text: str | None, where: str) -> int:
    if text is None:
        return SHARD_SIZE
    if (size := nbytes(text)) is None:
        raise UsageError(f"{where}: max-shard-size = {show(text)} is not a size; write 5GB, 500MB or 1GiB.")
    return size


def _meant(name: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def _all(known: Mapping[str, Any]) -> str:
    return ", ".join(known)
