"""Mistral: Llama without biases, whose attention may look back no further than a window.

transformers 5.23 models/mistral: a key is seen iff it is less than sliding_window tokens back, in every layer
(modeling_mistral.py 353, masking_utils.py 94-95). A missing sliding_window is 4096, a null one none; a missing
num_key_value_heads is 8 (configuration_mistral.py 64-81).
"""

from mappings.family import Fixed, Of, Recognise, Setting
from mappings.llama import LLAMA

MISTRAL = LLAMA.derive(
    name="mistral",
    title="Mistral",
    recognise=Recognise(model_type="mistral", architectures=("MistralForCausalLM",)),
    architecture="MistralForCausalLM",
    model_type="mistral",
    source="transformers 5.23 models/mistral/modeling_mistral.py",
    settings=(
        Setting("kv", "num_key_value_heads", default=8, null=Of("heads")),
        Setting("context", "max_position_embeddings", default=131072),
        Setting("window", "sliding_window", default=4096, null=None),
        Fixed("bias.qkv", False, "no linear has a bias"),
        Fixed("bias.o", False, "no linear has a bias"),
        Fixed("bias.mlp", False, "no linear has a bias"),
    ),
)

FAMILIES = (MISTRAL,)
