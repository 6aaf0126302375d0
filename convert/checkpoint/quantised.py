"""Quantised sources: recognised by config and by tensor names, refused by name with what to do instead."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from convert.checkpoint.stored import Checkpoint
from surgery.errors import ConversionError, listed, show

#: kept as they are by the readers of their families: bytes with a scale beside them, which are dequantised exactly.
READABLE = frozenset({"fp8"})

#: what the last part of a tensor's name says about who quantised it.
SUFFIXES = {
    "qweight": "GPTQ or AWQ",
    "qzeros": "GPTQ or AWQ",
    "g_idx": "GPTQ",
    "scales": "GPTQ, AWQ or MLX",
    "absmax": "bitsandbytes",
    "nested_absmax": "bitsandbytes",
    "quant_map": "bitsandbytes",
    "SCB": "bitsandbytes",
    "weight_packed": "compressed-tensors",
    "weight_shape": "compressed-tensors",
}


def refuse_quantised(checkpoint: Checkpoint) -> None:
    """Raise when the weights are not plain numbers. fp8 with scales passes; `inspect` does not call this."""
    reason = next(_reasons(checkpoint), None)
    if reason is not None:
        raise ConversionError(
            f"{show(str(checkpoint.path))} is quantised: {reason}. Its weights are codes, not numbers, and would be "
            f"wrong if they were rearranged. Convert the original checkpoint (float16 or bfloat16) that it was made "
            f"from, then quantise the result again."
        )


def _reasons(checkpoint: Checkpoint) -> Iterator[str]:
    for config in (checkpoint.config, checkpoint.config.get("text_config")):
        if isinstance(config, Mapping):
            yield from _reasons_in_config(checkpoint.config_name, config)
    marks: dict[str, list[str]] = {}
    for name in checkpoint.tensors:
        last = name.rpartition(".")[2]
        if last in SUFFIXES:
            marks.setdefault(SUFFIXES[last], []).append(name)
    for method, names in marks.items():
        yield f"tensors such as {listed((show(name) for name in names), most=2)} are written by {method}"


def _reasons_in_config(where: str, config: Mapping[str, Any]) -> Iterator[str]:
    settings = config.get("quantization_config")
    if isinstance(settings, Mapping):
        method = settings.get("quant_method", "unnamed")
        if method not in READABLE:
            yield f"{where} has a quantization_config with the method {show(method)}"
    elif settings is not None:
        yield f"{where} has the quantization_config {show(settings)}"
    if config.get("quantization_bit"):  # ChatGLM's own quantisation; 0 means none
        yield f"{where} has quantization_bit {show(config['quantization_bit'])}"
