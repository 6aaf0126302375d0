"""The witness seen from the parent's side: when it is asked, and what it said, as a value. Imports no torch, and no library."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import convert.children as children
from convert.planning import Plan
from convert.witness.vocabulary import some_places
from surgery.errors import ConversionError, UsageError, show

#: auto: where it can; required: an output without it is not published; off: not at all
Wanted = Literal["auto", "required", "off"]

WANTED = ("auto", "required", "off")
#: the environment variable that says which of them holds where no option does
VARIABLE = "WEIGHTSMITH_WITNESS"

_SECONDS = 900.0  # a run takes some; a machine may be busy


@dataclass(frozen=True)
class Witness:
    """What the stock classes said of a miniature, or why they were not asked."""

    ran: bool
    because: str = ""  # why not; or what they complained of
    passed: bool = True
    library: str = ""  # "transformers 5.23.0"
    runner: str = ""  # the class of the output
    against: str = ""  # what computed the source's side
    layers: int = 0
    width: int = 0  # of the residual stream
    lengths: tuple[int, ...] = ()  # of the prompts, in tokens
    error: float | None = None  # rms of the logits' difference over rms of their spread
    allowed: float | None = None

    @property
    def sentence(self) -> str:
        """One line for a person."""
        if not self.ran:
            return f"not witnessed: {self.because}"
        what = f"{self.layers} layers of width {self.width}, {_count(len(self.lengths))}"
        if self.error is None:
            return f"NOT witnessed by {self.library}: {what}: {self.because}"
        if not self.passed:
            return f"NOT witnessed by {self.library}: {what}: {self.because}: {self.error:.1e} (allowed {self.allowed:.1e})"
        note = f" ({self.because})" if self.because else ""
        return f"witnessed by {self.library}: {what}, {self.error:.1e}{note}"

    def record(self) -> dict[str, Any]:
        """What a manifest keeps: no measured number."""
        if not self.ran:
            return {"witness": "not witnessed", "because": self.because}
        return {
            "witness": "passed" if self.passed else "failed",
            "library": self.library,
            "layers": self.layers,
            "width": self.width,
            "lengths": list(self.lengths),
        }

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def wanted_witness(said: str | None) -> Wanted:
    """What was asked for, else what the environment says for all runs, else ``auto``."""
    found = said or os.environ.get(VARIABLE) or "auto"
    if found not in WANTED:
        raise UsageError(f"{VARIABLE}={show(found)} is none of {', '.join(WANTED)}.")
    return found  # type: ignore[return-value]  # it is one of them


def witness(plan: Plan | None, output: Path, wanted: Wanted = "auto") -> Witness:
    """Let the library judge a miniature of what ``plan`` makes, by the config.json that lies in ``output``.

    Without a plan there is nothing to make a miniature by. ``UsageError`` where it is required and cannot run.
    """
    if wanted == "off":
        return Witness(False, "it was not asked for")
    because = hindrance(plan)
    found = Witness(False, because) if because or plan is None else _run(plan, output)
    if wanted == "required" and not found.ran:
        raise UsageError(f"the witness is required, and cannot run: {found.because}. `--witness auto` does without it.")
    return found


def hindrance(plan: Plan | None) -> str:
    """Why no witness can be asked, as far as that is known beforehand; empty where nothing is in its way."""
    if plan is None:
        return "OUT's weightsmith.json names no plan by which it was made of SRC, or none that can be made again"
    if plan.wish is None:
        return "the bytes were moved without being read as a model"
    if "config.json" not in plan.documents:
        return f"no library has a class for the files of {plan.target}"
    if find_spec("transformers") is None:
        return "transformers is not installed (pip install weightsmith[witness])"
    return ""


def _run(plan: Plan, output: Path) -> Witness:
    assert plan.wish is not None
    task = {
        "source": str(plan.checkpoint.path), "output": str(output), "wish": plan.wish.to_json(), "passes": list(plan.passes),
        "planned": json.loads(plan.documents["config.json"]), "shared": _some(plan),
    }  # fmt: skip
    try:
        with children.offline() as env:
            done = children.run("convert.witness.process:main", task, env=env, seconds=_SECONDS)
        answer = done.answer("judges a miniature of the output")
    except children.TooLong:
        return Witness(False, f"it did not end within {_SECONDS:.0f} seconds")
    except ConversionError as refusal:  # a limit of memory, a source that changed: it has judged nothing
        return Witness(False, str(refusal))
    told: dict[str, Any] = json.loads(answer.splitlines()[-1])  # the library may print before it
    return Witness(**{**told, "lengths": tuple(told.get("lengths", ()))})


def _some(plan: Plan) -> tuple[list[int], list[int]] | None:
    """A few of the tokens that both sides have, those that a config names among them."""
    if plan.shared is None:
        return None
    old, new = plan.shared
    places = some_places(plan.shared, (plan.checkpoint.config, json.loads(plan.documents["config.json"])))
    return [old[at] for at in places], [new[at] for at in places]


def _count(number: int) -> str:
    return f"{number} length{'' if number == 1 else 's'}"
