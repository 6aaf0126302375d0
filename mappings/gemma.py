"""Gemma 1: Llama whose norms multiply by 1 + weight, with embeddings times the root of their width and GELU by tanh.

transformers 5.23 models/gemma/modeling_gemma.py: norms (60-76), embeddings (363); "gelu" of the first configs means
the tanh form (configuration_gemma.py 90-95). google/gemma_pytorch gemma/model.py: 186, 208, 597. The head is tied,
and head_dim has nothing to do with hidden_size / num_attention_heads.
"""

from mappings.family import Fixed, Recognise, Setting
from mappings.llama import LLAMA
from mappings.special import special
from mappings.via_scales import one_of

GELU = one_of("gelu_pytorch_tanh", "gelu", why="loaders disagree about any other activation of Gemma")

GEMMA = LLAMA.derive(
    name="gemma",
    title="Gemma 1",
    recognise=Recognise(model_type="gemma", architectures=("GemmaForCausalLM",)),
    architecture="GemmaForCausalLM",
    model_type="gemma",
    source="transformers 5.23 models/gemma/modeling_gemma.py",
    settings=(
        *special(2, 1, 0),
        Setting("kv", "num_key_value_heads", default=16),
        Setting("head", "head_dim", default=256),
        Setting("", "hidden_act hidden_activation", default=(), via=GELU),
        Setting("context", "max_position_embeddings", default=8192),
        Setting("tied", "tie_word_embeddings", default=True),
        Fixed("activation", "gelu_tanh", "GELU by tanh, also where the config says plain gelu"),
        Fixed("norm.offset", 1.0, "norms multiply by 1 + weight"),
        Fixed("embed.scale", "root of hidden", "embeddings are multiplied by the root of hidden_size"),
        Fixed("bias.mlp", False, "the MLP has no biases"),
    ),
    notes=(
        "Embeddings are multiplied by the true root of hidden_size, as in float32; in bfloat16 the vendor's code "
        "rounds that root first.",
    ),
)

FAMILIES = (GEMMA,)
