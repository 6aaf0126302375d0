"""Llama 4: stacked experts beside a shared one, layers without rope, chunked attention; out of its multimodal wrapper.

transformers 5.23 models/llama4/modeling_llama4.py: experts are stacked and not transposed (80); sigmoid scores scale
what an expert gets (149-169); rope is interleaved (230); queries and keys get an L2 norm without weight after rope
(331, 354); where no rope is, queries grow with the position (359). configuration_llama4.py: every fourth layer does
not rotate (170).

Published checkpoints hold the text model under ``language_model.`` beside a vision tower. Only the text model is
taken; it is Llama4ForCausalLM as it stands.
"""

from mappings.family import Family, Fixed, Harmless, Leave, Of, Recognise, Row, Setting
from mappings.llama import COMMON
from mappings.via import ACTIVATION, ROPE, switch
from mappings.via_experts import LLAMA_4_LAYERS, TUNING

L = "model.layers.{layer}."
D = "model.layers.{layer:dense}.feed_forward."
X = "model.layers.{layer:moe}.feed_forward."
R = "layer.{layer}."
E = R + "expert.{expert}."

TEXT = Family(
    name="llama4",
    variant="text",
    title="Llama 4's text model",
    recognise=Recognise(model_type="llama4_text", architectures=("Llama4ForCausalLM",)),
    architecture="Llama4ForCausalLM",
    model_type="llama4_text",
    source="transformers 5.23 models/llama4/modeling_llama4.py",
    settings=(
        Setting(
            "layer layers.moe rope.none",
            "num_hidden_layers moe_layers no_rope_layers interleave_moe_layer_step no_rope_layer_interval layer_types",
            via=LLAMA_4_LAYERS,
            absent={"interleave_moe_layer_step": 1, "no_rope_layer_interval": 4},
        ),
        Setting("hidden", "hidden_size"),
        Setting("vocab", "vocab_size"),
        Setting("ffn", "intermediate_size_mlp"),
        Setting("expert_ffn shared_ffn", "intermediate_size"),
        Setting("expert", "num_local_experts"),
        Setting("router.used", "num_experts_per_tok"),
        Setting("heads", "num_attention_heads"),
        Setting("kv", "num_key_value_heads", default=8, null=Of("heads")),
        Setting("head", "head_dim", default=128, null=Of("hidden", over="heads")),
        Setting("norm.eps", "rms_norm_eps", default=1e-5),
        Setting("norm.qk", "use_qk_norm", default="l2", via=switch("l2")),
        Setting("activation", "hidden_act", default="silu", via=ACTIVATION),
        Setting(
            "rope.theta rope.scaling",
            "rope_theta rope_scaling rope_parameters original_max_position_embeddings",
            default=(500000.0, None),
            via=ROPE,
        ),
        Setting("window.chunk", "attention_chunk_size", default=8192),
        Setting(
            "scores.tuning",
            "attn_temperature_tuning floor_scale attn_scale",
            via=TUNING,
            absent={"attn_temperature_tuning": True, "floor_scale": 8192, "attn_scale": 0.1},
        ),
        Setting("context", "max_position_embeddings", default=131072),
        Setting("bias.qkv bias.o", "attention_bias", default=False),
        Setting("tied", "tie_word_embeddings", default=False),
        Fixed("router.scores", "sigmoid", "each chosen expert's score is by itself"),
        Fixed("router.input", True, "scores scale what an expert gets"),
        *COMMON,
    ),
    rows=(
        Row("model.embed_tokens.weight", "embed", "vocab hidden"),
        Row(L + "input_layernorm.weight", R + "attention_norm", "hidden"),
        Row(L + "self_attn.q_proj.weight", R + "q", "(kv group pair two) hidden", bias="bias.qkv"),
        Row(L + "self_attn.k_proj.weight", R + "k", "(kv pair two) hidden", bias="bias.qkv"),
        Row(L + "self_attn.v_proj.weight", R + "v", "(kv head) hidden", bias="bias.qkv"),
        Row(L + "self_attn.o_proj.weight", R + "o", "hidden (kv group head)", bias="bias.o"),
        Row(L + "post_attention_layernorm.weight", R + "mlp_norm", "hidden"),
        Row(D + "gate_proj.weight", R + "gate", "ffn hidden"),
        Row(D + "up_proj.weight", R + "up", "ffn hidden"),
        Row(D + "down_proj.weight", R + "down", "hidden ffn"),
        Row(X + "router.weight", R + "router", "expert hidden"),
        Row(X + "shared_expert.gate_proj.weight", R + "shared.gate", "shared_ffn hidden"),
        Row(X + "shared_expert.up_proj.weight", R + "shared.up", "shared_ffn hidden"),
        Row(X + "shared_expert.down_proj.weight", R + "shared.down", "hidden shared_ffn"),
        Row(X + "experts.gate_up_proj", f"{E}gate {E}up", "expert hidden (expert_ffn + expert_ffn)"),
        Row(X + "experts.down_proj", E + "down", "expert expert_ffn hidden"),
        Row("model.norm.weight", "norm", "hidden"),
        Row("lm_head.weight", "head", "vocab hidden", when="!tied"),
    ),
    harmless=(
        Harmless("router_aux_loss_coef router_jitter_noise", "of the training"),
        Harmless("for_llm_compressor", "a mark that no code reads"),
    ),
)

MULTIMODAL = TEXT.derive(
    variant="multimodal",
    title="Llama 4",
    recognise=Recognise(model_type="llama4", architectures=("Llama4ForConditionalGeneration",)),
    architecture="Llama4ForConditionalGeneration",
    model_type="llama4",
    nested="text_config",
    prefixes=(("language_model.", ""),),
    leave=(
        Leave("vision_model.*", "only the text model is taken"),
        Leave("multi_modal_projector.*", "only the text model is taken"),
    ),
    harmless=(
        *TEXT.harmless,
        Harmless("vision_config boi_token_index eoi_token_index image_token_index", "of images, which are left behind"),
    ),
)

FAMILIES = (TEXT, MULTIMODAL)
