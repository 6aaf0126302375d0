"""Conversions between families, judged by others: the vendors' logits, transformers' classes, torch's bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from convert.checkpoint import open_checkpoint
from convert.planning import Plan
from convert.prepare import plan_conversion
from tests.goldens import golden
from tests.oracle import native_logits, same_bits, tensors
from tests.writing import write


def converted(source: Path, to: str, out: Path, **options: Any) -> Plan:
    """The plan after it was carried out and verified."""
    plan = plan_conversion(open_checkpoint(source), to, **options)
    done = write(plan, out)
    assert done.verdict is not None and done.verdict.passed
    return plan


def logits_apart(case: str, folder: Path, first: int | None = None) -> float:
    """How far transformers' own class is from the vendor's logits of a golden case, or of its first tokens."""
    truth = load_file(golden(case).logits)
    ids, logits = truth["input_ids"][:, :first], truth["logits"][:, :first]
    return (native_logits(folder, ids) - logits).abs().max().item()


def same_tensors(one: Path | dict[str, torch.Tensor], other: Path | dict[str, torch.Tensor]) -> bool:
    """Whether two checkpoints hold the same names with the same bytes."""
    a, b = (tensors(each) if isinstance(each, Path) else each for each in (one, other))
    return a.keys() == b.keys() and all(same_bits(a[name], b[name]) for name in a)


def config_of(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return loaded


def saved(model: Any, folder: Path) -> Path:
    """A model of transformers as it saves itself."""
    model.save_pretrained(folder)
    return folder


def randomised(model: Any, seed: int = 0) -> Any:
    """The model with every parameter drawn anew: norms and biases too, lest a mistake hide behind ones and zeros."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2 + (parameter.dim() == 1) * 0.6)
    return model.eval()


def tokens(count: int, vocab: int) -> torch.Tensor:
    return torch.randint(vocab, (2, count), generator=torch.Generator().manual_seed(1))
