"""Commands that edit a model and write it in its own layout: untie, repeat-kv. Thin over ``surgery``'s edits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from convert.cli.conversion import carry_out
from convert.cli.options import editing

if TYPE_CHECKING:
    from surgery.model import Artefact


def carry_out_edit(src: str, out: str | None, edit: Callable[[Artefact], Artefact], options: dict[str, Any]) -> None:
    """Open SRC, apply the edit, write OUT in the layout of SRC's family."""
    from convert.checkpoint import open_checkpoint
    from convert.prepare import open_artefact, plan_artefact

    artefact = open_artefact(open_checkpoint(src), variant=options["variant"], accept=options["accept"])
    layout = {key: options[key] for key in ("max_shard_size", "tensor_parallel")}
    plan = plan_artefact(edit(artefact), tokenizer="carry", **layout)
    carry_out(plan, out, options)


@click.command("untie")
@editing
def untie_(src: str, out: str | None, **options: Any) -> None:
    """Write OUT as SRC with an output projection of its own, a copy of the embeddings."""
    from surgery import untie

    carry_out_edit(src, out, untie, options)


@click.command("repeat-kv")
@editing
@click.option("--kv", type=click.IntRange(1), metavar="N", help="Key-value heads to have; default: one per query head.")
def repeat_kv_(src: str, out: str | None, kv: int | None, **options: Any) -> None:
    """Write OUT as SRC with every key-value head repeated, so that tensors can be split among more devices."""
    from surgery import repeat_kv

    carry_out_edit(src, out, lambda artefact: repeat_kv(artefact, kv), options)
