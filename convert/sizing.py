"""How much memory a model needs to run and to train, from its real tensor sizes: the question every user asks.

inference  = weights in the dtype + key-value cache of the context (2 tensors * layers * kv heads * head * bytes a token)
training   = full fine-tuning with AdamW in mixed precision: 2 (weights) + 2 (gradients) + 12 (float32 copy and two moments)
             bytes a parameter; LoRA: the weights in bf16, and 16 bytes for each adapter parameter (here r = 16 on all linears).
Activations depend on the batch and the implementation and are not in these figures.
"""

from __future__ import annotations

from dataclasses import dataclass

from surgery.model import Model

_BYTES = {"float32": 4.0, "bfloat16": 2.0, "int8": 1.0, "int4": 0.5}
_LORA_RANK = 16


@dataclass(frozen=True)
class Need:
    """Bytes that one use of a model needs."""

    use: str
    weights: float
    cache: float = 0.0
    states: float = 0.0

    @property
    def total(self) -> float:
        return self.weights + self.cache + self.states


def needs(model: Model, context: int) -> tuple[Need, ...]:
    """Bytes for inference in several dtypes with one sequence of ``context`` tokens, and for two kinds of training."""
    parameters, facts = model.parameters, model.facts
    cache = 0.0
    if facts.knows("kv") and facts.knows("head"):
        cache = 2.0 * facts["layer"] * facts["kv"] * facts["head"] * 2 * context
    rows = [
        Need(f"inference, {name}", parameters * size, cache * (2 if name == "float32" else 1))
        for name, size in _BYTES.items()
    ]
    adapter = sum(_LORA_RANK * (_out(e.shape) + _over(e.shape)) for n, e in model.tensors.items() if _is_linear(n))
    rows.append(Need("LoRA training, bf16 base, r = 16", parameters * 2.0, states=adapter * 16.0))
    rows.append(Need("full training, AdamW mixed precision", parameters * 2.0, states=parameters * 14.0))
    return tuple(rows)


def _is_linear(name: str) -> bool:
    return name.startswith("layer.") and name.rpartition(".")[2] in ("q", "k", "v", "o", "gate", "up", "down")


def _out(shape: tuple[int, ...]) -> int:
    count = 1
    for n in shape[:-1]:
        count *= n
    return count


def _over(shape: tuple[int, ...]) -> int:
    return shape[-1]
