"""What the bytes of a finished shard depend on: so much that it can be kept by any run that would write the same.

Tokenizer, card, verification and documents are none of it; the source's files are as far as the shard reads them.
"""

from __future__ import annotations

import hashlib
import json

from convert.checkpoint import Checkpoint
from convert.checkpoint.files import identity
from convert.planning import FORMAT, OutputFile, Plan


def shard_keys(plan: Plan) -> dict[str, str]:
    """A word for every file of the plan: layout, types, what each tensor is made of, and the files that it is made from."""
    return {file.name: _key(file, plan.checkpoint) for file in plan.files}


def _key(file: OutputFile, checkpoint: Checkpoint) -> str:
    told = hashlib.sha256(f"weightsmith {FORMAT} {file.size}\n".encode() + file.header)
    read: set[str] = set()
    for output in file.outputs:
        told.update(repr((output.name, output.dtype, output.shape, output.boxes, output.parts, output.bits)).encode())
        for name in sorted(output.reads):
            told.update(repr(checkpoint.tensors[name]).encode())
            read.add(checkpoint.tensors[name].file)
        read |= output.bits.files if output.bits is not None else frozenset()
    told.update(json.dumps([identity(checkpoint.files[name]) for name in sorted(read)]).encode())
    return told.hexdigest()
