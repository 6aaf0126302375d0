"""Aquila 2: Llama under another name, without biases.

Read in FlagAI-Open/FlagAI flagai/model/aquila2/modeling_aquila.py: no biases (269-272), grouped keys repeated as
Llama does (238-247), rope_theta (262, 277-281). Its norm multiplies by the weight before it rounds to the model's
type (95-100), Llama's after: the same in float32, and one rounding apart in half precision.
"""

from mappings.family import Fixed, Of, Recognise, Setting
from mappings.llama import LLAMA
from mappings.special import special
from mappings.via import OLD_ROPE

AQUILA = LLAMA.derive(
    name="aquila",
    title="Aquila 2",
    recognise=Recognise(model_type="aquila", architectures=("AquilaForCausalLM",)),
    architecture="AquilaForCausalLM",
    model_type="aquila",
    source="FlagAI-Open/FlagAI@9a885f33 flagai/model/aquila2/modeling_aquila.py",
    settings=(
        *special(1, 2, 0),
        Setting("rope.theta rope.scaling", "rope_theta rope_scaling", default=(10000.0, None), via=OLD_ROPE),
        Fixed("head", Of("hidden", over="heads"), "head_dim is hidden_size / num_attention_heads"),
        Fixed("bias.qkv", False, "no linear has a bias"),
        Fixed("bias.o", False, "no linear has a bias"),
        Fixed("bias.mlp", False, "no linear has a bias"),
    ),
    notes=(
        "The vendor's norm multiplies by its weight before it rounds to the model's type, Llama's after: the same in float32, "
        "one rounding apart in half precision.",
    ),
)

FAMILIES = (AQUILA,)
