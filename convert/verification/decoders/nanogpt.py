"""nanoGPT: GPT-2's function from Linear matrices, with exact GELU, biases only on request, eps fixed at 1e-5.

Written from karpathy/nanoGPT model.py: LayerNorm, CausalSelfAttention, MLP (nn.GELU), GPTConfig. The config is the
`model_args` of its ckpt.pt.
"""

from __future__ import annotations

from convert.verification.decoder import Config
from convert.verification.decoders.gpt2 import GPT2
from convert.verification.weights import Weights


class NanoGPT(GPT2):
    family = "nanogpt"
    conv1d = False

    def __init__(self, weights: Weights, config: Config, variant: str | None = None) -> None:
        fixed = {"activation_function": "gelu", "layer_norm_epsilon": 1e-5, "tie_word_embeddings": True}
        arguments = {**config["model_args"], **fixed, "scale_attn_weights": True}
        super().__init__(weights, arguments)
        self.biased = bool(arguments["bias"])


def recognise(config: Config) -> bool:
    return "n_layer" in (config.get("model_args") or {})


decoder = NanoGPT
