"""InternLM 1: Llama with one `bias` key for q, k, v and o, and rope under `rotary`.

Written from internlm/internlm-7b modeling_internlm.py:205-218 (dynamic, inert within the context), :300-323;
num_key_value_heads is ignored.
"""

from __future__ import annotations

from convert.verification.decoder import Config, architectures
from convert.verification.trunk import Trunk
from convert.verification.weights import Weights


class InternLM(Trunk):
    family = "internlm"

    def __init__(self, weights: Weights, config: Config, variant: str | None = None) -> None:
        rotary = config.get("rotary") or {"base": 10000, "type": "dynamic"}
        scaling = {"rope_type": "dynamic", "factor": rotary.get("scaling_factor") or 1.0}
        keys = {
            "num_key_value_heads": None,
            "rope_theta": rotary.get("base", 10000),
            "rope_scaling": scaling if rotary.get("type") == "dynamic" else None,
        }
        super().__init__(weights, {**config, **keys})
        self.qkv_bias = self.o_bias = bool(config["bias"])


def recognise(config: Config) -> bool:
    return config.get("model_type") == "internlm" and "InternLM2ForCausalLM" not in architectures(config)


decoder = InternLM
