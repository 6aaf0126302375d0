"""Which parameters of the commands name places: what is read, and what is written beside the result.

Every command is a ``Command`` of this module, which judges its side outputs before it begins.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from convert.planning import Plan
    from convert.side_outputs import SideOutput

#: parameters that name a file to be written, and whether the same command writes the same bytes again
WRITTEN: Mapping[str, bool] = {
    "lineage": True,
    "plan_out": True,
    "report": False,
    "sarif_file": False,
    "html_file": False,
}
#: parameters that name something to be read: paths, and repositories of the Hub
READ = (
    "src", "base", "changed", "first", "second", "directory", "adapters", "delta", "donor", "add", "saved", "recipe", "measure",
    "corpus",
)  # fmt: skip
#: parameters with a path behind a word and a colon
READ_BEHIND = {"condition": "file", "init": "donor"}

overwrite_option = click.option(
    "--overwrite", is_flag=True, help="Let files beside the result (--lineage, --report ...) replace files; never OUT or SRC."
)


class Command(click.Command):
    """A command that refuses, before anything else, to write over what is there."""

    def invoke(self, ctx: click.Context) -> Any:
        outputs = side_outputs(ctx)
        params = dict(ctx.params)
        if params.get("saved") is not None and "out" in params and params["out"] is None:  # a plan holds the source
            params["out"] = params.pop("src", None)
        if outputs:
            from convert.side_outputs import check_side_outputs

            check_side_outputs(outputs, _sources(params), params.get("out"))
        return super().invoke(ctx)


def command(name: str | None = None, **attributes: Any) -> Callable[[Callable[..., Any]], Command]:
    """``click.command`` for the commands of this project."""
    return click.command(name, cls=Command, **attributes)


def side_outputs(ctx: click.Context) -> list[SideOutput]:
    """The files that a command is asked to write beside its result."""
    asked = {name: repeatable for name, repeatable in WRITTEN.items() if ctx.params.get(name) is not None}
    if not asked:
        return []
    from convert.side_outputs import SideOutput

    options = {parameter.name: parameter.opts[0] for parameter in ctx.command.params}
    overwrite = bool(ctx.params.get("overwrite"))
    return [
        SideOutput(options[name], Path(ctx.params[name]), overwrite, repeatable)
        for name, repeatable in asked.items()
    ]


def check_places(plan: Plan, out: str | None) -> None:
    """Refuse side outputs in what a plan reads: a recipe, a saved plan or an edit names places that the words do not."""
    from convert.side_outputs import check_side_outputs

    folders = (plan.checkpoint.path, *(addition.path for addition in plan.checkpoint.additions))
    check_side_outputs(side_outputs(click.get_current_context()), (place for path in folders for place in _found(path)), out)


def write_beside(name: str, content: str) -> None:
    """Write the side output that a parameter of the running command names; nothing where it names none."""
    from convert.side_outputs import write_side_output

    ctx = click.get_current_context()
    option = next((parameter.opts[0] for parameter in ctx.command.params if parameter.name == name), "")
    for output in side_outputs(ctx):
        if output.option == option:
            write_side_output(output, content.encode("utf-8", "backslashreplace"))


def _sources(params: Mapping[str, Any]) -> Iterator[Path]:
    """Every place that a command reads, as far as its words alone tell."""
    for name in (*READ, *READ_BEHIND):
        value = params.get(name)
        for text in value if isinstance(value, tuple) else () if value is None else (value,):
            if name in READ_BEHIND:
                kind, _, text = str(text).partition(":")
                if kind != READ_BEHIND[name]:
                    continue
            yield from _found(text)


def _found(text: str | Path) -> Iterator[Path]:
    """A place, and the repository in the Hub's cache that it is in: links of a snapshot lead to files beside it."""
    from convert.checkpoint.hub import find_snapshot, parse_identifier

    path = Path(text)
    yield path
    repository = parse_identifier(str(text)) if not path.exists() else None
    snapshot = find_snapshot(repository) if repository is not None else Path(os.path.realpath(path))
    if snapshot is not None and snapshot.parent.name == "snapshots":
        yield snapshot.parent.parent
