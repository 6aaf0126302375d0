"""InternLM 1: Llama whose ``bias`` puts biases on q, k, v and o, with rope in a table of its own.

Read in internlm/internlm-7b modeling_internlm.py: the biases (300-303; 7B has them, 20B does not); as many keys as
queries, so that the 20B config's num_key_value_heads is not read; ``rotary`` (307-323), dynamic when missing, with a
factor of 1.0 that does nothing up to max_position_embeddings (205-218).
"""

from mappings.family import Fixed, Harmless, Of, Recognise, Setting
from mappings.llama import LLAMA
from mappings.special import special
from mappings.via_rope import ROTARY

INTERNLM = LLAMA.derive(
    name="internlm",
    title="InternLM",
    recognise=Recognise(model_type="internlm", architectures=("InternLMForCausalLM",)),
    architecture="InternLMForCausalLM",
    model_type="internlm",
    source="internlm/internlm-7b@96e127d0 modeling_internlm.py",
    settings=(
        *special(1, 2, 0),
        Setting(
            "rope.theta rope.scaling",
            "rotary",
            default=(10000.0, (("rope_type", "dynamic"), ("factor", 1.0))),
            via=ROTARY,
        ),
        Setting("bias.qkv bias.o", "bias", default=True),
        Fixed("bias.mlp", False, "the MLP has no biases"),
        Fixed("kv", Of("heads"), "there are as many keys as queries"),
        Fixed("head", Of("hidden", over="heads"), "head_dim is hidden_size / num_attention_heads"),
    ),
    harmless=(Harmless("num_key_value_heads", "the code has as many keys as queries"),),
)

FAMILIES = (INTERNLM,)
