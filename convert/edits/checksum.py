"""The sum of all weights of a checkpoint: the check that Stanford Alpaca publishes with its delta (weight_diff.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from convert.checkpoint import open_checkpoint, open_sources, read_rows
from surgery.errors import VerificationFailed, show

_ALLOWED = 1e-2
_BLOCK = 16 << 20  # bytes


def total(path: Path) -> float:
    """The sum of all elements of all tensors, in float64."""
    import torch

    from convert.evaluate import TORCH

    checkpoint = open_checkpoint(path)
    found = 0.0
    with open_sources(checkpoint) as sources:
        for stored in checkpoint.tensors.values():
            if stored.dtype not in TORCH:
                raise VerificationFailed(f"{show(stored.name)} is stored as {stored.dtype}, of which no sum can be taken.")
            whole = stored if stored.shape else replace(stored, shape=(1,), strides=(1,))
            count = whole.shape[0]
            step = max(1, _BLOCK // max(1, whole.nbytes // max(1, count)))
            for first in range(0, count, step):
                rows = read_rows(sources, whole, first, min(first + step, count))
                found += float(torch.frombuffer(rows, dtype=TORCH[whole.dtype]).sum(dtype=torch.float64))
    return found


def check_total(path: Path, expected: float) -> None:
    """Refuse weights that do not add up to ``expected``, within 0.01.

    The published sum may count the buffers ``rotary_emb.inv_freq`` that old checkpoints stored, which no output has.
    """
    found = total(path)
    config = open_checkpoint(path).config
    sums = {found, found + _inverse_frequencies(config)}
    if not any(abs(one - expected) <= _ALLOWED for one in sums):  # a NaN is near nothing
        raise VerificationFailed(
            f"the weights add up to {found:.4f}, but {expected:.4f} was expected. The base or the delta is not the "
            "one that the sum was published for, or --pad should be the other."
        )


def _inverse_frequencies(config: Mapping[str, Any]) -> float:
    """What the rotary buffers of a Llama's layers add up to."""
    try:
        width: int = config["hidden_size"] // config["num_attention_heads"]
        theta = float(config.get("rope_theta") or 10000.0)
        one = sum(theta ** (-i / width) for i in range(0, width, 2))
        return float(config["num_hidden_layers"] * one)
    except (KeyError, TypeError, ZeroDivisionError):
        return 0.0
