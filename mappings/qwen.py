"""Qwen 1: Llama with q, k, v and their biases fused in c_attn, other names, and an MLP whose w2 is the gate.

Read in Qwen/Qwen-7B modeling_qwen.py: c_attn is three plain blocks and always has a bias (269, 418); the MLP is a1 *
silu(a2) with a1 = w1(x), a2 = w2(x), of half the width that intermediate_size says (561-575); no_bias is about c_proj
and the MLP (271-273). seq_length is the true limit, whatever max_position_embeddings says: beyond it the rope base
grows with the length (use_dynamic_ntk, 735-851) and queries are scaled (use_logn_attn, 289-294), as in no other
family. rope_theta is not read.
"""

from mappings.family import Family, Fixed, Harmless, Leave, Of, Recognise, Row, Setting
from mappings.llama import INIT
from mappings.special import special
from mappings.via import HALVED, only

H = "transformer.h.{layer}."
R = "layer.{layer}."

QWEN = Family(
    name="qwen",
    title="Qwen 1",
    recognise=Recognise(model_type="qwen", architectures=("QWenLMHeadModel",), present=("hidden_size",)),
    architecture="QWenLMHeadModel",
    model_type="qwen",
    source="Qwen/Qwen-7B modeling_qwen.py, as zhangningboo/Qwen-7B@ffe04dd5 has it",
    settings=(
        Setting("layer", "num_hidden_layers"),
        Setting("hidden", "hidden_size"),
        Setting("vocab", "vocab_size"),
        Setting("ffn", "intermediate_size", via=HALVED),
        Setting("heads", "num_attention_heads"),
        *special(None, None),
        INIT,
        Setting("context", "seq_length"),
        Setting("head", "kv_channels", default=Of("hidden", over="heads")),
        Setting("norm.eps", "layer_norm_epsilon", default=1e-6),
        Setting("rope.theta", "rotary_emb_base", default=10000.0),
        Setting("rope.share", "rotary_pct", default=1.0),
        Setting("tied", "tie_word_embeddings", default=False),
        Setting("", "no_bias", default=(), via=only(True, "biases on c_proj and the MLP, which no release has")),
        Setting("", "scale_attn_weights", default=(), via=only(True, "scores that are not scaled")),
        Fixed("head", Of("hidden", over="heads"), "c_attn is cut into blocks of hidden_size"),
        Fixed("kv", Of("heads"), "c_attn holds as many keys as queries"),
        Fixed("bias.qkv", True, "c_attn always has a bias"),
        Fixed("bias.o", False, "no_bias: c_proj has none"),
        Fixed("bias.mlp", False, "no_bias: the MLP has none"),
        Fixed("activation", "silu", "the activation of the MLP is in the code"),
        Fixed("rope.scaling", None, "what it does beyond seq_length is no scaling that others know"),
    ),
    rows=(
        Row("transformer.wte.weight", "embed", "vocab hidden"),
        Row(H + "ln_1.weight", R + "attention_norm", "hidden"),
        Row(
            H + "attn.c_attn.weight",
            f"{R}q {R}q_still {R}k {R}k_still {R}v",
            "((kv group (two pair + two half)) + (kv (two pair + two half)) + (kv head)) hidden",
            bias="bias.qkv",
        ),
        Row(H + "attn.c_proj.weight", R + "o", "hidden (kv group head)"),
        Row(H + "ln_2.weight", R + "mlp_norm", "hidden"),
        Row(H + "mlp.w1.weight", R + "up", "ffn hidden"),
        Row(H + "mlp.w2.weight", R + "gate", "ffn hidden"),
        Row(H + "mlp.c_proj.weight", R + "down", "hidden ffn"),
        Row("transformer.ln_f.weight", "norm", "hidden"),
        Row("lm_head.weight", "head", "vocab hidden", when="!tied"),
    ),
    leave=(
        Leave("transformer.rotary_emb.inv_freq", "recomputed from rotary_emb_base"),
        Leave(H + "attn.rotary_emb.inv_freq", "recomputed from rotary_emb_base"),
    ),
    harmless=(
        Harmless("max_position_embeddings", "seq_length counts"),
        Harmless("rope_theta", "rotary_emb_base counts"),
        Harmless("use_dynamic_ntk use_logn_attn", "inert up to seq_length"),
        Harmless("bf16 fp16 fp32 softmax_in_fp32", "the same numbers in another type"),
        Harmless("onnx_safe use_cache_quantization use_cache_kernel", "which kernel computes the same, and from what cache"),
    ),
    constants={"use_dynamic_ntk": False, "use_logn_attn": False, "use_cache": True},
    notes=(
        "Up to seq_length tokens this is the same model, and the output has that limit. Beyond it Qwen's own code "
        "changes the rope base (use_dynamic_ntk) and scales queries (use_logn_attn), which no other family does.",
    ),
)

#: the keys of August 2023, before they were renamed to what the library calls things
QWEN_FIRST = QWEN.derive(
    variant="first",
    title="Qwen 1, first release",
    recognise=Recognise(model_type="qwen", architectures=("QWenLMHeadModel",), present=("n_embd",)),
    settings=(
        *special(None, 151643),
        Setting("layer", "n_layer"),
        Setting("hidden", "n_embd"),
        Setting("vocab", "padded_vocab_size"),
        Setting("ffn", "ffn_hidden_size", via=HALVED),
        Setting("heads", "n_head"),
        Setting("norm.eps", "layer_norm_epsilon", default=1e-5),
        Setting("", "pos_emb", default=(), via=only("rotary", "positions that are not rotated")),
    ),
    harmless=(
        *QWEN.harmless,
        Harmless("activation", "the code has SwiGLU, whatever it says"),
        Harmless("bias_dropout_fusion", "which kernel computes the same"),
        Harmless("n_positions", "seq_length counts"),
        Harmless("n_inner", "ffn_hidden_size counts"),
        Harmless("params_dtype tokenizer_type", "who wrote the file"),
        Harmless("vocab_size", "padded_vocab_size counts"),
    ),
)

FAMILIES = (QWEN, QWEN_FIRST)
