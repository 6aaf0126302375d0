"""Commands that look and write nothing: inspect, diff, families, explain, doctor."""

from __future__ import annotations

import click

from convert.cli.options import debug_option, json_option, variant_option
from convert.cli.places import command
from convert.cli.running import emit


@command("inspect")
@click.argument("src")
@variant_option
@json_option
@debug_option
def inspect_(src: str, variant: str | None, as_json: bool, debug: bool) -> None:
    """Say what SRC is, from its headers: family, sizes, traits, types, documents, memory needs."""
    from convert.checkpoint import open_checkpoint
    from convert.inspection import inspect, inspection_text

    told = inspect(open_checkpoint(src), variant)
    emit(inspection_text(told), as_json, lambda: told)


@command("diff")
@click.argument("first")
@click.argument("second")
@click.option("--headers-only", is_flag=True, help="Do not compare values.")
@json_option
@debug_option
def diff_(first: str, second: str, headers_only: bool, as_json: bool, debug: bool) -> None:
    """Say what differs between two checkpoints: tensors, config, documents."""
    from convert.checkpoint import open_checkpoint
    from convert.diff import diff, diff_text

    found = diff(open_checkpoint(first), open_checkpoint(second), values=not headers_only)
    emit(diff_text(found), as_json, lambda: found)


@command("families")
@click.option("--markdown", is_flag=True, help="The page docs/families.md.")
@json_option
@debug_option
def families_(markdown: bool, as_json: bool, debug: bool) -> None:
    """List the families and, for every direction, how exactly it converts."""
    from convert.explain import matrix_text
    from mappings.export import export

    if markdown:
        from convert.page import families_page

        click.echo(families_page(), nl=False)
        return
    emit(matrix_text(), as_json, export)


@command("explain")
@click.argument("family")
@click.argument("target", default="llama")
@debug_option
def explain_(family: str, target: str, debug: bool) -> None:
    """Say how FAMILY differs from TARGET (default: llama), row by row, what each difference costs, what is impossible."""
    from convert.explain import explanation

    click.echo(explanation(family, target))


@command("doctor")
@json_option
@debug_option
def doctor_(as_json: bool, debug: bool) -> None:
    """Say what this installation is: which `convert` wins on PATH, versions, disk, optional libraries."""
    from convert.doctor import doctor, doctor_text

    told = doctor()
    emit(doctor_text(told), as_json, lambda: told)
