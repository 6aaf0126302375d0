"""DeepSeek V2, V3 and R1: attention through latents, and experts; V3's weights are float8 with a scale per block.

Queries, keys and values come from narrow latents with a norm of their own (V2-Lite makes queries directly); part of
each key is rotated and shared by all heads. Layers from first_k_dense_replace on have routed experts beside shared
ones, stored as one. V3 adds a shift to the scores where experts are chosen, and after the last layer one that
predicts a token more (MTP): transformers ignores it, serving programs draft with it. None of this can be Llama.

Read in deepseek-ai/DeepSeek-V3 inference/model.py (rope 390, mscale 435-437, gate 564-597), README_WEIGHTS.md (MTP)
and inference/kernel.py:78-86 (scales are multiplied). Kimi K2 (moonshotai/Kimi-K2-Instruct config.json) is the class of V3
under another model_type. Rope is interleaved, and no layout here changes it.
"""

from mappings.family import Family, Fixed, Harmless, Of, Recognise, Row, Setting
from mappings.llama import COMMON
from mappings.special import special
from mappings.via import ACTIVATION, ROPE, only, repeated
from mappings.via_experts import FP8_BLOCKS, FROM_A_LAYER_ON, SHARED_EXPERTS, among

L = "model.layers.{layer:all}."
D = "model.layers.{layer:dense}.mlp."
X = "model.layers.{layer:moe}.mlp."
N = "model.layers.{layer:mtp}."
R = "layer.{layer}."
E = R + "expert.{expert}."
S = "_scale_inv"

DEEPSEEK_V2 = Family(
    name="deepseek_v2",
    title="DeepSeek V2",
    recognise=Recognise(model_type="deepseek_v2", architectures=("DeepseekV2ForCausalLM",)),
    architecture="DeepseekV2ForCausalLM",
    multiples=(("hidden", "heads"),),
    model_type="deepseek_v2",
    source="deepseek-ai/DeepSeek-V3@b15f0dbb inference/model.py",
    settings=(
        Setting(
            "layer mtp layers.moe",
            "num_hidden_layers num_nextn_predict_layers first_k_dense_replace moe_layer_freq",
            via=FROM_A_LAYER_ON,
            absent={"num_nextn_predict_layers": 0, "first_k_dense_replace": 0, "moe_layer_freq": 1},
        ),
        Setting("hidden", "hidden_size"),
        Setting("vocab", "vocab_size"),
        Setting("ffn", "intermediate_size"),
        Setting("heads", "num_attention_heads"),
        Setting("kv", "num_key_value_heads", default=Of("heads")),
        Setting("latent_q", "q_lora_rank", default=1536, null=None),
        Setting("latent_kv", "kv_lora_rank"),
        Setting("qk_still", "qk_nope_head_dim"),
        Setting("qk_turned", "qk_rope_head_dim head_dim", via=repeated("qk_rope_head_dim")),  # V3's class rotates head_dim
        Setting("v_head", "v_head_dim"),
        Setting("expert", "n_routed_experts"),
        Setting(
            "expert_ffn shared_ffn",
            "moe_intermediate_size n_shared_experts",
            via=SHARED_EXPERTS,
            absent={"n_shared_experts": 2},
        ),
        Setting("router.used", "num_experts_per_tok"),
        Setting("router.scores", "scoring_func", default="softmax", via=among("softmax")),
        # true: transformers' class ignores it, and the vendor's code divides and leaves out the factor
        Setting("router.renormalised", "norm_topk_prob", default=False, via=among(False)),
        Setting("router.scale", "routed_scaling_factor", default=1.0),
        Setting("router.choice", "topk_method", default="greedy", via=among("greedy", "group_limited_greedy")),
        Setting("router.groups", "n_group", default=None),
        Setting("router.groups_used", "topk_group", default=None),
        Setting("norm.eps", "rms_norm_eps", default=1e-6),
        Setting("activation", "hidden_act", default="silu", via=ACTIVATION),
        Setting(
            "rope.theta rope.scaling",
            "rope_theta rope_scaling rope_parameters original_max_position_embeddings",
            default=(10000.0, None),
            via=ROPE,
        ),
        Setting("context", "max_position_embeddings", default=2048),
        Setting("tied", "tie_word_embeddings", default=False),
        Setting("", "attention_bias mlp_bias", default=(), via=only(False, "no published DeepSeek has biases")),
        Fixed("attention", "latent", "multi-head latent attention"),
        *COMMON,
    ),
    rows=(
        Row("model.embed_tokens.weight", "embed", "vocab hidden"),
        Row(N + "embed_tokens.weight", R + "mtp.embed", "vocab hidden"),
        Row(N + "enorm.weight", R + "mtp.embed_norm", "hidden"),
        Row(N + "hnorm.weight", R + "mtp.stream_norm", "hidden"),
        Row(N + "eh_proj.weight", R + "mtp.join", "hidden joined"),
        Row(L + "input_layernorm.weight", R + "attention_norm", "hidden"),
        Row(
            L + "self_attn.q_proj.weight",
            f"{R}latent.direct_still {R}latent.direct_turned",
            "(heads (qk_still + qk_turned)) hidden",
            when="!latent_q",
            scale=S,
        ),
        Row(L + "self_attn.q_a_proj.weight", R + "latent.q", "latent_q hidden", when="latent_q", scale=S),
        Row(L + "self_attn.q_a_layernorm.weight", R + "latent.q_norm", "latent_q", when="latent_q"),
        Row(
            L + "self_attn.q_b_proj.weight",
            f"{R}latent.q_still {R}latent.q_turned",
            "(heads (qk_still + qk_turned)) latent_q",
            when="latent_q",
            scale=S,
        ),
        Row(
            L + "self_attn.kv_a_proj_with_mqa.weight",
            f"{R}latent.kv {R}latent.k_turned",
            "(latent_kv + qk_turned) hidden",
            scale=S,
        ),
        Row(L + "self_attn.kv_a_layernorm.weight", R + "latent.kv_norm", "latent_kv"),
        Row(
            L + "self_attn.kv_b_proj.weight",
            f"{R}latent.k_still {R}latent.v",
            "(heads (qk_still + v_head)) latent_kv",
            scale=S,
        ),
        Row(L + "self_attn.o_proj.weight", R + "latent.o", "hidden (heads v_head)", scale=S),
        Row(L + "post_attention_layernorm.weight", R + "mlp_norm", "hidden"),
        Row(D + "gate_proj.weight", R + "gate", "ffn hidden", scale=S),
        Row(D + "up_proj.weight", R + "up", "ffn hidden", scale=S),
        Row(D + "down_proj.weight", R + "down", "hidden ffn", scale=S),
        Row(X + "gate.weight", R + "router", "expert hidden"),
        Row(X + "shared_experts.gate_proj.weight", R + "shared.gate", "shared_ffn hidden", scale=S),
        Row(X + "shared_experts.up_proj.weight", R + "shared.up", "shared_ffn hidden", scale=S),
        Row(X + "shared_experts.down_proj.weight", R + "shared.down", "hidden shared_ffn", scale=S),
        Row(X + "experts.{expert}.gate_proj.weight", E + "gate", "expert_ffn hidden", scale=S),
        Row(X + "experts.{expert}.up_proj.weight", E + "up", "expert_ffn hidden", scale=S),
        Row(X + "experts.{expert}.down_proj.weight", E + "down", "hidden expert_ffn", scale=S),
        Row(N + "shared_head.norm.weight", R + "mtp.norm", "hidden"),
        Row(N + "shared_head.head.weight", R + "mtp.head", "vocab hidden"),
        Row("model.norm.weight", "norm", "hidden"),
        Row("lm_head.weight", "head", "vocab hidden", when="!tied"),
    ),
    harmless=(
        Harmless("aux_loss_alpha seq_aux", "of the training"),
        Harmless("qk_head_dim", "the sum of two widths, which the code makes itself"),
    ),
)

