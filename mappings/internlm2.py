"""InternLM2: Llama with other names, and one wqkv that holds, for each key-value head, its queries, its key and its value.

Read in internlm/internlm2-7b modeling_internlm2.py: the grouped view (kv, group + 2, head_dim) at 314-324; w1 is the gate,
w3 up, w2 down (204-210). The configuration class has bias=True and rope_theta=10000 where the key is missing; published
configs state both. With ``bias`` the output projection has one too (256-261).
"""

from mappings.family import Fixed, Of, Recognise, Row, Setting
from mappings.llama import LLAMA
from mappings.special import special
from mappings.via import OLD_ROPE

M = "model.layers.{layer}."
R = "layer.{layer}."

INTERNLM2 = LLAMA.derive(
    name="internlm2",
    title="InternLM2",
    recognise=Recognise(architectures=("InternLM2ForCausalLM",)),  # the first chat release says model_type internlm
    architecture="InternLM2ForCausalLM",
    model_type="internlm2",
    source="internlm/internlm2-7b@3909fd28 modeling_internlm2.py",
    settings=(
        *special(1, 2, 0),
        Setting("rope.theta rope.scaling", "rope_theta rope_scaling", default=(10000.0, None), via=OLD_ROPE),
        Setting("bias.qkv bias.o", "bias", default=True),
        Fixed("bias.mlp", False, "the MLP has no biases"),
        Fixed("head", Of("hidden", over="heads"), "head_dim is hidden_size / num_attention_heads"),
    ),
    rows=(
        Row("model.tok_embeddings.weight", "embed", "vocab hidden"),
        Row(M + "attention_norm.weight", R + "attention_norm", "hidden"),
        Row(
            M + "attention.wqkv.weight",
            f"{R}q {R}k {R}v",
            "(kv ((group two pair) + (two pair) + head)) hidden",
            bias="bias.qkv",
        ),
        Row(M + "attention.wo.weight", R + "o", "hidden (kv group head)", bias="bias.o"),
        Row(M + "ffn_norm.weight", R + "mlp_norm", "hidden"),
        Row(M + "feed_forward.w1.weight", R + "gate", "ffn hidden"),
        Row(M + "feed_forward.w3.weight", R + "up", "ffn hidden"),
        Row(M + "feed_forward.w2.weight", R + "down", "hidden ffn"),
        Row("output.weight", "head", "vocab hidden", when="!tied"),
    ),
)

FAMILIES = (INTERNLM2,)
