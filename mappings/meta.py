"""Meta's own files: params.json and one consolidated.NN.pth for each model-parallel rank; rope in adjacent pairs.

Rows of wq, wk, wv, w1, w3 and output are cut over the files, columns of wo and w2; norms are in all of them. The
embeddings are cut by columns in Llama 1 and 2 (ParallelEmbedding) and by rows in Llama 3 (VocabParallelEmbedding),
which params.json does not say: Llama 3 is told by a real vocab_size beside rope_theta. Llama 1 and 2 differ in
nothing but the length they were trained on; norm_eps 1e-6 marks the small ones of Llama 1, and its size the 65B.

Llama 3.1 and 3.2 differ in a constant of the code, the factor of ``use_scaled_rope`` (8 and 32; the Hub's config.json
of each), and in that 3.2's output projection is its embedding, stored twice. Sizes that Meta has published tell them
apart, and so does an output that is not the embedding; of others the user has to say which.

Read in meta-llama/llama llama/model.py (rope 156-160, widths 331-335, embeddings 437), meta-llama/llama3
llama/model.py:258, llama-models models/llama3/model.py:46-62, and fairscale nn/model_parallel/layers.py:120, 187,
257, 344.
"""

from mappings.family import Family, Fixed, Harmless, Leave, Of, Recognise, Row, Setting
from mappings.via import BY_THE_TENSORS, META_WIDTHS, UNLESS_NEGATIVE, meta_scaled

M = "layers.{layer}."
R = "layer.{layer}."

_KEYS = ("dim", "n_layers", "n_heads", "norm_eps")
_NAMED = ("model_type", "architectures")

#: sizes that one release alone has
_FIRST = ({"norm_eps": 1e-6}, {"dim": 8192, "n_layers": 80, "multiple_of": 256, "n_kv_heads": None})
_OF_31 = ({"dim": 4096, "n_layers": 32}, {"dim": 8192, "n_layers": 80}, {"dim": 16384, "n_layers": 126})
_OF_32 = ({"dim": 2048, "n_layers": 16, "n_heads": 32}, {"dim": 3072, "n_layers": 28, "n_heads": 24})

LLAMA_2 = Family(
    name="meta",
    variant="llama-2",
    title="Meta's Llama 2",
    recognise=Recognise(present=_KEYS, absent=(*_NAMED, "rope_theta"), none_of=_FIRST),
    architecture="",
    model_type="",
    stored="consolidated",
    source="meta-llama/llama@1e837584 llama/model.py",
    settings=(
        Setting("layer", "n_layers"),
        Setting("hidden ffn", "dim multiple_of ffn_dim_multiplier", via=META_WIDTHS, default=(Of(""), None)),
        Setting("heads", "n_heads"),
        Setting("kv", "n_kv_heads", default=Of("heads")),
        Setting("vocab", "vocab_size", default=None, via=UNLESS_NEGATIVE),
        Setting("norm.eps", "norm_eps"),
        Fixed("head", Of("hidden", over="heads"), "head_dim is dim / n_heads"),
        Fixed("rope.theta", 10000.0, "precompute_freqs_cis has no other base"),
        Fixed("context", 4096, "the length that Llama 2 was trained on"),
        Setting("tied", "tie_word_embeddings", default=None, via=BY_THE_TENSORS),
    ),
    rows=(
        Row("tok_embeddings.weight", "embed", "vocab hidden", split=1),
        Row(M + "attention_norm.weight", R + "attention_norm", "hidden"),
        Row(M + "attention.wq.weight", R + "q", "(kv group pair two) hidden", split=0),
        Row(M + "attention.wk.weight", R + "k", "(kv pair two) hidden", split=0),
        Row(M + "attention.wv.weight", R + "v", "(kv head) hidden", split=0),
        Row(M + "attention.wo.weight", R + "o", "hidden (kv group head)", split=1),
        Row(M + "ffn_norm.weight", R + "mlp_norm", "hidden"),
        Row(M + "feed_forward.w1.weight", R + "gate", "ffn hidden", split=0),
        Row(M + "feed_forward.w3.weight", R + "up", "ffn hidden", split=0),
        Row(M + "feed_forward.w2.weight", R + "down", "hidden ffn", split=1),
        Row("norm.weight", "norm", "hidden"),
        Row("output.weight", "head", "vocab hidden", when="!tied", split=0),
    ),
    leave=(
        Leave("rope.freqs", "recomputed from the base"),
        Leave(M + "attention.inner_attention.rope.freqs", "recomputed from the base"),
    ),
    harmless=(Harmless("max_seq_len max_batch_size", "what the program that runs it is given"),),
)

LLAMA_1 = LLAMA_2.derive(
    variant="llama-1",
    title="Meta's Llama 1",
    recognise=Recognise(present=_KEYS, absent=(*_NAMED, "rope_theta"), one_of=_FIRST),
    source="facebookresearch/llama@a81fb4e2, branch llama_v1, llama/model.py",
    settings=(Fixed("context", 2048, "the length that Llama 1 was trained on"),),
)

CODE_LLAMA = LLAMA_2.derive(
    variant="code-llama",
    title="Meta's Code Llama",
    recognise=Recognise(present=(*_KEYS, "rope_theta"), absent=_NAMED, values={"vocab_size": -1}),
    settings=(
        Setting("rope.theta", "rope_theta"),
        Fixed("context", 16384, "the length that Code Llama was trained on"),
    ),
)

LLAMA_3 = LLAMA_2.derive(
    variant="llama-3",
    title="Meta's Llama 3",
    recognise=Recognise(
        present=(*_KEYS, "rope_theta", "vocab_size"),
        absent=_NAMED,
        unlike={"vocab_size": -1, "use_scaled_rope": True},
    ),
    source="meta-llama/llama3@32b7ddc9 llama/model.py",
    settings=(
        Setting("rope.theta", "rope_theta", default=500000.0),
        Fixed("context", 8192, "the length that Llama 3 was trained on"),
    ),
    rows=(Row("tok_embeddings.weight", "embed", "vocab hidden", split=0),),
)

LLAMA_31 = LLAMA_3.derive(
    variant="llama-3.1",
    title="Meta's Llama 3.1",
    recognise=Recognise(present=_KEYS, absent=_NAMED, values={"use_scaled_rope": True}, none_of=_OF_32),
    source="meta-llama/llama-models@5fdf8311 models/llama3/model.py",
    settings=(
        Setting("rope.scaling", "use_scaled_rope", default=None, via=meta_scaled(8.0)),
        Fixed("context", 131072, "the length that Llama 3.1 was trained on"),
    ),
)

LLAMA_32 = LLAMA_31.derive(
    variant="llama-3.2",
    title="Meta's Llama 3.2 1B and 3B",
    recognise=Recognise(present=_KEYS, absent=_NAMED, values={"use_scaled_rope": True}, none_of=_OF_31),
    settings=(
        Setting("rope.scaling", "use_scaled_rope", default=None, via=meta_scaled(32.0)),
        Fixed("tied", True, "output is the embedding, stored twice"),
    ),
    rows=(
        Row("tok_embeddings.weight", "embed", "vocab hidden", split=0),
        Row("output.weight", "embed", "vocab hidden", split=0, spare=True),
    ),
)

FAMILIES = (LLAMA_2, LLAMA_1, LLAMA_3, LLAMA_31, LLAMA_32, CODE_LLAMA)
