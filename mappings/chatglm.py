"""ChatGLM 2, 3 and GLM-4-9B: q, k, v fused with a bias, gate and up fused, half of each head rotated in pairs.

All three say model_type "chatglm" and architectures "ChatGLMModel", as the first ChatGLM does, which has no
padded_vocab_size. Read in THUDM/ChatGLM3 model/modeling_chatglm.py: pairs 2i and 2i + 1 of the first kv_channels / 2
(164-177, 750-754), [q | k | v] where multi_query_attention is true (379-386) and one q, k, v after another for each
head where it is not (398-404), biases (338-345), [gate | up] (475-483), options that no release uses (516-571,
586-597); and in GLM-4-9B modeling_chatglm.py 112: the base is 10000 * rope_ratio. Defaults as in
configuration_chatglm.py.
"""

from mappings.family import Family, Fixed, Harmless, Leave, Of, Recognise, Row, Setting
from mappings.llama import INIT
from mappings.special import special
from mappings.via import only
from mappings.via_scales import times

T = "transformer.encoder.layers.{layer}."
R = "layer.{layer}."
QKV = f"{R}q {R}q_still {R}k {R}k_still {R}v"
HALF = "((pair two) + (two half))"  # the rotated half of a head, then the other

CHATGLM = Family(
    name="chatglm",
    title="ChatGLM 2 and 3, GLM-4-9B",
    recognise=Recognise(model_type="chatglm", present=("padded_vocab_size",), values={"multi_query_attention": True}),
    architecture="ChatGLMModel",
    model_type="chatglm",
    source="THUDM/ChatGLM3@b0b4e8a model/modeling_chatglm.py",
    settings=(
        Setting("layer", "num_layers num_hidden_layers"),
        Setting("hidden", "hidden_size"),
        Setting("vocab", "padded_vocab_size"),
        Setting("ffn", "ffn_hidden_size"),
        Setting("heads", "num_attention_heads"),
        *special(None, None),
        INIT,
        Setting("kv", "multi_query_group_num", default=1),
        Setting("head", "kv_channels", default=128),
        Setting("norm.eps", "layernorm_epsilon", default=1e-5),
        Setting("rope.theta", "rope_ratio", default=10000.0, via=times(10000.0)),
        Setting("context", "seq_length", default=2048),
        Setting("bias.qkv", "add_qkv_bias", default=False),
        Setting("", "add_bias_linear", default=(), via=only(False, "biases that no release has")),
        Setting("", "rmsnorm post_layer_norm", default=(), via=only(True, "other norms, or none at the end")),
        Setting("", "apply_residual_connection_post_layernorm", default=(), via=only(False, "another residual")),
        Setting("", "tie_word_embeddings", default=(), via=only(False, "a tie that the code never makes")),
        Setting("", "quantization_bit", default=(), via=only(0, "quantised weights")),
        Fixed("activation", "silu", "the MLP is silu(gate) * up"),
        Fixed("rope.share", 0.5, "the first half of each head is rotated"),
        Fixed("rope.scaling", None, "no release scales its frequencies"),
        Fixed("tied", False, "output_layer is a matrix of its own"),
        Fixed("bias.o", False, "add_bias_linear is false"),
        Fixed("bias.mlp", False, "add_bias_linear is false"),
    ),
    rows=(
        Row("transformer.embedding.word_embeddings.weight", "embed", "vocab hidden"),
        Row(T + "input_layernorm.weight", R + "attention_norm", "hidden"),
        Row(
            T + "self_attention.query_key_value.weight",
            QKV,
            f"((kv group {HALF}) + (kv {HALF}) + (kv head)) hidden",
            bias="bias.qkv",
        ),
        Row(T + "self_attention.dense.weight", R + "o", "hidden (kv group head)"),
        Row(T + "post_attention_layernorm.weight", R + "mlp_norm", "hidden"),
        Row(T + "mlp.dense_h_to_4h.weight", f"{R}gate {R}up", "(ffn + ffn) hidden"),
        Row(T + "mlp.dense_4h_to_h.weight", R + "down", "hidden ffn"),
        Row("transformer.encoder.final_layernorm.weight", "norm", "hidden"),
        Row("transformer.output_layer.weight", "head", "vocab hidden"),
    ),
    leave=(Leave("transformer.rotary_pos_emb.inv_freq", "recomputed from rope_ratio"),),
    harmless=(
        Harmless("multi_query_attention", "it says which variant this is"),
        Harmless("vocab_size", "padded_vocab_size counts"),
        Harmless("original_rope", "kept, and read by nothing that computes"),
        Harmless("apply_query_key_layer_scaling", "divides by the layer's number and multiplies by it again"),
        Harmless("attention_softmax_in_fp32 fp32_residual_connection", "the same numbers in another type"),
        Harmless("bias_dropout_fusion", "which kernel computes the same"),
        Harmless("pre_seq_len", "a tuned prefix, which the file would hold", (None,)),
        Harmless("prefix_projection", "of a tuned prefix"),
    ),
    constants={"multi_query_attention": True, "use_cache": True},
    notes=("Every text begins with the tokens [gMASK] and sop, which the tokenizer puts there.",),
)

CHATGLM_PER_HEAD = CHATGLM.derive(
    variant="per-head",
    title="ChatGLM with as many keys as queries",
    recognise=Recognise(model_type="chatglm", present=("padded_vocab_size",), unlike={"multi_query_attention": True}),
    settings=(Fixed("kv", Of("heads"), "each head has its own key and value"),),
    rows=(
        Row(
            T + "self_attention.query_key_value.weight",
            QKV,
            f"(kv ((group {HALF}) + {HALF} + head)) hidden",
            bias="bias.qkv",
        ),
    ),
    harmless=(*CHATGLM.harmless, Harmless("multi_query_group_num", "there are no groups")),
    constants={"multi_query_attention": False, "use_cache": True},
)

FAMILIES = (CHATGLM, CHATGLM_PER_HEAD)
