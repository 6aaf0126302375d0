"""Commands that edit one checkpoint and write it in its own layout. Thin over ``surgery``'s edits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from convert.cli.conversion import carry_out
from convert.cli.options import COPIED, editing, shard_size_option, writing
from convert.cli.places import command

if TYPE_CHECKING:
    from convert.planning import Plan
    from surgery.model import Artefact


def carry_out_edit(src: str, out: str | None, edit: Callable[[Artefact], Artefact], options: dict[str, Any]) -> None:
    """Open SRC, apply the edit, write OUT in the layout of SRC's family."""
    from convert.checkpoint import open_checkpoint
    from convert.prepare import open_artefact, plan_artefact

    artefact = open_artefact(open_checkpoint(src), variant=options["variant"], accept=options["accept"])
    layout = {key: options[key] for key in ("max_shard_size", "tensor_parallel")}
    plan = plan_artefact(edit(artefact), tokenizer="carry", **layout)
    carry_out(plan, out, options)


@command("untie")
@editing
def untie_(src: str, out: str | None, **options: Any) -> None:
    """Write OUT as SRC with an output projection of its own, a copy of the embeddings."""
    from surgery import untie

    carry_out_edit(src, out, untie, options)


@command("tie")
@editing
def tie_(src: str, out: str | None, **options: Any) -> None:
    """Write OUT as SRC without its output projection if that equals the embeddings, else say how it differs."""
    from convert.edits.sameness import tied_by_bits

    carry_out_edit(src, out, tied_by_bits, options)


@command("cast")
@editing
@click.option(
    "--dtype", required=True, type=click.Choice(["float32", "float16", "bfloat16", "float64"]), help="The type to have."
)
@click.option("--clamp", is_flag=True, help="Store what exceeds float16 as its largest number instead of refusing.")
def cast_(src: str, out: str | None, dtype: str, clamp: bool, **options: Any) -> None:
    """Write OUT as SRC with every weight as another type, and say what rounding, overflow and underflow it cost."""
    from surgery import cast

    carry_out_edit(src, out, lambda artefact: cast(artefact, dtype, clamp=clamp), options)


@command("drop-buffers")
@editing
def drop_buffers_(src: str, out: str | None, **options: Any) -> None:
    """Write OUT as SRC without the tensors that every loader computes anew, such as rotary_emb.inv_freq."""
    from convert.checkpoint import open_checkpoint
    from convert.prepare import open_artefact, plan_repack

    checkpoint = open_checkpoint(src)
    buffers = open_artefact(checkpoint, variant=options["variant"], accept=options["accept"]).left
    _carry_out_copy(plan_repack(checkpoint, max_shard_size=options["max_shard_size"], without=buffers), out, options)


def _repacking(name: str, says: str) -> click.Command:
    @command(name, help=says)
    @click.argument("src")
    @click.argument("out", required=False)
    @shard_size_option
    @writing
    def found(src: str, out: str | None, max_shard_size: int, **options: Any) -> None:
        from convert.checkpoint import open_checkpoint
        from convert.prepare import plan_repack

        _carry_out_copy(plan_repack(open_checkpoint(src), max_shard_size=max_shard_size), out, options)

    return found


reshard_ = _repacking("reshard", "Write OUT with SRC's tensors, byte for byte, in files of another size. Any family.")
to_safetensors_ = _repacking("to-safetensors", "Write OUT with SRC's tensors, byte for byte, as safetensors. Any family.")


def _carry_out_copy(plan: Plan, out: str | None, options: dict[str, Any]) -> None:
    """A plan of bytes that stay as they are: each is compared when it is read back, so no model has to run."""
    carry_out(plan, out, {**options, "verify_mode": "off", "unverified": COPIED})


@command("repeat-kv")
@editing
@click.option("--kv", type=click.IntRange(1), metavar="N", help="Key-value heads to have; default: one per query head.")
def repeat_kv_(src: str, out: str | None, kv: int | None, **options: Any) -> None:
    """Write OUT as SRC with every key-value head repeated, so that tensors can be split among more devices."""
    from surgery import repeat_kv

    carry_out_edit(src, out, lambda artefact: repeat_kv(artefact, kv), options)
