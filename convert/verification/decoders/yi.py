"""Yi before it became plain Llama: Llama with `ln1` and `ln2`.

Written from 01-ai/Yi-6B modeling_yi.py:131-146, :211-215, :336-337 (class defaults: rope_theta 5e6, eps 1e-5).
"""

from __future__ import annotations

from convert.verification.decoder import Config
from convert.verification.trunk import Trunk


class Yi(Trunk):
    family = "yi"
    input_norm, mlp_norm = "ln1.weight", "ln2.weight"


def recognise(config: Config) -> bool:
    return config.get("model_type") == "Yi"


decoder = Yi
