"""What a reference decoder is: a model in pieces that can be run, and compared, one at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from torch import Tensor

from convert.verification.weights import Weights
from surgery.errors import ConversionError

Config = Mapping[str, Any]
_CONTEXT = (
    "max_position_embeddings",
    "model_max_length",
    "seq_length",
    "max_sequence_length",
    "n_positions",
    "block_size",
)

#: Called with "embed", (layer, sub-block) after each sub-block, and "final"; the tensor is the residual stream.
Observer = Callable[[str | tuple[int, str], Tensor], None]


class Decoder(ABC):
    """One checkpoint as a function from token ids to logits, split where two checkpoints may be compared.

    Every sub-block maps the residual stream [batch, position, hidden] to the residual stream. `ids` is handed to each,
    for the few architectures whose mask depends on tokens. Nothing is kept between calls.
    """

    family: ClassVar[str]
    steps: tuple[str, ...] = ("attention", "mlp")
    layers: int
    hidden: int
    vocab: int

    def __init__(self, weights: Weights, config: Config, variant: str | None = None) -> None:
        self.weights, self.config = weights, config

    @property
    def context(self) -> int | None:
        """The length up to which the architecture is defined, or up to which its rotation stays the same."""
        return min((self.config[key] for key in _CONTEXT if self.config.get(key)), default=None)

    @abstractmethod
    def embed(self, ids: Tensor) -> Tensor:
        """The input of the first layer, with whatever the architecture does to embeddings."""

    @abstractmethod
    def finish(self, x: Tensor) -> Tensor:
        """The final norm, and whatever else comes before the head."""

    @abstractmethod
    def head(self, x: Tensor, start: int, stop: int) -> Tensor:
        """Logits of the tokens start..stop from what `finish` returned."""

    def step(self, label: str, layer: int, x: Tensor, ids: Tensor) -> Tensor:
        """The residual stream after one sub-block."""
        run: Callable[[int, Tensor, Tensor], Tensor] = getattr(self, label)
        return run(layer, x, ids)

    def layer(self, layer: int, x: Tensor, ids: Tensor) -> Tensor:
        """The residual stream after one whole layer."""
        for label in self.steps:
            x = self.step(label, layer, x, ids)
        return x


def decode(decoder: Decoder, ids: Tensor, observe: Observer = lambda label, x: None) -> Tensor:
    """All logits at once, [batch, position, vocabulary]: for small models; `compare` streams them."""
    x = decoder.embed(ids)
    observe("embed", x)
    for layer in range(decoder.layers):
        for label in decoder.steps:
            x = decoder.step(label, layer, x, ids)
            observe((layer, label), x)
    x = decoder.finish(x)
    observe("final", x)
    return decoder.head(x, 0, decoder.vocab)


def required(config: Config, *keys: str) -> Any:
    """The value of the first key that is present; the later ones are older spellings."""
    for key in keys:
        if config.get(key) is not None:
            return config[key]
    raise ConversionError(f"config.json has no {' or '.join(keys)}, without which nothing can be computed.")


def architectures(config: Config) -> tuple[str, ...]:
    """The classes config.json declares."""
    return tuple(config.get("architectures") or ())
