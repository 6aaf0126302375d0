"""One reference decoder per family; the registry is the folder's listing.

A module offers `recognise(config) -> bool`, which looks at config.json alone, and `decoder`, its class.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from types import ModuleType

from convert.verification.decoder import Config, Decoder
from convert.verification.meaning import completed
from convert.verification.weights import Weights
from surgery.errors import ConversionError, show


def decoder_for(config: Config, weights: Weights, variant: str | None = None) -> Decoder:
    """The decoder that config.json asks for.

    `variant` says which Baichuan it is (7b, 13b, 2-7b, 2-13b), or which of Meta's Llamas; others have no need of it. What
    the config leaves out is what the family's class has.
    """
    config = completed(config)
    fitting = [module for module in _modules() if module.recognise(config)]
    if len(fitting) != 1:
        names = ", ".join(module.__name__.rpartition(".")[2] for module in fitting)
        raise ConversionError(
            f"No single reference decoder can verify this checkpoint: its config (model_type "
            f"{show(config.get('model_type'))}, architectures {show(config.get('architectures'))}) "
            f"fits {names or 'none'}."
        )
    made: Decoder = fitting[0].decoder(weights, config, variant)
    return made


def families() -> tuple[str, ...]:
    """The names of all families that can be verified."""
    return tuple(module.__name__.rpartition(".")[2] for module in _modules())


def _modules() -> list[ModuleType]:
    return [import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
