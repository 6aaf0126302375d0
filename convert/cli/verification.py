"""``convert verify``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convert.cli.options import Bytes, debug_option, json_option, variant_option, witness_option
from convert.cli.running import emit, note
from surgery.errors import UsageError, VerificationFailed, show

if TYPE_CHECKING:
    from convert.verification.movement import Lineage
    from convert.verification.verdict import Verdict
    from convert.verification.witness.witness import Witness

_EXACTNESS = click.Choice(["byte", "algebraic", "approximate"])
_COMPUTE = click.Choice(["float32", "float64"])


def _device(context: click.Context, parameter: click.Parameter, value: str) -> str:
    if not re.fullmatch(r"cpu|mps|(cuda|xpu)(:\d+)?", value):
        raise click.BadParameter(f"{show(value)} is no device; say cpu, cuda, cuda:1, mps or xpu.")
    return value


@click.command("verify")
@click.argument("src", required=False)
@click.argument("out", required=False)
@click.option("--mode", type=click.Choice(["full", "quick"]), default="full", show_default=True, help="quick samples layers.")
@click.option("--exactness", type=_EXACTNESS, help="What OUT promises; default: what its weightsmith.json says, else algebraic.")
@click.option("--compute", type=_COMPUTE, default="float32", show_default=True, help="Arithmetic.")
@click.option("--device", default="cpu", show_default=True, callback=_device, help="Where torch computes: cpu, cuda:1 ...")
@witness_option
@click.option("--with", "library", type=click.Choice(["transformers"]), help="Also run OUT (and SRC) whole by its class.")
@click.option("--with-seconds", type=float, default=3600.0, show_default=True, help="How long each run by --with may take.")
@click.option("--with-memory", type=Bytes(), metavar="SIZE", help="What each may map; default: four times its weights + 4 GB.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Write everything as one HTML page.")
@click.option(
    "--plan", "saved", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Prove a saved plan's movement instead; no weights are read.",
)  # fmt: skip
@variant_option
@click.option("--output-variant", help="Which variant OUT is, where its files cannot tell.")
@json_option
@debug_option
def verify_(src: str | None, out: str | None, saved: Path | None, as_json: bool, debug: bool, **options: Any) -> None:
    """Prove that OUT computes what SRC computes: both are run from their own files, layer by layer, in bounded memory.

    The decoders do not use the conversion tables, so an error in a table cannot hide. Exit status 5 when they differ.
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
    src: str, out: str, as_json: bool, *, mode: Any, exactness: str | None, compute: Any, device: str, library: str | None,
    witness: str | None, with_seconds: float, with_memory: int | None, report: Path | None, variant: str | None,
    output_variant: str | None,
) -> None:  # fmt: skip
    from convert.checkpoint import open_checkpoint
    from convert.common_tokens import common_tokens
    from convert.planning import weakest
    from convert.verification.child import run_child
    from convert.verification.movement import prove
    from convert.verification.witness.witness import wanted_witness
    from convert.verification.witness.witness import witness as ask
    from convert.verified import Checked, promised, remade_plan

    if report is not None and not report.absolute().parent.is_dir():
        raise click.UsageError(f"--report {show(str(report))}: there is no directory {show(str(report.parent))}.")
    one, other = open_checkpoint(src), open_checkpoint(out)
    plan = remade_plan(one, other, variant)
    promise: Any = exactness or (str(weakest(plan.files)) if plan is not None else promised(other) or "algebraic")
    verdict = run_child(
        one.path, other.path, mode=mode, exactness=promise, compute=compute, variant=variant,
        output_variant=output_variant, device=device, with_transformers=library is not None,
        witness_seconds=with_seconds, witness_memory=with_memory, shared=common_tokens(one, other),
    )  # fmt: skip
    if absent := [run.because for run in verdict.stock if run.side == "output" and run.logits is None and not run.fault]:
        raise UsageError(f"--with transformers cannot run OUT: {absent[0]}. Leave it out, or mend that.")
    lineage = prove(plan, variant=variant) if plan is not None else None
    seen = ask(plan, other.path, wanted_witness(witness))
    if report is not None:
        from convert.verified_page import write_page

        write_page(report, Checked(verdict, lineage, seen), (one, other), plan, promise, (variant, output_variant))
        note(f"the report is in {report}")
    told = {"lineage": _lineage(lineage), "witness": seen.to_json()}
    emit(verdict_text(verdict, lineage, seen), as_json, lambda: {**verdict.to_json(), **told})
    if not verdict.passed:
        raise VerificationFailed(f"OUT does not compute what SRC computes (first different: {verdict.first_divergence}).")
    if lineage is not None and not lineage.passed:
        raise VerificationFailed(lineage.sentence)
    if not seen.passed:
        raise VerificationFailed(seen.sentence)


def _plan(saved: Path, as_json: bool) -> None:
    from convert.saved import load_plan
    from convert.verification.movement import prove
    from convert.verified import variant_of

    plan = load_plan(saved).plan
    lineage = prove(plan, variant=variant_of(plan.source))
    text = lineage.sentence if lineage is not None else "not proved: the plan edits the model"
    emit(f"{plan.source} -> {plan.target}: {text}", as_json, lambda: {"lineage": _lineage(lineage)})
    if lineage is not None and not lineage.passed:
        raise VerificationFailed(lineage.sentence)


def _lineage(lineage: Lineage | None) -> dict[str, Any] | None:
    if lineage is None:
        return None
    return {
        "passed": lineage.passed,
        "tensors": lineage.tensors,
        "addresses": lineage.addresses,
        "complete": lineage.complete,
        "against": lineage.how,
        "faults": list(lineage.faults),
        "unfollowed": list(lineage.unfollowed),
    }


def verdict_text(verdict: Verdict, lineage: Lineage | None = None, witness: Witness | None = None) -> str:
    """A verdict on one screen."""
    logits = verdict.logits
    kind = "logits   " if verdict.mode == "full" else "head rows"
    return "\n".join(
        [
            verdict.sentence,
            f"  source {verdict.source_family}, output {verdict.output_family}: {verdict.frame}",
            f"  {kind} largest difference {logits.largest:.3g}, mean {logits.mean:.3g}, relative {logits.error:.2e}",
            f"  agreement top-1 {logits.top1:.2%}, top-5 {logits.top5:.2%}, KL {logits.kl_source_output:.2e}",
            f"  prompts   {verdict.prompts}",
            f"  tolerance {verdict.tolerance.because}",
            *(f"  config    {finding.line}" for finding in verdict.findings),
            *(f"  library   {stock.line}" for stock in verdict.stock),
            *([f"  plan      the one that OUT's weightsmith.json names: {lineage.sentence}"] if lineage is not None else []),
            *([f"  witness   {witness.sentence}"] if witness is not None else []),
        ]
    )
