"""Qwen 3: Llama whose queries and keys are normalised head by head before they are rotated, so it cannot be Llama.

transformers 5.23 models/qwen3: the norms (modeling_qwen3.py 229-245), attention_bias on q, k, v and o, windows as in
Qwen 2. The norm divides by what the data is, which no weight of a linear can do.
"""

from mappings.family import Fixed, Of, Recognise, Row, Setting
from mappings.llama import LLAMA, L, R
from mappings.qwen2 import WINDOW
from mappings.special import special

QWEN3 = LLAMA.derive(
    name="qwen3",
    title="Qwen 3",
    recognise=Recognise(model_type="qwen3", architectures=("Qwen3ForCausalLM",)),
    architecture="Qwen3ForCausalLM",
    model_type="qwen3",
    source="transformers 5.23 models/qwen3/modeling_qwen3.py",
    settings=(
        *special(None, None),
        Setting("kv", "num_key_value_heads", default=32, null=Of("heads")),
        Setting("head", "head_dim", default=128),
        Setting("context", "max_position_embeddings", default=32768),
        WINDOW,
        Fixed("bias.mlp", False, "the MLP has no biases"),
        Fixed("norm.qk", "rms", "q_norm and k_norm normalise each head"),
    ),
    rows=(
        Row(L + "self_attn.q_norm.weight", f"{R}q_norm {R}q_norm_still", "(two (pair + half))"),
        Row(L + "self_attn.k_norm.weight", f"{R}k_norm {R}k_norm_still", "(two (pair + half))"),
    ),
)

FAMILIES = (QWEN3,)
