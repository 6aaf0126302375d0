"""Gemma 2: norms on both sides of attention and MLP, soft limits, a window on every second layer; it cannot be Llama.

transformers 5.23 models/gemma2/modeling_gemma2.py: norms multiply by 1 + weight (52-66), scores are divided by the
root of query_pre_attn_scalar and capped by tanh (195-221), so are the logits (518-521); embeddings are multiplied by
the root of hidden_size. ``hidden_activation`` counts, hidden_act does not (configuration_gemma2.py 62-98).
"""

from mappings.family import REQUIRED, Fixed, Harmless, Recognise, Row, Setting
from mappings.llama import LLAMA, L, R
from mappings.special import special
from mappings.via import ACTIVATION, SCORES
from mappings.via_window import ALTERNATING_WINDOW

GEMMA2 = LLAMA.derive(
    name="gemma2",
    title="Gemma 2",
    recognise=Recognise(model_type="gemma2", architectures=("Gemma2ForCausalLM",)),
    architecture="Gemma2ForCausalLM",
    multiples=(("hidden", "heads"),),
    model_type="gemma2",
    source="transformers 5.23 models/gemma2/modeling_gemma2.py",
    settings=(
        *special(2, 1, 0),
        Setting("kv", "num_key_value_heads", default=4),
        Setting(
            "head scores.width",
            "head_dim query_pre_attn_scalar",
            via=SCORES,
            absent={"head_dim": 256, "query_pre_attn_scalar": 256},
        ),
        Setting("activation", "hidden_activation", default="gelu_tanh", via=ACTIVATION),
        Setting("context", "max_position_embeddings", default=8192),
        Setting("tied", "tie_word_embeddings", default=True),
        Setting("scores.cap", "attn_logit_softcapping", default=50.0, null=None),
        Setting("logits.cap", "final_logit_softcapping", default=30.0, null=None),
        Setting(
            "layer window window.full",
            "num_hidden_layers sliding_window layer_types",
            default=(REQUIRED, 4096, ()),
            via=ALTERNATING_WINDOW,
            absent={"sliding_window": 4096},
        ),
        Fixed("norm.offset", 1.0, "norms multiply by 1 + weight"),
        Fixed("norm.after", True, "attention and MLP have a norm behind them too"),
        Fixed("embed.scale", "root of hidden", "embeddings are multiplied by the root of hidden_size"),
        Fixed("bias.mlp", False, "the MLP has no biases"),
    ),
    rows=(
        Row(L + "post_attention_layernorm.weight", R + "attention_norm_after", "hidden"),
        Row(L + "pre_feedforward_layernorm.weight", R + "mlp_norm", "hidden"),
        Row(L + "post_feedforward_layernorm.weight", R + "mlp_norm_after", "hidden"),
    ),
    harmless=(Harmless("hidden_act", "hidden_activation counts"),),
)

FAMILIES = (GEMMA2,)
