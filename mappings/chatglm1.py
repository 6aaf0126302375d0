"""ChatGLM-6B, the first: a GLM of 2022 that is read and rewritten in its own layout, and cannot be anything else here.

Read in THUDM/chatglm-6b modeling_chatglm.py: everything before the answer sees itself whole (682-687); each half of a
head is rotated by positions of its own (457-466, 692-704); what a branch is added to is its own normed input times
sqrt(2 * 28), and not the stream (642-651: 28 is the default of the block, which no caller changes); LayerNorms,
biases everywhere, an MLP of two matrices with GELU by tanh (167); q, k, v of one head after another (448-455). The first
release keeps the ids of its masks in code (834), later ones in config.json; their ids of bos and eos differ too, so
that these have to be stated.
"""

from mappings.family import REQUIRED, Family, Fixed, Harmless, Leave, Of, Recognise, Row, Setting
from mappings.llama import INIT
from mappings.special import special
from mappings.via import only

T = "transformer.layers.{layer}."
R = "layer.{layer}."

CHATGLM1 = Family(
    name="chatglm1",
    title="ChatGLM-6B, the first",
    recognise=Recognise(model_type="chatglm", absent=("padded_vocab_size",), present=("max_sequence_length",)),
    architecture="ChatGLMModel",
    model_type="chatglm",
    source="THUDM/chatglm-6b modeling_chatglm.py, as greensheng/chatglm-6b@a8ede826 has it",
    settings=(
        Setting("layer", "num_layers"),
        Setting("hidden", "hidden_size"),
        Setting("vocab", "vocab_size"),
        Setting("heads", "num_attention_heads"),
        Setting("ffn", "inner_hidden_size", default=Of("hidden", times=4)),
        *special(REQUIRED, REQUIRED, 0),
        INIT,
        Setting("token.mask", "mask_token_id", default=150000),
        Setting("token.gmask", "gmask_token_id", default=150001),
        Setting("norm.eps", "layernorm_epsilon", default=1e-5),
        Setting("context", "max_sequence_length", default=2048),
        Setting("", "position_encoding_2d", default=(), via=only(True, "one stream of positions")),
        Setting("", "quantization_bit", default=(), via=only(0, "quantised weights")),
        Fixed("kv", Of("heads"), "each head has its own key and value"),
        Fixed("head", Of("hidden", over="heads"), "a head is hidden_size / num_attention_heads wide"),
        Fixed("positions", "rope in two streams", "each half of a head is rotated by positions of its own"),
        Fixed("prefix", True, "what comes before the answer sees itself whole"),
        Fixed("residual.normed", 56**0.5, "sqrt(2 * 28) times the normed input takes the place of the stream"),
        Fixed("norm.kind", "layer", "LayerNorm takes the mean away"),
        Fixed("activation", "gelu_tanh", "the activation of the MLP is in the code"),
        Fixed("mlp.gated", False, "the MLP is two matrices"),
        Fixed("bias.qkv", True, "every matrix has a bias"),
        Fixed("bias.o", True, "every matrix has a bias"),
        Fixed("bias.mlp", True, "every matrix has a bias"),
        Fixed("bias.norm", True, "LayerNorm has a bias"),
        Fixed("tied", False, "lm_head is a matrix of its own"),
    ),
    rows=(
        Row("transformer.word_embeddings.weight", "embed", "vocab hidden"),
        Row(T + "input_layernorm.weight", R + "attention_norm", "hidden", bias="bias.norm"),
        Row(
            T + "attention.query_key_value.weight",
            f"{R}q {R}k {R}v",
            "(kv ((group two pair) + (two pair) + head)) hidden",
            bias="bias.qkv",
        ),
        Row(T + "attention.dense.weight", R + "o", "hidden (kv group head)", bias="bias.o"),
        Row(T + "post_attention_layernorm.weight", R + "mlp_norm", "hidden", bias="bias.norm"),
        Row(T + "mlp.dense_h_to_4h.weight", R + "up", "ffn hidden", bias="bias.mlp"),
        Row(T + "mlp.dense_4h_to_h.weight", R + "down", "hidden ffn", bias="bias.mlp"),
        Row("transformer.final_layernorm.weight", "norm", "hidden", bias="bias.norm"),
        Row("lm_head.weight", "head", "vocab hidden"),
    ),
    leave=(Leave(T + "attention.rotary_emb.inv_freq", "recomputed from the width of a head"),),
    harmless=(
        Harmless("pre_seq_len", "a tuned prefix, which the file would hold", (None,)),
        Harmless("prefix_projection", "of a tuned prefix"),
        Harmless("quantization_embeddings", "quantised weights", (False, None)),
    ),
    constants={"position_encoding_2d": True, "use_cache": True},
    notes=(
        "No other family computes what this one does: its releases are turned into safetensors in their own layout "
        "(`convert repack`), and ChatGLM 2 and later ones convert.",
    ),
)

FAMILIES = (CHATGLM1,)
