"""Where every output tensor comes from: source tensors, how many strided copies, what is computed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from convert.planning import Output, Plan


def lineage(plan: Plan) -> Iterator[dict[str, Any]]:
    """One entry per output tensor, in file order."""
    for file in plan.files:
        for output in file.outputs:
            yield {
                "name": output.name,
                "file": file.name,
                "dtype": output.dtype,
                "shape": list(output.shape),
                "from": sorted(output.reads),
                "how": _how(output),
            }


def lineage_text(plan: Plan) -> str:
    """The lineage as one JSON document."""
    return json.dumps({"digest": plan.digest, "outputs": list(lineage(plan))}, indent=1) + "\n"


def _how(output: Output) -> str:
    if output.computed:
        return ", then ".join(output.operations)
    if not output.reads:
        return "written zeros"
    if len(output.boxes) == 1 and output.boxes[0].contiguous:
        return "one range of bytes"
    copies = "copies" if len(output.boxes) > 1 else "copy"
    return f"{len(output.boxes)} strided {copies}, runs of {min(b.run for b in output.boxes)}"
