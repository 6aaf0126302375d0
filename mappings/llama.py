"""Llama: the hub's own shape, so its table is the plainest there is.

transformers models/llama/modeling_llama.py (5.23): ``attention_bias`` puts a bias on q, k, v and o at once (lines 220-229),
``mlp_bias`` on all three of the MLP, ``head_dim`` may differ from hidden / heads, and rope is half-split.
"""

from mappings.family import Family, Fixed, Harmless, Leave, Of, Recognise, Row, Setting
from mappings.special import special
from mappings.via import ACTIVATION, ROPE

L = "model.layers.{layer}."
R = "layer.{layer}."

#: what most classes of the transformers library have
INIT = Setting("init.range", "initializer_range", default=0.02)
COMMON = (*special(1, 2), INIT)

#: the sizes under the names that most families share
SIZES = (
    Setting("layer", "num_hidden_layers"),
    Setting("hidden", "hidden_size"),
    Setting("vocab", "vocab_size"),
    Setting("ffn", "intermediate_size"),
    Setting("heads", "num_attention_heads"),
)

#: buffers that early transformers versions saved; every loader recomputes them
INV_FREQ = Leave(L + "self_attn.rotary_emb.inv_freq", "recomputed from rope_theta")

LLAMA = Family(
    name="llama",
    title="Llama",
    recognise=Recognise(architectures=("LlamaForCausalLM", "LLaMAForCausalLM"), model_type="llama"),
    architecture="LlamaForCausalLM",
    multiples=(("hidden", "heads"),),
    model_type="llama",
    source="transformers 5.23 models/llama/modeling_llama.py",
    settings=(
        *SIZES,
        *COMMON,
        Setting("kv", "num_key_value_heads", default=Of("heads")),
        Setting("head", "head_dim", default=Of("hidden", over="heads")),
        Setting("norm.eps", "rms_norm_eps", default=1e-6),
        Setting("activation", "hidden_act", default="silu", via=ACTIVATION),
        Setting(
            "rope.theta rope.scaling",
            "rope_theta rope_scaling rope_parameters original_max_position_embeddings",
            default=(10000.0, None),
            via=ROPE,
        ),
        Setting("context", "max_position_embeddings", default=2048),
        Setting("bias.qkv bias.o", "attention_bias", default=False),
        Setting("bias.mlp", "mlp_bias", default=False),
        Setting("tied", "tie_word_embeddings", default=False),
        Fixed("positions", "rope", "modeling_llama.py rotates every head"),
    ),
    rows=(
        Row("model.embed_tokens.weight", "embed", "vocab hidden"),
        Row(L + "input_layernorm.weight", R + "attention_norm", "hidden"),
        Row(L + "self_attn.q_proj.weight", f"{R}q {R}q_still", "(kv group two (pair + half)) hidden", bias="bias.qkv"),
        Row(L + "self_attn.k_proj.weight", f"{R}k {R}k_still", "(kv two (pair + half)) hidden", bias="bias.qkv"),
        Row(L + "self_attn.v_proj.weight", R + "v", "(kv head) hidden", bias="bias.qkv"),
        Row(L + "self_attn.o_proj.weight", R + "o", "hidden (kv group head)", bias="bias.o"),
        Row(L + "post_attention_layernorm.weight", R + "mlp_norm", "hidden"),
        Row(L + "mlp.gate_proj.weight", R + "gate", "ffn hidden", bias="bias.mlp"),
        Row(L + "mlp.up_proj.weight", R + "up", "ffn hidden", bias="bias.mlp"),
        Row(L + "mlp.down_proj.weight", R + "down", "hidden ffn", bias="bias.mlp"),
        Row("model.norm.weight", "norm", "hidden"),
        Row("lm_head.weight", "head", "vocab hidden", when="!tied"),
    ),
    leave=(INV_FREQ,),
    harmless=(
        Harmless("model_max_length max_sequence_length", "limits of the tokenizer"),
        Harmless("is_llama_config rope_interleaved internal_version", "marks of some releases that no code reads"),
    ),
    constants={"use_cache": True},
)

FAMILIES = (LLAMA,)