DEEPSEEK_V3 = DEEPSEEK_V2.derive(
    name="deepseek_v3",
    title="DeepSeek V3 and R1",
    recognise=Recognise(model_type="deepseek_v3", aliases=("kimi_k2",), architectures=("DeepseekV3ForCausalLM",)),
    architecture="DeepseekV3ForCausalLM",
    model_type="deepseek_v3",
    settings=(
        *special(0, 1),
        Setting(
            "layer mtp layers.moe",
            "num_hidden_layers num_nextn_predict_layers first_k_dense_replace moe_layer_freq",
            via=FROM_A_LAYER_ON,
            absent={"num_nextn_predict_layers": 1, "first_k_dense_replace": 3, "moe_layer_freq": 1},
        ),
        Setting(
            "expert_ffn shared_ffn",
            "moe_intermediate_size n_shared_experts",
            via=SHARED_EXPERTS,
            absent={"n_shared_experts": 1},
        ),
        Setting("kv", "num_key_value_heads", default=128, null=Of("heads")),
        Setting("context", "max_position_embeddings", default=4096),
        Setting("router.used", "num_experts_per_tok", default=8),
        Setting("router.groups", "n_group", default=8),
        Setting("router.groups_used", "topk_group", default=4),
        Setting("router.scores", "scoring_func", default="sigmoid", via=among("sigmoid")),
        Setting("router.renormalised", "norm_topk_prob", default=True, null=False),
        Setting("router.scale", "routed_scaling_factor", default=2.5),
        Setting("router.choice", "topk_method", default="noaux_tc", via=among("noaux_tc")),
        Setting("", "rope_interleave", default=(), via=only(True, "published checkpoints are interleaved"), null=False),
        Setting("", "quantization_config", default=(), via=FP8_BLOCKS),
    ),
    rows=(Row(X + "gate.e_score_correction_bias", R + "router_shift", "expert"),),
)

FAMILIES = (DEEPSEEK_V2, DEEPSEEK_V3)
