"""StableLM: a Llama with LayerNorms that have biases, a quarter of each head rotated, and options; it cannot be Llama.

transformers 5.23 models/stablelm/modeling_stablelm.py: the first head_dim * partial_rotary_factor of a head are
rotated (230, 280-285); use_qkv_bias (239-242); qk_layernorm normalises every head with a weight of its own (157-161);
with use_parallel_residual one norm serves attention and MLP (357-362). The bias of the final norm has no place in a
Llama.
"""

from mappings.family import Fixed, Of, Recognise, Row, Setting
from mappings.llama import LLAMA, L, R
from mappings.special import special
from mappings.via import switch
from mappings.via_rope import GLM_ROPE

_SHARED = "(kv group (two pair + two half)) hidden"

STABLELM = LLAMA.derive(
    name="stablelm",
    title="StableLM",
    recognise=Recognise(model_type="stablelm", architectures=("StableLmForCausalLM",)),
    architecture="StableLmForCausalLM",
    model_type="stablelm",
    source="transformers 5.23 models/stablelm/modeling_stablelm.py",
    settings=(
        *special(0, 0),
        Setting("kv", "num_key_value_heads", default=32),
        Setting("norm.eps", "layer_norm_eps", default=1e-5),
        Setting("context", "max_position_embeddings", default=4096),
        Setting(
            "rope.theta rope.scaling",
            "rope_theta rope_scaling rope_parameters original_max_position_embeddings",
            default=(10000.0, None),
            via=GLM_ROPE,
        ),
        Setting("rope.share", "partial_rotary_factor rope_parameters.partial_rotary_factor", default=0.25),
        Setting("bias.qkv", "use_qkv_bias", default=False),
        Setting("norm.qk", "qk_layernorm", default=None, via=switch("layer")),
        Setting("block.parallel", "use_parallel_residual", default=False),
        Fixed("norm.kind", "layer", "LayerNorm takes the mean away"),
        Fixed("bias.norm", True, "LayerNorm has a bias"),
        Fixed("head", Of("hidden", over="heads"), "head_dim is hidden_size / num_attention_heads"),
        Fixed("bias.o", False, "the attention output has no bias"),
        Fixed("bias.mlp", False, "the MLP has no biases"),
    ),
    rows=(
        Row(L + "input_layernorm.weight", R + "attention_norm", "hidden", bias="bias.norm"),
        Row(L + "self_attn.q_proj.weight", f"{R}q {R}q_still", _SHARED, bias="bias.qkv"),
        Row(L + "self_attn.k_proj.weight", f"{R}k {R}k_still", "(kv (two pair + two half)) hidden", bias="bias.qkv"),
        Row(
            L + "self_attn.q_layernorm.norms.{heads}.weight",
            R + "query.{heads}.norm " + R + "query.{heads}.norm_still",
            "(two pair + two half)",
            when="norm.qk",
        ),
        Row(
            L + "self_attn.k_layernorm.norms.{kv}.weight",
            R + "key.{kv}.norm " + R + "key.{kv}.norm_still",
            "(two pair + two half)",
            when="norm.qk",
        ),
        Row(L + "post_attention_layernorm.weight", R + "mlp_norm", "hidden", when="!block.parallel", bias="bias.norm"),
        Row("model.norm.weight", "norm", "hidden", bias="bias.norm"),
    ),
)

FAMILIES = (STABLELM,)
