"""Commands that write a checkpoint: FAMILY-to-FAMILY, run, plan, repack."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convert.cli.options import (
    COPIED,
    PLANNING,
    debug_option,
    json_option,
    plan_out_option,
    planning,
    shard_size_option,
    writing,
)
from convert.cli.places import check_places, command, write_beside
from convert.cli.running import emit, note, warning
from surgery.errors import LimitExceeded, UsageError, show

if TYPE_CHECKING:
    from convert.planning import Plan


def pair_command(source: str, target: str) -> click.Command:
    """``convert baichuan-to-llama``: the source's family is asserted, so a checkpoint of another one is refused."""
    _known(source)
    _known(target)

    @command(name=f"{source}-to-{target}", help=f"Rewrite a {source} checkpoint SRC as {target}, under the name OUT.")
    @click.argument("src")
    @click.argument("out", required=False)
    @planning
    @plan_out_option
    @writing
    def found(src: str, out: str | None, **options: Any) -> None:
        _convert(src, out, target, source, options)

    return found


@command("run")
@click.argument("src", required=False)
@click.argument("out", required=False)
@click.option("--to", "target", metavar="FAMILY", help="The family to write; default: the source's own.")
@click.option("--plan", "saved", type=click.Path(exists=True, dir_okay=False), help="Execute a plan saved by --plan-out.")
@planning
@plan_out_option
@writing
def run_(src: str | None, out: str | None, target: str | None, saved: str | None, **options: Any) -> None:
    """Convert SRC to OUT; the source's family is recognised. A source already of that family is normalised."""
    if saved is not None:
        if target is not None or out is not None:
            raise click.UsageError("--plan holds the source and the target; give only OUT beside it.")
        _execute_saved(Path(saved), src, options)
        return
    if src is None:
        raise click.UsageError("give SRC, and --to FAMILY for another family than its own (or --plan FILE).")
    if target is not None:
        _known(target)
    _convert(src, out, target, None, options)


@command("plan")
@click.argument("src")
@click.option("--to", "target", required=True, metavar="FAMILY", help="The family to write.")
@click.option("--tensors", is_flag=True, help="Every output tensor, and where it comes from.")
@planning
@json_option
@debug_option
def plan_(src: str, target: str, tensors: bool, as_json: bool, debug: bool, **options: Any) -> None:
    """Print what a conversion would do. Reads headers only."""
    from convert.lineage import lineage
    from convert.report import plan_text

    _known(target)
    plan = _plan(src, target, None, options)
    for line in plan.notes:
        warning(line)
    detail = list(lineage(plan)) if tensors else None
    emit(plan_text(plan, detail), as_json, lambda: {**plan.summary(), **({"outputs": detail} if tensors else {})})


@command("repack")
@click.argument("src")
@click.argument("out", required=False)
@shard_size_option
@writing
def repack_(src: str, out: str | None, max_shard_size: int, **options: Any) -> None:
    """Rewrite SRC as safetensors with the same tensors under the same names, for any family.

    Also turns torch files into safetensors and reshards. Every byte is a copy, read back and compared.
    """
    from convert.checkpoint import open_checkpoint
    from convert.prepare import plan_repack

    plan = plan_repack(open_checkpoint(src), max_shard_size=max_shard_size)
    carry_out(plan, out, {**options, "verify_mode": "off", "unverified": COPIED})


def _convert(src: str, out: str | None, target: str | None, source: str | None, options: dict[str, Any]) -> None:
    plan = _plan(src, target, source, options)
    carry_out(plan, out, options, wish={"src": src, "to": target or plan.target, "from": source})


def _plan(src: str, target: str | None, source: str | None, options: dict[str, Any]) -> Plan:
    from convert.checkpoint import open_checkpoint
    from convert.prepare import plan_conversion

    wanted = {key: options[key] for key in PLANNING}
    return plan_conversion(open_checkpoint(src), target, source=source, **wanted)


def carry_out(plan: Plan, out: str | None, options: dict[str, Any], wish: dict[str, Any] | None = None) -> None:
    """Print, save, refuse or execute a plan, as the options say."""
    from convert.report import plan_text, written_text

    for line in plan.notes:
        warning(line)
    if options["dry_run"]:
        _write_beside(plan, out, options, wish)
        emit(plan_text(plan), options["as_json"], plan.summary)
        return
    if out is None:
        raise click.UsageError("Missing argument 'OUT' (or say --dry-run).")
    if options["ram"] is not None and plan.writer_peak > options["ram"]:
        raise LimitExceeded(
            f"--ram allows {options['ram']:,} bytes and the writer may need {plan.writer_peak:,}; nothing was written."
        )
    from convert.cli.progress import Bar
    from convert.verified import verifier
    from convert.writing import check_place, write

    check_place(plan, out)
    verify = verifier(plan, options["verify_mode"], variant=options.get("variant"), witness=options["witness"])
    _write_beside(plan, out, options, wish)
    if options["verify_mode"] == "off":
        note(options.get("unverified", "the output is not verified (--verify off)"))
    with Bar(sum(f.payload for f in plan.files)) as progress:
        done = write(
            plan,
            out,
            verify=verify,
            progress=progress,
            workers=options["workers"],
            read_back=options["read_back"],
        )
    emit(written_text(plan, done), options["as_json"], lambda: {**plan.summary(), **done.to_json()})


def _write_beside(plan: Plan, out: str | None, options: dict[str, Any], wish: dict[str, Any] | None) -> None:
    """The files that say what is to be done; whoever begins the same run again finds them as they are."""
    check_places(plan, out)
    if wish is not None and options["plan_out"] is not None:
        from convert.saved import saved_text

        write_beside("plan_out", saved_text(plan, wish, {key: options[key] for key in PLANNING}))
    if options["lineage"] is not None:
        from convert.lineage import lineage_text

        write_beside("lineage", lineage_text(plan))


def _execute_saved(path: Path, out: str | None, options: dict[str, Any]) -> None:
    from click.core import ParameterSource

    from convert.saved import load_plan

    context = click.get_current_context()
    said = [key for key in PLANNING if context.get_parameter_source(key) == ParameterSource.COMMANDLINE]
    if said:
        raise UsageError(f"--{said[0].replace('_', '-')} is settled by --plan: make the plan again with it.")
    saved = load_plan(path)
    carry_out(saved.plan, out, {**options, **saved.options}, wish=dict(saved.wish))


def _known(family: str) -> None:
    from mappings import families

    names = sorted({f.name for f in families()})
    if family not in {*names, *(f.label for f in families())}:
        import difflib

        near = difflib.get_close_matches(family, names, n=1)
        raise click.UsageError(
            f"there is no family {show(family)}{f'; did you mean {near[0]}?' if near else '.'} `convert families` lists them."
        )


