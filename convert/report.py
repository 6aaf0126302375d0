"""Plans and results as text for a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from convert.paths import staging_of
from convert.planning import Plan
from surgery.errors import listed, show
from surgery.values import Exactness

if TYPE_CHECKING:
    from convert.writing import Written

_EXACTNESS = {
    "byte": "every output byte is a copy of an input byte, or a written zero or one",
    "algebraic": "the same real function; each computed value is rounded once",
    "approximate": "values are rounded more than the function needs, because it was asked for",
}


#: of a plan whose class is byte although types change: what is computed there is the same value in a wider type
_WIDENED = "every output value is that of the source, exactly (and its bytes, unless the type is wider), or a written zero or one"


def size(nbytes: float) -> str:
    """Bytes for a person.

    >>> size(1536), size(13_476_831_232)
    ('1.5 KB', '13.5 GB')
    """
    for unit in ("bytes", "KB", "MB", "GB"):
        if nbytes < 1000:
            return f"{nbytes:.0f} bytes" if unit == "bytes" else f"{nbytes:.1f} {unit}"
        nbytes /= 1000
    return f"{nbytes:.1f} TB"


def counted(parameters: int | None, elements: int, *more: str) -> str:
    """Parameters, where it is known which they are, beside all elements where those are more; ``more`` is of the elements."""
    if parameters is None:
        return " ".join((f"  elements    {elements:,}", *more))
    if parameters == elements:
        return " ".join((f"  parameters  {parameters:,}", *more))
    return f"  parameters  {parameters:,} ({' '.join((f'{elements:,} elements', *more))})"


def plan_text(plan: Plan, lineage: Sequence[Mapping[str, Any]] | None = None) -> str:
    """The whole plan on one screen, or with every tensor's lineage."""
    outputs = [o for f in plan.files for o in f.outputs]
    computed = [o for o in outputs if o.computed]
    moved = len(outputs) - len(computed)
    documents = _count(len(plan.documents) + len(plan.copies) + 1, "document")
    lines = [
        f"{plan.source} -> {plan.target}",
        f"  exactness   {plan.exactness}: {_words(plan)}",
        *(f"  step        {step}" for step in plan.steps),
        f"  tensors     {len(plan.checkpoint.tensors)} read, {len(outputs)} written: {moved} moved, {len(computed)} computed",
        counted(plan.parameters, plan.elements),
        f"  bytes       {size(plan.nbytes)} in {_count(len(plan.files), 'file')} of weights and {documents}",
        f"  memory      writer at most {size(plan.writer_peak)}",
    ]
    if plan.left:
        reasons = sorted(set(plan.left.values()))
        lines.append(f"  left        {_count(len(plan.left), 'tensor')} not taken: {'; '.join(reasons)}")
    lines += [f"  computed    {o.name}: {', then '.join(o.operations)}" for o in computed[:5]]
    if len(computed) > 5:
        lines.append(f"  computed    and {len(computed) - 5} more")
    if plan.rounding:
        lines.append(
            f"  rounding    storing a computed value changes it by at most {plan.rounding:.1e} of itself, once"
        )
    lines.append(
        "  coverage    every tensor of the source is used or knowingly left; every tensor of the target is written once"
    )
    for entry in lineage or ():
        lines.append(
            f"{entry['name']}  {entry['dtype']} {entry['shape']}  <- {', '.join(entry['from']) or 'zeros'}  ({entry['how']})"
        )
    return "\n".join(lines)


def written_text(plan: Plan, done: Written) -> str:
    """What a run did."""
    computed = sum(o.computed for f in plan.files for o in f.outputs)
    lines = [f"{plan.source} -> {plan.target}: {plan.exactness}", *(f"  {step}" for step in plan.steps)]
    if computed and done.rounding_largest:
        rounding = f"{done.rounding_relative:.1e} of their size (rms), {done.rounding_largest:.1e} at most"
        lines.append(f"  rounding of computed values: {rounding}")
    if done.beyond or done.vanished:
        lines.append(
            f"  {done.beyond:,} values exceeded the type and were stored as its largest, {done.vanished:,} became zero"
        )
    if done.resumed:
        lines.append(
            f"  resumed: {len(done.resumed)} of {len(plan.files)} shards were already written and verified by hash"
        )
    lines.append(f"  {_count(plan.tensors, 'tensor')}, {size(plan.nbytes)} in {_count(len(plan.files), 'file')}")
    if done.tokenizer is not None:
        lines.append(f"  tokenizer: {done.tokenizer.size} tokens, {done.tokenizer.check}")
        lines.append(f"  tokenizer: {done.tokenizer.ids}")
        lines += [f"  tokenizer: {notice}" for notice in done.tokenizer.notices]
    lines += [f"  {line}" for line in (done.verdict.lines() if done.verdict is not None else ["not verified"])]
    if done.left:
        lines.append(f"  left in {staging_of(done.out).name}, since no run of ours wrote it: {listed(map(show, done.left))}")
    return "\n".join([*lines, f"written: {done.out}"])


def _words(plan: Plan) -> str:
    """What the class of the plan means for it."""
    exact = plan.exactness == Exactness.BYTE and plan.computes and not plan.rounding
    return _WIDENED if exact else _EXACTNESS[str(plan.exactness)]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
