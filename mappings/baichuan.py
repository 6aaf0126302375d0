"""Baichuan 1 and 2: Llama with q, k, v fused in W_pack; Baichuan 2 normalises the rows of its head; 13B uses ALiBi.

All four say model_type "baichuan". BaiChuanForCausalLM (capital C) is Baichuan-7B; BaichuanForCausalLM is 2-7B where
max_position_embeddings is set and a 13B where only model_max_length is. 13B and 2-13B have the same tensors and keys: only
the published vocabulary sizes (64000 and 125696) tell whether the head is normalised, so other sizes need ``--variant``.

Read in baichuan-inc/Baichuan-7B models/modeling_baichuan.py (W_pack 208-234, rope base 107-109), Baichuan2-7B-Base
modeling_baichuan.py (NormHead 495-511) and Baichuan-13B modeling_baichuan.py (ALiBi 20-46, 137-149).
"""

from mappings.family import Family, Fixed, Harmless, Of, Recognise, Row, Setting
from mappings.llama import INIT, INV_FREQ, LLAMA, SIZES, L, R
from mappings.special import special
from mappings.via import ACTIVATION

Z_LOSS = Harmless("z_loss_weight", "of the training")
LENGTH = Harmless("model_max_length", "a limit of the tokenizer")
_PACKED = Row(
    L + "self_attn.W_pack.weight", f"{R}q {R}k {R}v", "((kv group two pair) + (kv two pair) + (kv head)) hidden"
)

BAICHUAN_7B = Family(
    name="baichuan",
    variant="7b",
    title="Baichuan-7B",
    recognise=Recognise(model_type="baichuan", architectures=("BaiChuanForCausalLM",), unlike={"vocab_size": 125696}),
    architecture="BaiChuanForCausalLM",
    model_type="baichuan",
    source="baichuan-inc/Baichuan-7B@6f3ef463 models/modeling_baichuan.py",
    settings=(
        *SIZES,
        *special(1, 2, 0),
        INIT,
        Setting("norm.eps", "rms_norm_eps", default=1e-6),
        Setting("activation", "hidden_act", default="silu", via=ACTIVATION),
        Setting("context", "max_position_embeddings", default=4096),
        Setting("tied", "tie_word_embeddings", default=False),
        Fixed("kv", Of("heads"), "W_pack holds as many keys as queries"),
        Fixed("head", Of("hidden", over="heads"), "head_dim is hidden_size / num_attention_heads"),
        Fixed("rope.theta", 10000.0, "the base of RotaryEmbedding is hard-coded"),
    ),
    rows=LLAMA.derive(rows=(_PACKED,)).rows,
    leave=(INV_FREQ,),
    harmless=(LENGTH,),
    constants={"use_cache": True},
)

BAICHUAN2_7B = BAICHUAN_7B.derive(
    variant="2-7b",
    title="Baichuan2-7B",
    recognise=Recognise(
        model_type="baichuan",
        architectures=("BaichuanForCausalLM",),
        present=("max_position_embeddings",),
        unlike={"vocab_size": 64000},
    ),
    architecture="BaichuanForCausalLM",
    source="baichuan-inc/Baichuan2-7B-Base@f9d4d8dd modeling_baichuan.py",
    settings=(Fixed("head.unit_rows", True, "NormHead divides each row of lm_head by its norm"),),
    harmless=(LENGTH, Z_LOSS),
)

_ALIBI = (
    Setting("context", "model_max_length", default=4096),
    Fixed("positions", "alibi", "model_max_length without max_position_embeddings: the 13B code adds ALiBi slopes"),
)

BAICHUAN_13B = BAICHUAN_7B.derive(
    variant="13b",
    title="Baichuan-13B",
    recognise=Recognise(
        model_type="baichuan",
        architectures=("BaichuanForCausalLM",),
        absent=("max_position_embeddings",),
        unlike={"vocab_size": 125696},
    ),
    architecture="BaichuanForCausalLM",
    source="baichuan-inc/Baichuan-13B-Chat modeling_baichuan.py, as Mrgengli/baichuan_python@bac52bfd has it",
    settings=_ALIBI,
    harmless=(Harmless("alibi_mask", "made anew from the heads"),),
)

BAICHUAN2_13B = BAICHUAN2_7B.derive(
    variant="2-13b",
    title="Baichuan2-13B",
    recognise=Recognise(
        model_type="baichuan",
        architectures=("BaichuanForCausalLM",),
        absent=("max_position_embeddings",),
        unlike={"vocab_size": 64000},
    ),
    source="baichuan-inc/Baichuan2-13B-Chat modeling_baichuan.py, as jrd77/Baichuan2-13B-Chat@d022d726 has it",
    settings=_ALIBI,
    harmless=(Z_LOSS,),
)

FAMILIES = (BAICHUAN_7B, BAICHUAN2_7B, BAICHUAN_13B, BAICHUAN2_13B)
