"""Commands that add further checkpoints to one: merge-lora, apply-delta, make-delta. Thin over ``convert.edits``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from convert.cli.conversion import carry_out
from convert.cli.edits import carry_out_edit
from convert.cli.options import (
    BITS,
    DIFFERENCE,
    accept_option,
    editing,
    shard_size_option,
    tensor_parallel_option,
    variant_option,
    writing,
)
from convert.cli.places import command
from convert.cli.running import emit

if TYPE_CHECKING:
    from surgery.model import Artefact


@command("merge-lora")
@editing
@click.option("--adapter", "adapters", multiple=True, required=True, metavar="DIR", help="A LoRA as peft saves it; repeat.")
@click.option("--weight", "weights", multiple=True, type=float, metavar="W", help="How much each counts; default: 1.")
@click.option("--subtract", is_flag=True, help="Take merged adapters out again.")
@click.option("--untie", "apart", is_flag=True, help="Write the output projection of a tied base as a tensor of its own.")
def merge_lora_(
    src: str,
    out: str | None,
    adapters: tuple[str, ...],
    weights: tuple[float, ...],
    subtract: bool,
    apart: bool,
    **options: Any,
) -> None:
    """Write OUT as SRC with LoRA adapters merged into it: products in float32, every weight rounded once.

    Tied embeddings are untied where an adapter changes one end alone. An adapter speaks of its base's own tensors, so merge
    before converting to another family, or both in one recipe.
    """
    from convert.edits.lora import merge_lora
    from surgery.edits.tie import untie

    if weights and len(weights) != len(adapters):
        raise click.UsageError(f"{len(weights)} weights for {len(adapters)} adapters; give one for each, or none.")

    def merge(artefact: Artefact) -> Artefact:
        artefact = untie(artefact) if apart else artefact
        for at, adapter in enumerate(adapters):
            artefact = merge_lora(artefact, adapter, weight=weights[at] if weights else 1.0, subtract=subtract)
        return artefact

    carry_out_edit(src, out, merge, options)


_pad_option = click.option(
    "--pad",
    type=click.Choice(["zero", "mean"]),
    help="What the base's missing tokens are: zero (FastChat), mean (Alpaca).",
)


@command("apply-delta")
@editing
@click.option("--delta", required=True, metavar="DIR", help="A checkpoint of differences, or what --lossless made.")
@_pad_option
@click.option("--sum", "total", type=float, metavar="X", help="What all weights must add up to (Alpaca 7B: 50637.1836).")
def apply_delta_(src: str, out: str | None, delta: str, pad: Any, total: float | None, **options: Any) -> None:
    """Write OUT as SRC plus a delta: sums in float32, rounded once. Its config and tokenizer are the delta's.

    A lossless delta gives the target bit for bit, and refuses any base but the one it was made from.
    """
    from convert.checkpoint import open_checkpoint
    from convert.edits.delta import apply_delta
    from convert.edits.lossless import is_lossless, plan_lossless

    if is_lossless(delta):
        if pad or total is not None:
            raise click.UsageError("a lossless delta gives the target's bits: there is nothing to pad or to add up.")
        carry_out(plan_lossless(open_checkpoint(src), delta), out, {**options, "verify_mode": "off", "unverified": BITS})
        return
    carry_out_edit(src, out, lambda artefact: apply_delta(artefact, delta, pad=pad, total=total), options)


@command("make-delta")
@click.argument("base")
@click.argument("changed", metavar="TARGET")
@click.argument("out")
@click.option("--lossless", is_flag=True, help="Differences of the bits, compressed, bound to the base: the target's bits.")
@_pad_option
@variant_option
@accept_option
@tensor_parallel_option
@shard_size_option
@writing
def make_delta_(base: str, changed: str, out: str, lossless: bool, pad: Any, **options: Any) -> None:
    """Write OUT as what has to be added to BASE to get TARGET."""
    from convert.checkpoint import open_checkpoint
    from convert.edits.delta import make_delta
    from convert.edits.lossless_making import make_lossless
    from convert.prepare import open_artefact

    if lossless:
        unfit = [f"--{key.replace('_', '-')}" for key in ("dry_run", "lineage") if options[key]]
        if unfit or pad:
            raise click.UsageError(f"{(unfit or ['--pad'])[0]} has no meaning with --lossless, which compares bits as it writes.")
        made = make_lossless(open_checkpoint(base), open_checkpoint(changed), out)
        emit(made.text(), options["as_json"], made.to_json)
        return
    other = open_artefact(open_checkpoint(base), variant=options["variant"], accept=options["accept"])
    off = {**options, "verify_mode": "off", "unverified": DIFFERENCE}
    carry_out_edit(changed, out, lambda artefact: make_delta(other, artefact, pad=pad), off)
