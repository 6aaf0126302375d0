"""Meta's own files: params.json and one consolidated.NN.pth for each model-parallel rank; rope in adjacent pairs.

Rows of wq, wk, wv, w1, w3 and output are cut over the files, columns of wo and w2; norms are in all of them. The
embeddings are cut by columns in Llama 1 and 2 (ParallelEmbedding) and by rows in Llama 3 (VocabParallelEmbedding),
which params.json does not say: Llama 3 is told by a real vocab_size beside rope_theta. Llama 1 and 2 differ in
nothing but the length they were trained on; norm_eps 1e-6 marks the small ones of Llama 1.

Read in meta-llama/llama llama/model.py (rope 156-160, widths 331-335, embeddings 437), meta-llama/llama3
llama/model.py:258, llama-models models/llama3/model.py:46-62, and fairscale nn/model_parallel/layers.py:120, 187,
257, 344.
"""

from mappings.family import Family, Fixed, Leave, Of, Recognise, Row, Setting
from mappings.via import META_SCALED, META_WIDTHS, UNLESS_NEGATIVE

M = "layers.{layer}."
R = "layer.{layer}."

_KEYS = ("dim", "n_layers", "n_heads", "norm_eps")
_NAMED = ("model_type", "architectures")

LLAMA_2 = Family(
    name="meta",
    variant="llama-2",
    title="Meta's Llama 2",
    recognise=Recognise(present=_KEYS, absent=(*_NAMED, "rope_theta"), unlike={"norm_eps": 1e-6}),
    architecture="",
    model_type="",
    stored="consolidated",
    source="meta-llama/llama llama/model.py",
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
        Fixed("tied", False, "output is a tensor of its own"),
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
        Row("output.weight", "head", "vocab hidden", split=0),
    ),
    leave=(
        Leave("rope.freqs", "recomputed from the base"),
        Leave(M + "attention.inner_attention.rope.freqs", "recomputed from the base"),
    ),
    harmless=("max_seq_len", "max_batch_size"),
)

LLAMA_1 = LLAMA_2.derive(
    variant="llama-1",
    title="Meta's Llama 1",
    recognise=Recognise(present=_KEYS, absent=(*_NAMED, "rope_theta"), values={"norm_eps": 1e-6}),
    source="facebookresearch/llama, branch llama_v1, llama/model.py",
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
    source="meta-llama/llama3 llama/model.py",
    settings=(
        Setting("rope.theta", "rope_theta", default=500000.0),
        Fixed("context", 8192, "the length that Llama 3 was trained on"),
    ),
    rows=(Row("tok_embeddings.weight", "embed", "vocab hidden", split=0),),
)

LLAMA_31 = LLAMA_3.derive(
    variant="llama-3.1",
    title="Meta's Llama 3.1",
    recognise=Recognise(present=_KEYS, absent=_NAMED, values={"use_scaled_rope": True}),
    source="meta-llama/llama-models models/llama3/model.py",
    settings=(
        Setting("rope.scaling", "use_scaled_rope", default=None, via=META_SCALED),
        Fixed("context", 131072, "the length that Llama 3.1 was trained on"),
    ),
)

FAMILIES = (LLAMA_2, LLAMA_1, LLAMA_3, LLAMA_31, CODE_LLAMA)
