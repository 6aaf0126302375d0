"""MiniCPM 1 and 2: Llama's tensors, with a factor on embeddings, on every branch and on logits.

Read in modeling_minicpm.py of openbmb/MiniCPM-V-2, whose language model is MiniCPM-2B: embeddings times scale_emb
(1212), branches times scale_depth / sqrt(num_hidden_layers) (984, 993), logits of h / (hidden_size / dim_model_base)
(1411); rope is half-split (252). All three are 1 in the configuration class where the key is absent. Whether a
missing tie_word_embeddings means true or false differs between published classes, so the file decides: without
lm_head it is tied. config.json has no model_type.
"""

from mappings.family import REQUIRED, Fixed, Of, Recognise, Setting
from mappings.llama import LLAMA
from mappings.via import OLD_ROPE
from mappings.via_scales import DEPTH, WIDTH

MINICPM = LLAMA.derive(
    name="minicpm",
    title="MiniCPM 1 and 2",
    recognise=Recognise(architectures=("MiniCPMForCausalLM",)),
    architecture="MiniCPMForCausalLM",
    model_type="minicpm",
    source="openbmb/MiniCPM-V-2 modeling_minicpm.py, as HwwwwwwwH/MiniCPM-V-2@fda92ea8 has it",
    settings=(
        Setting("layer residual.depth", "num_hidden_layers scale_depth", default=(REQUIRED, 1), via=DEPTH),
        Setting(
            "hidden logits.base embed.scale",
            "hidden_size dim_model_base scale_emb",
            default=(REQUIRED, 1, 1),
            via=WIDTH,
        ),
        Setting("rope.theta rope.scaling", "rope_theta rope_scaling", default=(10000.0, None), via=OLD_ROPE),
        Setting("tied", "tie_word_embeddings", default=None),
        Fixed("head", Of("hidden", over="heads"), "head_dim is hidden_size / num_attention_heads"),
        Fixed("bias.mlp", False, "the MLP has no biases"),
    ),
)

FAMILIES = (MINICPM,)
