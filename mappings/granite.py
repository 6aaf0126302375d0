"""Granite 3, dense: Llama's tensors, with factors on embeddings, branches, attention scores and logits.

transformers 5.23 models/granite/modeling_granite.py: embeddings times embedding_multiplier (386), branches times
residual_multiplier (272, 277), scores times attention_multiplier where others divide by the root of a head's width
(123), logits over logits_scaling (486). All four are 1 where the key is absent (configuration_granite.py 83-86).
"""

from mappings.family import REQUIRED, Of, Recognise, Setting
from mappings.llama import LLAMA
from mappings.via_scales import RESIDUAL_TIMES, SCORES_TIMES, WIDTH_OVER

GRANITE = LLAMA.derive(
    name="granite",
    title="Granite 3, dense",
    recognise=Recognise(model_type="granite", architectures=("GraniteForCausalLM",)),
    architecture="GraniteForCausalLM",
    model_type="granite",
    source="transformers 5.23 models/granite/modeling_granite.py",
    settings=(
        Setting(
            "layer residual.depth", "num_hidden_layers residual_multiplier", default=(REQUIRED, None), via=RESIDUAL_TIMES
        ),
        Setting(
            "hidden logits.base embed.scale",
            "hidden_size logits_scaling embedding_multiplier",
            default=(REQUIRED, None, 1.0),
            via=WIDTH_OVER,
        ),
        Setting(
            "head scores.width",
            "head_dim attention_multiplier hidden_size num_attention_heads",
            default=(Of("hidden", over="heads"), 1.0),
            via=SCORES_TIMES,
        ),
    ),
)

FAMILIES = (GRANITE,)
