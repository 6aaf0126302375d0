"""nanoGPT's ckpt.pt: GPT-2 with plain (out, in) weights, biases only where wished, and the exact GELU.

karpathy/nanoGPT model.py: MLP has nn.GELU(), the erf form, where GPT-2 has the tanh form; LayerNorm's eps is 1e-5;
GPTConfig.bias=False drops the biases of linears and norms alike; wte is tied to lm_head and so stored under both names.
A model that went through torch.compile has ``_orig_mod.`` before every name.
"""

from mappings.family import Family, Fixed, Harmless, Of, Recognise, Row, Setting
from mappings.gpt2 import COMPUTED, MASKS, QKV, H, R

NANOGPT = Family(
    name="nanogpt",
    title="nanoGPT",
    recognise=Recognise(present=("model_args.n_embd", "model_args.block_size"), absent=("model_type",)),
    architecture="",
    model_type="",
    stored="ckpt",
    nested="model_args",
    source="karpathy/nanoGPT@f08abb4 model.py",
    settings=(
        Setting("layer", "n_layer"),
        Setting("hidden", "n_embd"),
        Setting("heads", "n_head"),
        Setting("vocab", "vocab_size"),
        Setting("position context", "block_size"),
        Setting("bias.qkv bias.o bias.mlp bias.norm", "bias", default=True),
        Setting("attention.dropout", "dropout", default=0.0),
        *COMPUTED,
        Fixed("ffn", Of("hidden", times=4), "the MLP is four times as wide as the rest"),
        Fixed("norm.eps", 1e-5, "F.layer_norm is called with 1e-5"),
        Fixed("activation", "gelu", "nn.GELU() is the exact form"),
        Fixed("tied", True, "wte.weight is lm_head.weight"),
    ),
    rows=(
        Row("transformer.wte.weight", "embed", "vocab hidden"),
        Row("transformer.wpe.weight", "positions", "position hidden"),
        Row(H + "ln_1.weight", R + "attention_norm", "hidden", bias="bias.norm"),
        Row(
            H + "attn.c_attn.weight",
            QKV,
            "((kv group two pair) + (kv two pair) + (kv head)) hidden",
            bias="bias.qkv",
        ),
        Row(H + "attn.c_proj.weight", R + "o", "hidden (kv group head)", bias="bias.o"),
        Row(H + "ln_2.weight", R + "mlp_norm", "hidden", bias="bias.norm"),
        Row(H + "mlp.c_fc.weight", R + "up", "ffn hidden", bias="bias.mlp"),
        Row(H + "mlp.c_proj.weight", R + "down", "hidden ffn", bias="bias.mlp"),
        Row("transformer.ln_f.weight", "norm", "hidden", bias="bias.norm"),
        Row("lm_head.weight", "embed", "vocab hidden", spare=True),
    ),
    leave=MASKS,
    harmless=(Harmless("iter_num best_val_loss config", "of the training, beside model_args"),),
    prefixes=(("_orig_mod.", ""),),
    notes=(
        "nanoGPT computed GELU by tanh until June 2023 (pull request 274) and wrote the same file: a checkpoint that was "
        'trained before needs activation_function "gelu_new" in the output.',
    ),
)

FAMILIES = (NANOGPT,)
