"""Mistral: Llama with a sliding window, which is 4096 where the key is missing and off where it is null.

Written from transformers 5.23.0, models/mistral/configuration_mistral.py:80 and masking_utils.py:94-95.
"""

from __future__ import annotations

from convert.verification.decoder import Config
from convert.verification.trunk import Trunk
from convert.verification.weights import Weights


class Mistral(Trunk):
    family = "mistral"

    def __init__(self, weights: Weights, config: Config, variant: str | None = None) -> None:
        super().__init__(weights, config)
        self.window = config["sliding_window"]


def recognise(config: Config) -> bool:
    return config.get("model_type") == "mistral"


decoder = Mistral
