"""Yi as first published (YiForCausalLM): Llama with two norms renamed. Later releases say LlamaForCausalLM and are Llama.

Read in 01-ai/Yi-6B modeling_yi.py: ln1 and ln2 (336-337), grouped keys repeated as Llama does (241-247), rope_theta from the
config with a class default of 5,000,000 (211-215). Other defaults: configuration_yi.py (4 keys, 4096 positions).
"""

from mappings.family import Fixed, Of, Recognise, Row, Setting
from mappings.llama import LLAMA, L, R
from mappings.special import special
from mappings.via import BASE_ONLY

YI = LLAMA.derive(
    name="yi",
    title="Yi",
    recognise=Recognise(model_type="Yi", architectures=("YiForCausalLM",)),
    architecture="YiForCausalLM",
    model_type="Yi",
    source="01-ai/Yi-6B@d729eecf modeling_yi.py",
    settings=(
        *special(1, 2, 0),
        Setting("rope.theta rope.scaling", "rope_theta", default=(5000000.0, None), via=BASE_ONLY),
        Setting("norm.eps", "rms_norm_eps", default=1e-5),
        Setting("kv", "num_key_value_heads", default=4),
        Setting("context", "max_position_embeddings", default=4096),
        Fixed("head", Of("hidden", over="heads"), "head_dim is hidden_size / num_attention_heads"),
        Fixed("bias.qkv", False, "no linear has a bias"),
        Fixed("bias.mlp", False, "no linear has a bias"),
    ),
    rows=(
        Row(L + "ln1.weight", R + "attention_norm", "hidden"),
        Row(L + "ln2.weight", R + "mlp_norm", "hidden"),
    ),
)

FAMILIES = (YI,)
