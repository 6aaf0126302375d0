"""Phi-3, Phi-3.5 and Phi-4: Llama without biases, q, k, v in one tensor and gate, up in another, perhaps with a window.

transformers 5.23 models/phi3: qkv_proj is [q | k | v] with the key-value heads (modeling_phi3.py 219-222),
gate_up_proj is [gate | up] (58-60), sliding_window holds in every layer (384). The only scaling is longrope, whose
lengths stand beside it; partial_rotary_factor (Phi-4-mini) rotates the first part of each head (configuration_phi3.py
88-108).
"""

from mappings.family import REQUIRED, Fixed, Of, Recognise, Row, Setting
from mappings.llama import LLAMA, L, R
from mappings.special import special
from mappings.via_rope import PHI_ROPE

PHI3 = LLAMA.derive(
    name="phi3",
    title="Phi-3 and Phi-4",
    recognise=Recognise(model_type="phi3", architectures=("Phi3ForCausalLM",)),
    architecture="Phi3ForCausalLM",
    model_type="phi3",
    source="transformers 5.23 models/phi3/modeling_phi3.py",
    settings=(
        *special(1, 32000, 32000),
        Setting("norm.eps", "rms_norm_eps", default=1e-5),
        Setting(
            "rope.theta rope.scaling context",
            "rope_theta rope_scaling rope_parameters original_max_position_embeddings max_position_embeddings",
            default=(10000.0, None, REQUIRED),
            via=PHI_ROPE,
            absent={"original_max_position_embeddings": 4096, "max_position_embeddings": 4096},
        ),
        Setting("rope.share", "partial_rotary_factor rope_parameters.partial_rotary_factor", default=1.0),
        Setting("window", "sliding_window", default=None),
        Fixed("head", Of("hidden", over="heads"), "head_dim is hidden_size / num_attention_heads"),
        Fixed("bias.qkv", False, "no linear has a bias"),
        Fixed("bias.o", False, "no linear has a bias"),
        Fixed("bias.mlp", False, "no linear has a bias"),
    ),
    rows=(
        Row(
            L + "self_attn.qkv_proj.weight",
            f"{R}q {R}q_still {R}k {R}k_still {R}v",
            "((kv group (two pair + two half)) + (kv (two pair + two half)) + (kv head)) hidden",
        ),
        Row(L + "self_attn.o_proj.weight", R + "o", "hidden (kv group head)"),
        Row(L + "mlp.gate_up_proj.weight", f"{R}gate {R}up", "(ffn + ffn) hidden"),
        Row(L + "mlp.down_proj.weight", R + "down", "hidden ffn"),
    ),
)

FAMILIES = (PHI3,)
