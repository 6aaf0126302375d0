"""Verification in a process of its own: the parent never loads torch, and a crash there harms nothing here."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import convert.children as children
from convert.verification.asked import NOTHING, Asked
from convert.verification.verdict import Compute, Exactness, Mode, Verdict
from surgery.apart.confined import forbid_network, limit_memory

_BLOCK = str(4 << 20)


def run_child(
    source: Path | str,
    output: Path | str,
    *,
    exactness: Exactness,
    mode: Mode = "full",
    compute: Compute = "float32",
    variant: str | None = None,
    output_variant: str | None = None,
    prompts: list[list[int]] | None = None,
    seed: int = 0,
    device: str = "cpu",
    with_transformers: bool = False,
    witness_seconds: float = 3600.0,
    witness_memory: int | None = None,
    additions: Sequence[Mapping[str, Any]] = (),
    shared: tuple[Sequence[int], Sequence[int]] | None = None,
    asked: Asked = NOTHING,
    memory: int | None = None,
    threads: int | None = None,
) -> Verdict:
    """`convert.verification.run.verify` on two checkpoints in a child process without network.

    `memory` bounds in bytes what the child maps beyond torch itself (weight files that are mapped count). What the
    child refuses is raised here in its own kind; a child that dies raises what `children.Ended.answer` says.
    """
    options = {
        "mode": mode, "exactness": exactness, "compute": compute, "variant": variant,
        "output_variant": output_variant, "prompts": prompts, "seed": seed, "device": device,
        "with_transformers": with_transformers, "witness_seconds": witness_seconds, "witness_memory": witness_memory,
        "additions": list(additions),
        "shared": [list(ids) for ids in shared] if shared is not None else None,
        "asked": asked.to_json(),
    }  # fmt: skip
    task = {"source": str(source), "output": str(output), "options": options, "memory": memory, "threads": threads}
    # large blocks go back when freed: the bound holds
    done = children.run("convert.verification.child:main", task, env={**os.environ, "MALLOC_MMAP_THRESHOLD_": _BLOCK})
    return Verdict.from_json(json.loads(done.answer("verifies")))


def main() -> None:
    """The child: a task as JSON on stdin, a verdict as JSON on stdout."""
    task: dict[str, Any] = json.load(sys.stdin)
    forbid_network()
    import torch

    if task["threads"]:
        torch.set_num_threads(task["threads"])
    limit_memory(task["memory"])
    from convert.checkpoint import open_checkpoint
    from convert.verification.run import verify

    checkpoints = open_checkpoint(Path(task["source"])), open_checkpoint(Path(task["output"]))
    asked = Asked.from_json(task["options"].pop("asked"))
    verdict = verify(*checkpoints, asked=asked, **task["options"])
    json.dump(verdict.to_json(), sys.stdout)
