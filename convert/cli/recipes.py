"""``surgery run``: a recipe of edits."""

from __future__ import annotations

from typing import Any

import click

from convert.cli.conversion import carry_out
from convert.cli.options import writing
from convert.cli.places import command


@command("run")
@click.argument("recipe", type=click.Path(exists=True, dir_okay=False))
@click.argument("out", required=False)
@writing
def run_(recipe: str, out: str | None, **options: Any) -> None:
    """Carry out RECIPE, a TOML file: a source, edits in order, a family to write; one pass over the source.

    OUT overrides the recipe's own output.
    """
    from convert.recipe import read_recipe, recipe_text

    read = read_recipe(recipe)
    plan = read.plan()
    if options["dry_run"] and not options["as_json"]:
        click.echo(recipe_text(read, plan, out or read.output))
    carry_out(plan, out or read.output, {**options, "variant": read.variant})
