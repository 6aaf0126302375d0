"""The page of a verification: what the verifier found, with the files it was found on and the plan behind them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from convert.checkpoint import Checkpoint
from convert.planning import Output, Plan
from convert.staging import hash_file
from convert.verification import page
from convert.verification.meaning import read
from convert.verified import Checked

_SHOWN, _RANGES = 24, 6


def page_text(
    checked: Checked,
    checkpoints: tuple[Checkpoint, Checkpoint],
    plan: Plan | None,
    exactness: str,
    variants: tuple[str | None, str | None],
) -> str:
    """The page. Hashing the files costs a read of both sides, where the Hub has not told them."""
    verdict = checked.verdict
    families = (verdict.source_family, verdict.output_family)
    sides = [
        page.Side(role, str(checkpoint.path), family, list(_files(checkpoint)), read(checkpoint.config, variant))
        for role, checkpoint, family, variant in zip(("source", "output"), checkpoints, families, variants, strict=True)
    ]
    return page.render(
        verdict,
        sides,
        wrong=checked.wrong,
        right=checked.right,
        advice=checked.advice,
        passed=checked.passed,
        tensors=_shown(plan) if plan is not None else (),
        exactness=exactness,
        steps=plan.steps if plan is not None else (),
    )


def _files(checkpoint: Checkpoint) -> Iterator[tuple[str, int, str]]:
    for name, file in sorted(checkpoint.files.items()):
        digest = f"sha256 {file.sha256}" if file.sha256 else f"xxh3 {hash_file(file.path, lambda: None)}"
        yield name, file.size, digest


def _shown(plan: Plan) -> list[page.Tensor]:
    """What stands once, and the first layer: the others are alike."""
    outputs = [output for file in plan.files for output in file.outputs]
    computed = [o for o in outputs if o.computed]
    chosen = {o.name: o for o in (*computed[:4], *outputs) if o in computed[:4] or ".0." in o.name or "layer" not in o.name}
    return [_tensor(output) for output in list(chosen.values())[:_SHOWN]]


def _tensor(output: Output) -> page.Tensor:
    if output.computed:
        ranges: Sequence[str] = [f"{name}  ->  {output.name}" for name in sorted(output.reads)]
    else:
        ranges = [
            f"{box.source or 'zeros'} [{box.start:,} .. {box.start + box.source_extent() - 1:,}]  ->  "
            f"[{box.target:,} .. {box.target + box.extent() - 1:,}]  in runs of {box.run:,}"
            for box in output.boxes
        ]
    more = [f"and {len(ranges) - _RANGES} more"] if len(ranges) > _RANGES else []
    return page.Tensor(output.name, output.dtype, output.shape, [*ranges[:_RANGES], *more], output.operations)
