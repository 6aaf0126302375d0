"""What is tried: plan and write in this process, and what can be said of an output beside its function."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from convert.checkpoint import open_checkpoint
from convert.planning import Plan
from convert.prepare import open_artefact, plan_artefact
from convert.validate.check import validate
from convert.validate.rule import Finding
from convert.verified import verifier
from convert.writing import write
from surgery.errors import ConversionError, UsageError, VerificationFailed
from surgery.model import Artefact
from tests.differential import judge
from tests.differential.case import Fault, Outcome, brief, concluded, refused, unjudged
from tests.differential.judge import SAME, Unloadable
from tests.differential.native import has_class
from tests.differential.room import Room
from tests.differential.sources import Source
from tests.oracle import same_bits

#: true of every output here: none has a card, and only a few sources a tokenizer
LACKING = {"card-missing", "tokenizer-missing"}

Judge = Callable[[Path], Tensor]


def opened(folder: Path, **options: Any) -> Artefact:
    """A checkpoint in the hub's words."""
    return open_artefact(open_checkpoint(folder), **options)


def planned(folder: Path, target: str | None, **options: Any) -> Plan:
    """The plan for a folder; ``ConversionError`` where the product refuses."""
    return plan_artefact(opened(folder, **options), target)


def takes(folder: Path, target: str) -> bool:
    """Whether there is a plan from a folder to a family."""
    try:
        planned(folder, target)
    except ConversionError:
        return False
    return True


def tried(name: str, plan: Callable[[], Plan], judged: Callable[[Plan], Outcome]) -> Outcome:
    """The outcome of a plan: refused in words, a crash, or what the judge says of it."""
    try:
        made = plan()
    except UsageError as error:  # the case asks for what there is not: a mistake in these sweeps
        raise AssertionError(f"{name}: {error}") from error
    except ConversionError as error:
        return refused(name, str(error))
    except Exception as error:
        return concluded(name, [Fault("crash", f"plan: {brief(error)}")])
    try:
        return judged(made)
    except ConversionError as error:
        return concluded(name, [Fault("crash", f"planned, and refused only while it was written: {brief(error)}")])


@dataclass(frozen=True)
class Output:
    """What a plan wrote: the judge's logits, or why it takes it not, and what else is wrong with it."""

    folder: Path
    logits: Tensor | str
    others: tuple[Fault, ...]

    def faults(self, truth: Tensor | None, allowed: float = SAME) -> list[Fault]:
        """Everything that is wrong, where ``truth`` are the logits that it must have."""
        if isinstance(self.logits, str):
            return [Fault("unloadable", self.logits), *self.others]
        words = judge.apart(truth, self.logits, allowed) if truth is not None else ""
        return [*([Fault("function", words)] if words else []), *self.others]

    def verified(self, plan: Plan) -> Output:
        """The output with what the product's own verification finds, run in this process: it must pass what is right."""
        return self if isinstance(self.logits, str) else replace(self, others=(*self.others, *_verified(plan, self.folder)))

    def gone(self) -> Output:
        """The output without its files, which nobody asks any more."""
        shutil.rmtree(self.folder, ignore_errors=True)
        return self


def written(plan: Plan, room: Room, of: Judge, variant: str | None = None) -> Output:
    """The plan carried out, and what is to be said of its output."""
    out = room.fresh("out")
    try:
        write(plan, out, verify=None)
    except ConversionError:
        raise
    except Exception as error:
        return Output(out, f"nothing was written: {brief(error)}", (Fault("crash", f"write: {brief(error)}"),))
    try:
        logits: Tensor | str = of(out)
    except Unloadable as error:
        logits = str(error)
    return Output(out, logits, (*of_report(out, plan.checkpoint.path), *of_recognition(plan, out, room, variant)))


def of_report(out: Path, source: Path) -> tuple[Fault, ...]:
    """The errors that `validate` finds in an output of ours and not in its source: untrue, or the output is wrong."""
    try:
        grave = _grave(out)
        known = {one.rule.id for one in _grave(source)} if grave else set()
    except Exception as error:
        return (Fault("crash", f"validate: {brief(error)}"),)
    return tuple(
        Fault("validate", f"{one.rule.id}: {one.message[:200]}")
        for one in grave
        if one.rule.id not in known and not (one.rule.id == "special-ids" and one.message.startswith(_unsaid(source)))
    )


