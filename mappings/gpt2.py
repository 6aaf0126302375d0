"""GPT-2: learned positions, LayerNorms and biases everywhere, an MLP without gate, and weights stored transposed.

transformers 5.23 models/gpt2/modeling_gpt2.py: Conv1D keeps (in, out) (106-107, 233-234), c_attn is q, k, v along its
last axis. Published files have no ``transformer.`` before their names and hold the causal mask as h.N.attn.bias,
which is a buffer; h.N.attn.c_attn.bias is the bias.
"""

from mappings.family import Family, Fixed, Harmless, Leave, Of, Recognise, Row, Setting
from mappings.llama import INIT
from mappings.special import special
from mappings.via import ACTIVATION, only

H = "transformer.h.{layer}."
R = "layer.{layer}."
QKV = f"{R}q {R}k {R}v"

#: what GPT-2 and nanoGPT compute alike
COMPUTED = (
    Fixed("kv", Of("heads"), "every query head has its own key and value"),
    Fixed("head", Of("hidden", over="heads"), "a head is n_embd / n_head wide"),
    Fixed("positions", "learned", "a table of positions is added to the embeddings"),
    Fixed("norm.kind", "layer", "LayerNorm takes the mean away"),
    Fixed("mlp.gated", False, "the MLP is two matrices"),
)
MASKS = (
    Leave(H + "attn.bias", "the causal mask, a buffer"),
    Leave(H + "attn.masked_bias", "a constant of old versions"),
)

GPT2 = Family(
    name="gpt2",
    title="GPT-2",
    recognise=Recognise(model_type="gpt2", architectures=("GPT2LMHeadModel",)),
    architecture="GPT2LMHeadModel",
    model_type="gpt2",
    source="transformers 5.23 models/gpt2/modeling_gpt2.py",
    settings=(
        Setting("layer", "n_layer"),
        Setting("hidden", "n_embd"),
        Setting("heads", "n_head"),
        Setting("vocab", "vocab_size"),
        Setting("position context", "n_positions"),
        Setting("ffn", "n_inner", default=Of("hidden", times=4)),
        Setting("norm.eps", "layer_norm_epsilon", default=1e-5),
        Setting("activation", "activation_function", default="gelu_tanh", via=ACTIVATION),
        Setting("tied", "tie_word_embeddings", default=True),
        *special(50256, 50256),
        INIT,
        *COMPUTED,
        Fixed("bias.qkv", True, "Conv1D has a bias"),
        Fixed("bias.o", True, "Conv1D has a bias"),
        Fixed("bias.mlp", True, "Conv1D has a bias"),
        Fixed("bias.norm", True, "LayerNorm has a bias"),
        Setting("", "scale_attn_weights", default=(), via=only(True, "scores would not be scaled")),
        Setting("", "scale_attn_by_inverse_layer_idx", default=(), via=only(False, "scores by the layer's number")),
    ),
    rows=(
        Row("transformer.wte.weight", "embed", "vocab hidden"),
        Row("transformer.wpe.weight", "positions", "position hidden"),
        Row(H + "ln_1.weight", R + "attention_norm", "hidden", bias="bias.norm"),
        Row(
            H + "attn.c_attn.weight",
            QKV,
            "hidden ((kv group two pair) + (kv two pair) + (kv head))",
            bias="bias.qkv",
        ),
        Row(H + "attn.c_proj.weight", R + "o", "(kv group head) hidden", bias="bias.o"),
        Row(H + "ln_2.weight", R + "mlp_norm", "hidden", bias="bias.norm"),
        Row(H + "mlp.c_fc.weight", R + "up", "hidden ffn", bias="bias.mlp"),
        Row(H + "mlp.c_proj.weight", R + "down", "ffn hidden", bias="bias.mlp"),
        Row("transformer.ln_f.weight", "norm", "hidden", bias="bias.norm"),
        Row("lm_head.weight", "head", "vocab hidden", when="!tied"),
    ),
    leave=MASKS,
    harmless=(
        Harmless("n_ctx", "n_positions counts"),
        Harmless("reorder_and_upcast_attn", "the same products in float32"),
        Harmless(
            "summary_type summary_use_proj summary_activation summary_first_dropout summary_last_dropout "
            "summary_proj_to_labels",
            "of heads for other tasks",
        ),
    ),
)

FAMILIES = (GPT2,)
