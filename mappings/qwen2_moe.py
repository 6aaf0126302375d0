"""Qwen 1.5 MoE: Qwen2 with routed experts and one shared expert behind a gate of its own, in most layers.

transformers 5.23 models/qwen2_moe: a layer has experts where (i + 1) is a multiple of decoder_sparse_step and i is
not in mlp_only_layers; the shared expert's output is multiplied by the sigmoid of shared_expert_gate; scores are a
softmax, divided by their sum only with norm_topk_prob. Which layers a window is for differs between releases of the
library (configuration_qwen2_moe.py 111-118: even ones below max_window_layers), and no published model has one.
"""

from mappings.family import REQUIRED, Fixed, Harmless, Recognise, Row, Setting
from mappings.llama import R
from mappings.qwen2 import QWEN2
from mappings.via_experts import BUT_FOR_A_LIST
from mappings.via_window import NO_WINDOW

D = "model.layers.{layer:dense}.mlp."
X = "model.layers.{layer:moe}.mlp."
E = R + "expert.{expert}."

QWEN2_MOE = QWEN2.derive(
    name="qwen2_moe",
    title="Qwen 1.5 MoE",
    recognise=Recognise(model_type="qwen2_moe", architectures=("Qwen2MoeForCausalLM",)),
    architecture="Qwen2MoeForCausalLM",
    model_type="qwen2_moe",
    source="transformers 5.23 models/qwen2_moe/modeling_qwen2_moe.py",
    settings=(
        Setting(
            "layer layers.moe",
            "num_hidden_layers decoder_sparse_step mlp_only_layers",
            via=BUT_FOR_A_LIST,
            absent={"decoder_sparse_step": 1, "mlp_only_layers": ()},
        ),
        Setting("kv", "num_key_value_heads", default=16, null=REQUIRED),
        Setting("bias.qkv", "qkv_bias", default=True),
        Setting(
            "window window.full",
            "use_sliding_window layer_types sliding_window max_window_layers",
            via=NO_WINDOW,
            absent={"use_sliding_window": False},
        ),
        Setting("expert", "num_experts"),
        Setting("expert_ffn", "moe_intermediate_size"),
        Setting("shared_ffn", "shared_expert_intermediate_size"),
        Setting("router.used", "num_experts_per_tok"),
        Setting("router.renormalised", "norm_topk_prob", default=False),
        Fixed("router.scores", "softmax", "the router's logits go through a softmax"),
        Fixed("shared.gated", True, "shared_expert_gate"),
    ),
    rows=(
        Row(D + "gate_proj.weight", R + "gate", "ffn hidden"),
        Row(D + "up_proj.weight", R + "up", "ffn hidden"),
        Row(D + "down_proj.weight", R + "down", "hidden ffn"),
        Row(X + "gate.weight", R + "router", "expert hidden"),
        Row(X + "shared_expert_gate.weight", R + "shared.share", "1 hidden"),
        Row(X + "shared_expert.gate_proj.weight", R + "shared.gate", "shared_ffn hidden"),
        Row(X + "shared_expert.up_proj.weight", R + "shared.up", "shared_ffn hidden"),
        Row(X + "shared_expert.down_proj.weight", R + "shared.down", "hidden shared_ffn"),
        Row(X + "experts.{expert}.gate_proj.weight", E + "gate", "expert_ffn hidden"),
        Row(X + "experts.{expert}.up_proj.weight", E + "up", "expert_ffn hidden"),
        Row(X + "experts.{expert}.down_proj.weight", E + "down", "hidden expert_ffn"),
    ),
    harmless=(Harmless("router_aux_loss_coef", "of the training"),),
)

FAMILIES = (QWEN2_MOE,)
