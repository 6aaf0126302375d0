"""Yi before it became plain Llama: Llama with `ln1` and `ln2`.

Written from 01-ai/Yi-6B modeling_yi.py:131-146, :211-215, :336-337 (class defaults: rope_theta 5e6, eps 1e-5).
"""

from __future__ import annotations

from convert.verification.decoder import Config
from convert.verification.trunk import Trunk
from convert.verification.weights import Weights


class Yi(Trunk):
    family = "yi"
    input_norm, mlp_norm = "ln1.weight", "ln2.weight"
    theta = 5000000.0

    def __init__(self, weights: Weights, config: Config, variant: str | None = None) -> None:
        super().__init__(weights, {"rms_norm_eps": 1e-5, **config})


def recognise(config: Config) -> bool:
    return config.get("model_type") == "Yi"


decoder = Yi
