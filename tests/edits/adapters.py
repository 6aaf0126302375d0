"""Adapters that peft itself makes, with random weights, and what peft says the merged model is."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tests.oracle import transformers


@dataclass(frozen=True)
class Trained:
    """An adapter as peft saved it; what its model computes unmerged; the tensors that peft merges to."""

    folder: Path
    logits: torch.Tensor
    merged: dict[str, torch.Tensor]


def load(base: Path, dtype: torch.dtype = torch.float32) -> Any:
    model = transformers().AutoModelForCausalLM.from_pretrained(base, dtype=dtype, attn_implementation="eager")
    return model.eval()


def trained(base: Path, folder: Path, ids: torch.Tensor, *, seed: int = 0, safe: bool = True, **options: Any) -> Trained:
    """An adapter with random weights for the model at ``base``; ``options`` are those of peft's LoraConfig."""
    import peft

    options = {"r": 4, "lora_alpha": 6, "task_type": "CAUSAL_LM", **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        model = peft.get_peft_model(load(base), peft.LoraConfig(**options)).eval()
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.data = torch.randn_like(parameter) * (0.05 if "lora" in name else 0.2)
        model.save_pretrained(folder, safe_serialization=safe)
        with torch.inference_mode():
            logits = model(ids).logits
        merged = model.merge_and_unload().state_dict()
    return Trained(folder, logits, {name: tensor.detach().clone() for name, tensor in merged.items()})


def written(folder: Path, tensors: dict[str, torch.Tensor], **config: Any) -> Path:
    """An adapter written by hand: keys are completed by peft's prefix."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    told = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, **config}
    (folder / "adapter_config.json").write_text(json.dumps({k: v for k, v in told.items() if v is not ...}))
    save_file({f"base_model.model.{name}": tensor for name, tensor in tensors.items()}, folder / "adapter_model.safetensors")
    return folder


def ulps(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest difference, in units of the last place of the larger value of the row: sums of many terms cancel."""
    largest = torch.maximum(one.abs(), other.abs()).amax(-1, keepdim=True)
    exponent = torch.floor(torch.log2(largest.double().clamp_min(1e-30)))
    unit = torch.finfo(one.dtype).eps * 2.0**exponent
    return float(((one.double() - other.double()).abs() / unit).max())
