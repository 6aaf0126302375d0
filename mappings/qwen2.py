"""Qwen 1.5, 2 and 2.5 (and what was distilled into them): Llama with biases on q, k and v only.

transformers 5.23 models/qwen2: the biases (modeling_qwen2.py 181-184); a window counts only with use_sliding_window,
and then from layer max_window_layers on (configuration_qwen2.py 72-95). A missing num_key_value_heads is 32, a null
one all heads.

The vision-language models hold the same text model beside a vision tower. For text their three position streams are
equal, so mrope is rope (transformers 5.23 models/qwen2_5_vl/modeling_qwen2_5_vl.py). Their text half is read and
written as Qwen2.
"""

from dataclasses import replace

from mappings.family import Fixed, Harmless, Leave, Of, Recognise, Setting
from mappings.llama import LLAMA
from mappings.special import special
from mappings.via import ROPE
from mappings.via_window import LATE_WINDOW

#: what Qwen2, its VL models and Qwen3 say of windows
WINDOW = Setting(
    "window window.full",
    "use_sliding_window sliding_window max_window_layers layer_types num_hidden_layers",
    via=LATE_WINDOW,
    absent={"use_sliding_window": False, "sliding_window": 4096, "max_window_layers": 28},
)
VL_WINDOW = replace(WINDOW, absent={**WINDOW.absent, "max_window_layers": 80})

QWEN2 = LLAMA.derive(
    name="qwen2",
    title="Qwen 1.5 to 2.5",
    recognise=Recognise(
        model_type="qwen2", architectures=("Qwen2ForCausalLM",), absent=("dual_chunk_attention_config",)
    ),
    architecture="Qwen2ForCausalLM",
    model_type="qwen2",
    source="transformers 5.23 models/qwen2/modeling_qwen2.py",
    settings=(
        *special(None, None),
        Setting("kv", "num_key_value_heads", default=32, null=Of("heads")),
        Setting("context", "max_position_embeddings", default=32768),
        WINDOW,
        Fixed("bias.qkv", True, "q, k and v always have biases"),
        Fixed("bias.o", False, "the attention output has no bias"),
        Fixed("bias.mlp", False, "the MLP has no biases"),
    ),
)

QWEN2_1M = QWEN2.derive(
    variant="1m",
    title="Qwen2.5-1M",
    recognise=Recognise(
        model_type="qwen2", architectures=("Qwen2ForCausalLM",), present=("dual_chunk_attention_config",)
    ),
    settings=(
        Setting("context", "dual_chunk_attention_config.original_max_position_embeddings", default=262144),
    ),
    harmless=(Harmless("max_position_embeddings", "the trained length counts"),),
    notes=(
        "Dual chunk attention and YaRN serve this model beyond the length it was trained for; neither is in the "
        "weights. The output has the trained length as its limit, and is the same model up to it.",
    ),
)

QWEN2_VL = QWEN2.derive(
    variant="vl",
    title="Qwen2-VL and Qwen2.5-VL, their text half",
    recognise=Recognise(architectures=("Qwen2VLForConditionalGeneration", "Qwen2_5_VLForConditionalGeneration")),
    source="transformers 5.23 models/qwen2_5_vl/modeling_qwen2_5_vl.py",
    settings=(
        Setting(
            "rope.theta rope.scaling",
            "rope_theta rope_scaling rope_parameters",
            default=(1000000.0, None),
            via=ROPE,
        ),
        *special(151643, 151645),
        Setting("kv", "num_key_value_heads", default=8, null=Of("heads")),
        Setting("norm.eps", "rms_norm_eps", default=1e-5),
        VL_WINDOW,
    ),
    nested="text_config",
    prefixes=(("model.language_model.", "model."),),
    leave=(
        Leave("visual.*", "the vision tower: only the text half is taken"),
        Leave("model.visual.*", "the vision tower: only the text half is taken"),
    ),
    harmless=(
        Harmless(
            "vision_config vision_start_token_id vision_end_token_id vision_token_id image_token_id video_token_id",
            "of images, which are left behind",
        ),
    ),
    notes=("Only the text half is converted: the output reads no images, and the vision tower is left behind.",),
)

FAMILIES = (QWEN2, QWEN2_1M, QWEN2_VL)
