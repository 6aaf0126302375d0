"""``convert verify``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convert.cli.options import Bytes, debug_option, json_option, variant_option, witness_option
from convert.cli.places import command, overwrite_option, write_beside
from convert.cli.running import emit, note
from surgery.errors import VerificationFailed, show

if TYPE_CHECKING:
    from convert.verified import Checked

_EXACTNESS = click.Choice(["byte", "algebraic", "approximate"])
_COMPUTE = click.Choice(["float32", "float64"])


def _device(context: click.Context, parameter: click.Parameter, value: str) -> str:
    if not re.fullmatch(r"cpu|mps|(cuda|xpu)(:\d+)?", value):
        raise click.BadParameter(f"{show(value)} is no device; say cpu, cuda, cuda:1, mps or xpu.")
    return value


@command("verify")
@click.argument("src", required=False)
@click.argument("out", required=False)
@click.option("--mode", type=click.Choice(["full", "quick"]), default="full", show_default=True, help="quick samples layers.")
@click.option("--exactness", type=_EXACTNESS, help="What OUT may be off by; default: what its files explain.")
@click.option("--compute", type=_COMPUTE, default="float32", show_default=True, help="Arithmetic.")
@click.option("--device", default="cpu", show_default=True, callback=_device, help="Where torch computes: cpu, cuda:1 ...")
@click.option("--other-rows", is_flag=True, help="Tokens that only SRC or only OUT has were cut or added on purpose.")
@witness_option
@click.option("--with", "library", type=click.Choice(["transformers"]), help="Also run OUT (and SRC) whole by its class.")
@click.option("--with-seconds", type=float, default=3600.0, show_default=True, help="How long each run by --with may take.")
@click.option("--with-memory", type=Bytes(), metavar="SIZE", help="What each may map; default: four times its weights + 4 GB.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Write everything as one HTML page.")
@overwrite_option
@click.option(
    "--plan", "saved", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Prove a saved plan's movement instead; no weights are read.",
)  # fmt: skip
@variant_option
@click.option("--output-variant", help="Which variant OUT is, where its files cannot tell.")
@json_option
@debug_option
def verify_(
    src: str | None, out: str | None, saved: Path | None, overwrite: bool, as_json: bool, debug: bool, **options: Any
) -> None:
    """Prove that OUT computes what SRC computes: both are run from their own files, layer by layer, in bounded memory.

    The decoders do not use the conversion tables, so an error in a table cannot hide. Exit status 5 when they differ, 9 when
    that cannot be judged.
    """
    if saved is not None:
        if src is not None:
            raise click.UsageError("--plan FILE holds the source and the target; give no SRC and OUT beside it.")
        if options["report"] is not None:
            raise click.UsageError("--report is about SRC and OUT; of a plan there is only its lineage.")
        _plan(saved, as_json)
        return
    if src is None or out is None:
        raise click.UsageError("give SRC and OUT (or --plan FILE).")
    _checkpoints(src, out, as_json, **options)


def _checkpoints(
    src: str, out: str, as_json: bool, *, mode: Any, exactness: Any, compute: Any, device: str, library: str | None,
    witness: str | None, with_seconds: float, with_memory: int | None, report: Path | None, variant: str | None,
    output_variant: str | None, other_rows: bool,
) -> None:  # fmt: skip
    from convert.checkpoint import open_checkpoint
    from convert.judgement import judgement, told

    one, other = open_checkpoint(src), open_checkpoint(out)
    found = judgement(
        one, other, mode=mode, exactness=exactness, compute=compute, variant=variant, output_variant=output_variant,
        device=device, with_transformers=library is not None, witness_seconds=with_seconds, witness_memory=with_memory,
        other_rows=other_rows, witness=witness,
    )  # fmt: skip
    if report is not None:
        from convert.verified_page import page_text

        write_beside("report", page_text(found.checked, (one, other), found.plan, found.promise, (variant, output_variant)))
        note(f"the report is in {report}")
    emit(checked_text(found.checked), as_json, lambda: told(found))
    found.refuse()


def _plan(saved: Path, as_json: bool) -> None:
    from convert.judgement import lineage_told
    from convert.saved import load_plan
    from convert.verification.movement import prove
    from convert.wish import variant_of

    plan = load_plan(saved).plan
    lineage = prove(plan, variant=variant_of(plan.source))
    text = lineage.sentence if lineage is not None else "not proved: the plan edits the model"
    emit(f"{plan.source} -> {plan.target}: {text}", as_json, lambda: {"lineage": lineage_told(lineage)})
    if lineage is not None and not lineage.passed:
        raise VerificationFailed(lineage.sentence)


def checked_text(checked: Checked) -> str:
    """All that was found, on one screen: what differs first, then what was proved nevertheless, then what to do."""
    verdict, lineage = checked.verdict, checked.lineage
    logits = verdict.logits
    kind = "logits   " if verdict.mode == "full" else "head rows"
    first = [*checked.wrong, *(f"nevertheless {said}" for said in checked.right)] if checked.wrong else [verdict.sentence]
    return "\n".join(
        [
            *first,
            *([f"  next      {checked.advice}"] if checked.advice else []),
            f"  source {verdict.source_family}, output {verdict.output_family}: {verdict.frame}",
            f"  {kind} largest difference {logits.largest:.3g}, mean {logits.mean:.3g}, relative {logits.error:.2e}",
            f"  agreement top-1 {logits.top1:.2%}, top-5 {logits.top5:.2%}, KL {logits.kl_source_output:.2e}",
            f"  prompts   {verdict.prompts}",
            f"  tolerance {verdict.tolerance.because}",
            *(f"  config    {finding.line}" for finding in verdict.findings),
            *(f"  library   {stock.line}" for stock in verdict.stock),
            *([f"  plan      the one that OUT's weightsmith.json names: {lineage.sentence}"] if lineage is not None else []),
            f"  witness   {checked.witness.sentence}",
        ]
    )
