"""``convert verify``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from convert.cli.options import debug_option, json_option, variant_option
from convert.cli.running import emit
from surgery.errors import VerificationFailed

if TYPE_CHECKING:
    from convert.verification.verdict import Verdict


@click.command("verify")
@click.argument("src")
@click.argument("out")
@click.option("--mode", type=click.Choice(["full", "quick"]), default="full", show_default=True, help="quick samples layers.")
@click.option(
    "--exactness", type=click.Choice(["byte", "algebraic", "approximate"]), default="algebraic", show_default=True,
    help="What the output promises: decides the tolerance.",
)
@click.option("--compute", type=click.Choice(["float32", "float64"]), default="float32", show_default=True, help="Arithmetic.")
@variant_option
@click.option("--output-variant", help="Which variant OUT is, where its files cannot tell.")
@json_option
@debug_option
def verify_(
    src: str, out: str, mode: str, exactness: str, compute: str, variant: str | None, output_variant: str | None,
    as_json: bool, debug: bool,
) -> None:  # fmt: skip
    """Prove that OUT computes what SRC computes: both are run from their own files, layer by layer, in bounded memory.

    The decoders do not use the conversion tables, so an error in a table cannot hide. Exit status 5 when they differ.
    """
    from convert.checkpoint import open_checkpoint
    from convert.verification.child import run_child

    one, other = open_checkpoint(src), open_checkpoint(out)
    verdict = run_child(
        one.path, other.path, mode=mode, exactness=exactness, compute=compute, variant=variant, output_variant=output_variant
    )  # type: ignore[arg-type]
    emit(verdict_text(verdict), as_json, verdict.to_json)
    if not verdict.passed:
        raise VerificationFailed(f"OUT does not compute what SRC computes (first different: {verdict.first_divergence}).")


def verdict_text(verdict: Verdict) -> str:
    """A verdict on one screen."""
    logits = verdict.logits
    return "\n".join(
        [
            verdict.sentence,
            f"  source {verdict.source_family}, output {verdict.output_family}: {verdict.frame}",
            f"  logits    largest difference {logits.largest:.3g}, mean {logits.mean:.3g}, relative {logits.error:.2e}",
            f"  agreement top-1 {logits.top1:.2%}, top-5 {logits.top5:.2%}, KL {logits.kl_source_output:.2e}",
            f"  tolerance {verdict.tolerance.because}",
        ]
    )
