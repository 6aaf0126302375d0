"""Commands that add further checkpoints to one: merge-lora, apply-delta, make-delta. Thin over ``convert.edits``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from convert.cli.edits import carry_out_edit
from convert.cli.options import editing

if TYPE_CHECKING:
    from surgery.model import Artefact


@click.command("merge-lora")
@editing
@click.option(
    "--adapter", "adapters", multiple=True, required=True, metavar="DIR", help="A LoRA as peft saves it; repeat."
)
@click.option("--weight", "weights", multiple=True, type=float, metavar="W", help="How much each counts; default: 1.")
@click.option("--subtract", is_flag=True, help="Take merged adapters out again.")
def merge_lora_(
    src: str, out: str | None, adapters: tuple[str, ...], weights: tuple[float, ...], subtract: bool, **options: Any
) -> None:
    """Write OUT as SRC with LoRA adapters merged into it: products in float32, every weight rounded once.

    An adapter speaks of its base's own tensors, so merge before converting to another family, or both in one recipe.
    """
    from convert.edits.lora import merge_lora

    if weights and len(weights) != len(adapters):
        raise click.UsageError(f"{len(weights)} weights for {len(adapters)} adapters; give one for each, or none.")

    def merge(artefact: Artefact) -> Artefact:
        for at, adapter in enumerate(adapters):
            artefact = merge_lora(artefact, adapter, weight=weights[at] if weights else 1.0, subtract=subtract)
        return artefact

    carry_out_edit(src, out, merge, options)