def _unsaid(source: Path) -> tuple[str, ...]:
    """The ids that a source leaves to its class, whose own are those of a large vocabulary: written out, they are found."""
    told = json.loads((source / "config.json").read_text()) if (source / "config.json").is_file() else {}
    return tuple(key for key in ("bos_token_id", "eos_token_id", "pad_token_id") if key not in told)


def _grave(folder: Path) -> list[Finding]:
    found = validate(folder).findings
    return [one for one in found if one.rule.severity == "error" and one.rule.id not in LACKING]


def of_recognition(plan: Plan, out: Path, room: Room, variant: str | None = None) -> tuple[Fault, ...]:
    """Whether an output, planned to its own family, is recognised as what was written and gives the same files."""
    again = room.fresh("again")
    try:
        second = planned(out, plan.target.partition("-")[0], variant=variant)
    except ConversionError as error:
        return (Fault("itself", f"refused: {brief(error)}"),)
    except Exception as error:
        return (Fault("crash", f"its own output: {brief(error)}"),)
    if second.source != plan.target:
        return (Fault("itself", f"written as {plan.target} and read as {second.source}"),)
    write(second, again, verify=None)
    differ = sorted(name for name in _files(out) | _files(again) if not _alike(out / name, again / name))
    shutil.rmtree(again)
    return (Fault("itself", f"written again, {', '.join(differ)} differ"),) if differ else ()


def _verified(plan: Plan, out: Path, mode: str = "full") -> tuple[Fault, ...]:
    check = verifier(plan, mode)
    assert check is not None
    try:
        with _in_process():
            told = check(out)
    except VerificationFailed as error:
        return (Fault("verify", f"could not: {brief(error)}"),)
    except Exception as error:
        return (Fault("crash", f"verify: {brief(error)}"),)
    return () if told.passed else (Fault("verify", " ".join(told.lines())[:300]),)


def class_of(tokens: Tensor) -> Judge:
    """transformers' logits of a folder, every tensor read."""
    return lambda folder: judge.logits(folder, tokens)


@contextmanager
def _in_process() -> Any:
    """The verifier without its child: the same function on the same folders."""
    from convert.verification.run import verify

    def here(source: Path, output: Path, **options: Any) -> Any:
        try:
            return verify(open_checkpoint(source), open_checkpoint(output), **options)
        except ConversionError as error:
            raise VerificationFailed(str(error)) from error

    with mock.patch("convert.verification.child.run_child", here):
        yield


def _files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.name != "weightsmith.json"}


def _alike(one: Path, other: Path) -> bool:
    """Equal bytes; of JSON equal values, and of torch's files equal tensors, which lie there in the order of a zip."""
    if not (one.is_file() and other.is_file()):
        return False
    if one.suffix == ".json":
        return bool(json.loads(one.read_text(encoding="utf-8")) == json.loads(other.read_text(encoding="utf-8")))
    if one.suffix in (".pth", ".pt"):
        held = [torch.load(path, weights_only=True) for path in (one, other)]
        held = [each.get("model", each) for each in held]
        return held[0].keys() == held[1].keys() and all(same_bits(held[0][name], held[1][name]) for name in held[0])
    return one.read_bytes() == other.read_bytes()


def conversion(
    name: str,
    source: Source,
    target: str,
    room: Room,
    *,
    options: Mapping[str, Any] | None = None,
    allowed: Callable[[Plan], float] = lambda plan: SAME,
    verify: bool = False,
    nonsense: bool = False,
) -> Outcome:
    """A source converted to a family with a stock class, and judged by that.

    A source that its own class refuses may be ``nonsense``; else an output that is refused as well is a fault.
    Sources that share their weights give equal outputs by equal plans: those are written and loaded once.
    """
    assert has_class(target), target

    def judged(plan: Plan) -> Outcome:
        def make() -> Output:
            output = written(plan, room, class_of(source.tokens))
            return (output.verified(plan) if verify else output).gone()

        try:
            truth, why = source.logits(), ""
        except Unloadable as error:
            truth, why = None, f"transformers does not take the source: {error}"
            if nonsense:
                return unjudged(name, why)
        output = room.keep((source.shared, plan.digest, str(verify)), make) if source.shared else make()
        if truth is None and not isinstance(output.logits, str):
            return unjudged(name, why)
        return concluded(name, output.faults(truth, allowed(plan)))

    return tried(name, lambda: planned(source.folder, target, **(options or {})), judged)
