"""Mixtral: a Llama whose every MLP is a choice of experts. Published files hold each matrix of each expert by itself.

transformers 5 keeps the experts of a layer in one tensor, gate rows first (models/mixtral/modeling_mixtral.py:64-65,
86; conversion_mapping.py:1270); checkpoints in that form are the variant ``fused``. w1 is the gate, w3 up, w2 down.
Scores of the chosen experts are divided by their sum.
"""

from mappings.family import Family, Fixed, Harmless, Of, Recognise, Row, Setting
from mappings.llama import COMMON, L, R
from mappings.via import ACTIVATION, ROPE
from mappings.via_experts import EVERY_LAYER

X = L + "block_sparse_moe."
E = R + "expert.{expert}."

MIXTRAL = Family(
    name="mixtral",
    title="Mixtral",
    recognise=Recognise(model_type="mixtral", architectures=("MixtralForCausalLM",)),
    architecture="MixtralForCausalLM",
    model_type="mixtral",
    source="transformers 5.23 models/mixtral/modeling_mixtral.py",
    settings=(
        Setting("layer layers.moe", "num_hidden_layers", via=EVERY_LAYER),
        Setting("hidden", "hidden_size"),
        Setting("vocab", "vocab_size"),
        Setting("expert_ffn", "intermediate_size"),
        Setting("expert", "num_local_experts"),
        Setting("router.used", "num_experts_per_tok", default=2),
        Setting("heads", "num_attention_heads"),
        Setting("kv", "num_key_value_heads", default=8, null=Of("heads")),
        Setting("head", "head_dim", default=Of("hidden", over="heads")),
        Setting("norm.eps", "rms_norm_eps", default=1e-5),
        Setting("activation", "hidden_act", default="silu", via=ACTIVATION),
        Setting(
            "rope.theta rope.scaling",
            "rope_theta rope_scaling rope_parameters original_max_position_embeddings",
            default=(1e6, None),
            via=ROPE,
        ),
        Setting("context", "max_position_embeddings", default=131072),
        Setting("window", "sliding_window", default=None),
        Setting("tied", "tie_word_embeddings", default=False),
        Fixed("router.scores", "softmax", "the router's logits go through a softmax"),
        Fixed("router.renormalised", True, "the chosen scores are divided by their sum"),
        *COMMON,
    ),
    rows=(
        Row("model.embed_tokens.weight", "embed", "vocab hidden"),
        Row(L + "input_layernorm.weight", R + "attention_norm", "hidden"),
        Row(L + "self_attn.q_proj.weight", R + "q", "(kv group two pair) hidden"),
        Row(L + "self_attn.k_proj.weight", R + "k", "(kv two pair) hidden"),
        Row(L + "self_attn.v_proj.weight", R + "v", "(kv head) hidden"),
        Row(L + "self_attn.o_proj.weight", R + "o", "hidden (kv group head)"),
        Row(L + "post_attention_layernorm.weight", R + "mlp_norm", "hidden"),
        Row(X + "gate.weight", R + "router", "expert hidden"),
        Row(X + "experts.{expert}.w1.weight", E + "gate", "expert_ffn hidden"),
        Row(X + "experts.{expert}.w2.weight", E + "down", "hidden expert_ffn"),
        Row(X + "experts.{expert}.w3.weight", E + "up", "expert_ffn hidden"),
        Row("model.norm.weight", "norm", "hidden"),
        Row("lm_head.weight", "head", "vocab hidden", when="!tied"),
    ),
    harmless=(Harmless("router_aux_loss_coef router_jitter_noise", "of the training"),),
)

FUSED = MIXTRAL.derive(
    variant="fused",
    title="Mixtral with fused experts",
    rows=(
        Row(L + "mlp.gate.weight", R + "router", "expert hidden"),
        Row(L + "mlp.experts.gate_up_proj", f"{E}gate {E}up", "expert (expert_ffn + expert_ffn) hidden"),
        Row(L + "mlp.experts.down_proj", E + "down", "expert hidden expert_ffn"),
    ),
)

FAMILIES = (MIXTRAL, FUSED)
