"""Judges that are not ours: transformers' own classes, and the tensors of a checkpoint as torch reads them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch


@cache
def transformers() -> Any:
    """The library, quiet: its progress bars and advice are not what is tested."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


def native_logits(folder: Path, ids: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Logits by transformers' native class; every tensor must load, and none may be left over."""
    model, info = transformers().AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, trust_remote_code=False, output_loading_info=True, attn_implementation="eager"
    )
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    model.eval()
    with torch.inference_mode():
        return model(ids, use_cache=False).logits.to(torch.float32)


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a checkpoint directory by name, read by torch and safetensors themselves."""
    from safetensors.torch import load_file

    found: dict[str, torch.Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        found |= load_file(file)
    if not found:
        for file in sorted(folder.glob("*.bin")):
            found |= torch.load(file, weights_only=True)
    return found


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Equal shape, type and bytes."""
    if (a.dtype, a.shape) != (b.dtype, b.shape):
        return False
    return torch.equal(a.contiguous().view(-1).view(torch.uint8), b.contiguous().view(-1).view(torch.uint8))
