"""GLM: ChatGLM as transformers stores it: q, k and v apart, [gate | up] together, rotated pairs side by side.

transformers 5.23 models/glm/modeling_glm.py: gate_up_proj (52, 59), rotated pairs 2i and 2i + 1 of the first
partial_rotary_factor of each head (150-196), attention_bias on q, k and v only (211-220). Defaults:
configuration_glm.py 62-77.
"""

from mappings.family import Fixed, Recognise, Row, Setting
from mappings.llama import LLAMA, L, R
from mappings.special import special
from mappings.via_rope import GLM_ROPE

GLM = LLAMA.derive(
    name="glm",
    title="GLM-4 of transformers",
    recognise=Recognise(model_type="glm", architectures=("GlmForCausalLM",)),
    architecture="GlmForCausalLM",
    model_type="glm",
    source="transformers 5.23 models/glm/modeling_glm.py",
    settings=(
        *special(None, [151329, 151336, 151338], 151329),
        Setting("kv", "num_key_value_heads", default=2),
        Setting("head", "head_dim", default=128),
        Setting("norm.eps", "rms_norm_eps", default=1.5625e-07),
        Setting("context", "max_position_embeddings", default=131072),
        Setting(
            "rope.theta rope.scaling",
            "rope_theta rope_scaling rope_parameters original_max_position_embeddings",
            default=(10000.0, None),
            via=GLM_ROPE,
        ),
        Setting("rope.share", "partial_rotary_factor rope_parameters.partial_rotary_factor", default=0.5),
        Setting("bias.qkv", "attention_bias", default=True),
        Fixed("bias.o", False, "the attention output has no bias"),
        Fixed("bias.mlp", False, "the MLP has no biases"),
    ),
    rows=(
        Row(
            L + "self_attn.q_proj.weight",
            f"{R}q {R}q_still",
            "(kv group ((pair two) + (two half))) hidden",
            bias="bias.qkv",
        ),
        Row(
            L + "self_attn.k_proj.weight", f"{R}k {R}k_still", "(kv ((pair two) + (two half))) hidden", bias="bias.qkv"
        ),
        Row(L + "self_attn.o_proj.weight", R + "o", "hidden (kv group head)"),
        Row(L + "mlp.gate_up_proj.weight", f"{R}gate {R}up", "(ffn + ffn) hidden"),
        Row(L + "mlp.down_proj.weight", R + "down", "hidden ffn"),
    ),
)

FAMILIES = (GLM,)
