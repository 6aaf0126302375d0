"""The library's own classes as third witnesses: each run in a process of its own, offline, limited in time and memory.

No remote code, and no torch file is unpickled by it: only safetensors are loaded. The process writes its logits to a
file, which is compared here block by block with what the reference decoder of the source says.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from torch import Tensor

import convert.children as children
from convert.checkpoint.stored import Checkpoint
from convert.verification.compare import Rows, grid, rows
from convert.verification.verdict import Logits, Stock, Tolerance
from surgery.errors import listed, show

_ANGLE = 2.0**-24  # transformers takes angles in float32: each position adds this much to what they may be off by

Side = Literal["source", "output"]


class Task(Protocol):
    """Which checkpoints to run, and the limits of each run."""

    @property
    def source(self) -> Checkpoint: ...
    @property
    def output(self) -> Checkpoint: ...
    @property
    def seconds(self) -> float: ...
    def allowed(self, checkpoint: Checkpoint) -> int: ...


def compared(
    task: Task, reference: Rows, ids: Tensor, vocabulary: int, tolerance: Tolerance, amplification: float
) -> tuple[Stock, ...]:
    """The output by its stock class, the source by its own where there is one, against `reference` and each other."""
    allowed = tolerance.logits(amplification) + max(amplification, 1.0) * ids.shape[1] * _ANGLE
    blocks = grid(vocabulary, ids.numel())
    with tempfile.TemporaryDirectory(prefix="weightsmith-stock-") as folder:
        sides: dict[Side, Mapping[str, Any]] = {
            "output": _run(task.output, ids, Path(folder) / "output", task),
            "source": _run(task.source, ids, Path(folder) / "source", task),
        }
        found = []
        for side, told in sides.items():
            if "logits" not in told:
                fault = side == "output" and not told["absent"]
                found.append(Stock(side, told["runner"], "", None, told["because"], fault))
                continue
            logits = rows(reference, _recorded(told["logits"]), blocks, allowed)
            known = {*task.source.tensors, *sides["source"].get("faults", {}).get("unexpected keys", ())}
            faults = {kind: [name for name in names if name not in known] for kind, names in told["faults"].items()}
            said = "; ".join(f"{kind}: {listed(map(show, names))}" for kind, names in faults.items() if names)
            against = "the reference decoder of the source"
            found.append(Stock(side, told["runner"], against, logits, said, bool(said) and side == "output"))
        if all("logits" in told for told in sides.values()):
            each = [_recorded(sides[side]["logits"]) for side in ("source", "output")]
            between: Logits = rows(each[0], each[1], blocks, allowed)
            against = f"{sides['source']['runner']} on the source"
            found.append(Stock("output", sides["output"]["runner"], against, between))
    return tuple(found)


def _recorded(file: str) -> Rows:
    """The logits of a file [batch, position, vocabulary], mapped and not loaded."""
    from safetensors import safe_open

    with safe_open(file, "pt") as opened:
        logits = opened.get_tensor("logits").flatten(0, 1)
    return lambda start, stop: logits[:, start:stop]


def _run(checkpoint: Checkpoint, ids: Tensor, out: Path, task: Task) -> Mapping[str, Any]:
    """What the process told: `logits`, a file, with `runner` and `faults`; or `because`, and if a class is `absent`."""
    if not all(name.endswith(".safetensors") for name in checkpoint.files):
        why = "the weights are torch files, which are not given to others to unpickle"
        return {"runner": "transformers", "absent": True, "because": why}
    asked = {"folder": str(checkpoint.path), "ids": ids.tolist(), "out": str(out), "memory": task.allowed(checkpoint)}
    try:
        # no session of its own: this runs in the verifier's process, and is to end with it
        with children.offline() as env:
            done = children.run(
                "convert.verification.stock_process:main", asked, env=env, seconds=task.seconds, session=False
            )
    except children.TooLong:
        return {"runner": "transformers", "absent": False, "because": f"it did not end within {task.seconds:g} seconds"}
    if done.status != 0:  # no fault of ours as a rule: the library met a file that it does not take
        why = f"its process ended with {done.how}: {done.refusal or show(done.last, 300)}"
        return {"runner": "transformers", "absent": False, "because": why}
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told
