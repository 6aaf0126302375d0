"""Programs that load or serve models: what each refuses, and what it silently computes differently.

Every rule says whether that was executed here or read in the program's source, and in which version.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from convert.validate.rule import Found, rule
from convert.validate.rules.config import references
from convert.validate.rules.rope import hidden_rope, rope_parameters
from convert.validate.subject import Subject, said
from surgery.errors import listed

CONFIG = "config.json"
_LLAMA = ("LlamaForCausalLM", "MistralForCausalLM")
_SILU = ("silu", "swish")
_MLX = "mlx-lm mlx_lm/models/llama.py, rope_utils.py, utils.py (17772c05, 060aa434, 003da2e9)"
_CPP = "llama.cpp conversion/llama.py (0274f0fc)"
_VLLM = "vLLM vllm/model_executor/models/llama.py (0035bdf2)"


@rule(
    "transformers-width", "error", consumer="transformers", proof="executed",
    what="hidden_size is not divisible by num_attention_heads",
    why="transformers 5 refuses the config, even where head_dim is stated",
    fix="pad the heads, or serve the model elsewhere",
    source="transformers 5.23.0 LlamaConfig: validation error",
)  # fmt: skip
def transformers_width(subject: Subject) -> Iterator[Found]:
    width, heads = (subject.text_config.get(key) for key in ("hidden_size", "num_attention_heads"))
    if _is_class(subject, _LLAMA) and isinstance(width, int) and isinstance(heads, int) and heads > 0 and width % heads:
        yield Found(CONFIG, f"hidden_size {width}, num_attention_heads {heads}")


@rule(
    "transformers-remote-code", "warning", consumer="transformers", proof="executed",
    what="the class exists only as code of the repository",
    why="from_pretrained refuses it without trust_remote_code, and with it breaks as the library moves on",
    fix="convert it: `weightsmith families` lists the native classes it can become",
    source="transformers 5.23.0 AutoConfig: ValueError",
)  # fmt: skip
def transformers_remote_code(subject: Subject) -> Iterator[Found]:
    if named := sorted(set(references(subject.config))):
        yield Found(CONFIG, f"auto_map names {listed(named)}")


@rule(
    "transformers-tokenizer", "error", consumer="transformers", proof="executed",
    what="there is no tokenizer",
    why="AutoTokenizer finds nothing to load, so that no text can be put to the model",
    fix="copy the tokenizer's files from the source model",
    source="transformers 5.23.0 AutoTokenizer",
)  # fmt: skip
def transformers_tokenizer(subject: Subject) -> Iterator[Found]:
    yield from _no_tokenizer(subject)


@rule(
    "transformers-4-rope", "error", consumer="transformers-4", proof="executed",
    what="rope is stated only in the form of transformers 5",
    why="4.57 reads theta 10000 and no scaling, without an error: fluent nonsense",
    fix="write rope_theta and rope_scaling beside it (`--fix` does)",
    source="transformers 4.57.6",
)  # fmt: skip
def transformers_4_rope(subject: Subject) -> Iterator[Found]:
    if hidden := hidden_rope(subject):
        yield Found(CONFIG, f"not seen: {said(hidden)}")


@rule(
    "transformers-4-rope-type", "error", consumer="transformers-4", proof="executed",
    what="the type of rope scaling does not exist in transformers 4",
    why="4.57 fails with a KeyError when the model is built",
    fix="express partial rotation as longrope factors, which both versions compute",
    source="transformers 4.57.6 modeling_rope_utils.py ROPE_INIT_FUNCTIONS",
)  # fmt: skip
def transformers_4_rope_type(subject: Subject) -> Iterator[Found]:
    if _rope_type(subject) == "proportional":
        yield Found(CONFIG, 'rope_type is "proportional"')


@rule(
    "transformers-4-tokenizer", "error", consumer="transformers-4", proof="executed",
    what="the tokenizer's class exists only in transformers 5",
    why="AutoTokenizer of 4.57 does not find it",
    fix='tokenizer_class "PreTrainedTokenizerFast" with tokenizer.json works in both',
    source="transformers 4.57.6 AutoTokenizer: ValueError",
)  # fmt: skip
def transformers_4_tokenizer(subject: Subject) -> Iterator[Found]:
    named = subject.vocabulary.settings.get("tokenizer_class")
    if named in ("TokenizersBackend", "SentencePieceBackend", "PythonBackend"):
        yield Found("tokenizer_config.json", f"tokenizer_class is {said(named)}")


@rule(
    "transformers-4-tokenizer-missing", "error", consumer="transformers-4", proof="read",
    what="there is no tokenizer",
    why="AutoTokenizer finds nothing to load, so that no text can be put to the model",
    fix="copy the tokenizer's files from the source model",
    source="transformers 4.57.6 AutoTokenizer",
)  # fmt: skip
def transformers_4_tokenizer_missing(subject: Subject) -> Iterator[Found]:
    yield from _no_tokenizer(subject)


@rule(
    "vllm-activation", "error", consumer="vllm", proof="read",
    what="the activation of a Llama is not SiLU",
    why="vLLM refuses to build the model (ValueError: only silu is supported)",
    fix="serve it with transformers, or as the family it came from",
    source=_VLLM + " LlamaMLP.__init__",
)  # fmt: skip
def vllm_activation(subject: Subject) -> Iterator[Found]:
    yield from _activation(subject)


@rule(
    "vllm-longrope", "error", consumer="vllm", proof="read",
    what="longrope states an attention_factor that its two lengths do not give",
    why="vLLM ignores attention_factor and derives the scale from the ratio of the lengths: other logits, silently",
    fix="make original_max_position_embeddings equal max_position_embeddings, with attention_factor 1",
    source="vLLM layers/rotary_embedding: Phi3LongRoPEScaledRotaryEmbedding (exactness facts E-3)",
)  # fmt: skip
def vllm_longrope(subject: Subject) -> Iterator[Found]:
    yield from _lengths(subject)


@rule(
    "vllm-remote-code", "warning", consumer="vllm", proof="read",
    what="the class exists only as code of the repository",
    why="vLLM needs --trust-remote-code, and a class of its own under that name",
    fix="convert it to a native class",
    source="vLLM model_executor/models/registry.py",
)  # fmt: skip
def vllm_remote_code(subject: Subject) -> Iterator[Found]:
    if named := sorted(set(references(subject.config))):
        yield Found(CONFIG, f"auto_map names {listed(named)}")


@rule(
    "vllm-tokenizer", "error", consumer="vllm", proof="read",
    what="there is no tokenizer",
    why="`vllm serve` loads the tokenizer first, and stops",
    fix="copy the tokenizer's files from the source model",
    source="vLLM vllm/transformers_utils/tokenizer.py get_tokenizer",
)  # fmt: skip
def vllm_tokenizer(subject: Subject) -> Iterator[Found]:
    yield from _no_tokenizer(subject)


@rule(
    "llama-cpp-activation", "error", consumer="llama.cpp", proof="read",
    what="the activation of a Llama is not SiLU",
    why="llama.cpp computes SiLU whatever the config says: logits that look right (cosine 0.98) and are not",
    fix="serve it with transformers, or convert the source family by llama.cpp's own converter",
    source=_CPP + "; its LLAMA graph has SiLU hard-coded",
)  # fmt: skip
def llama_cpp_activation(subject: Subject) -> Iterator[Found]:
    yield from _activation(subject)


@rule(
    "llama-cpp-rope", "error", consumer="llama.cpp", proof="read",
    what="the type of rope scaling is one that llama.cpp's converter drops",
    why="longrope, proportional and dynamic Llamas convert without an error and run plain rope",
    fix="convert the source family by llama.cpp's own converter",
    source=_CPP + " generate_extra_tensors writes factors for llama3 only",
)  # fmt: skip
def llama_cpp_rope(subject: Subject) -> Iterator[Found]:
    kind = _rope_type(subject)
    if _is_class(subject, _LLAMA) and kind in ("longrope", "proportional", "dynamic"):
        yield Found(CONFIG, f"rope_type is {said(kind)}")


@rule(
    "llama-cpp-llama3-length", "error", consumer="llama.cpp", proof="read",
    what="llama3 scaling starts from another length than 8192",
    why="the converter reads original_max_position_embeddings beside the scaling, not in it, and else takes 8192",
    fix="write original_max_position_embeddings at the top of config.json too",
    source=_CPP + " generate_extra_tensors: hparams.get('original_max_position_embeddings', 8192)",
)  # fmt: skip
def llama_cpp_llama3_length(subject: Subject) -> Iterator[Found]:
    length, top = (
        _scaling(subject).get("original_max_position_embeddings"),
        subject.text_config.get("original_max_position_embeddings"),
    )
    if _rope_type(subject) == "llama3" and length not in (None, 8192) and top != length:
        yield Found(CONFIG, f"the scaling says {said(length)}; the converter will take {said(top or 8192)}")


@rule(
    "llama-cpp-tokenizer", "error", consumer="llama.cpp", proof="read",
    what="there is no vocabulary that the converter can read",
    why="convert_hf_to_gguf stops: it needs tokenizer.model or tokenizer.json",
    fix="copy tokenizer.model from the source, or write tokenizer.json",
    source=_CPP + " set_vocab",
)  # fmt: skip
def llama_cpp_tokenizer(subject: Subject) -> Iterator[Found]:
    if subject.kind == "model" and not {"tokenizer.model", "tokenizer.json", "tekken.json"} & subject.folder.names:
        yield Found("tokenizer.model", "neither tokenizer.model nor tokenizer.json is there")


@rule(
    "mlx-tokenizer", "error", consumer="mlx", proof="read",
    what="there is no tokenizer",
    why="mlx_lm.load loads the tokenizer beside the weights, and stops",
    fix="copy the tokenizer's files from the source model",
    source=_MLX,
)  # fmt: skip
def mlx_tokenizer(subject: Subject) -> Iterator[Found]:
    yield from _no_tokenizer(subject)


@rule(
    "mlx-rope-form", "error", consumer="mlx", proof="read",
    what="rope is stated only in the form of transformers 5",
    why="mlx-lm reads rope_theta and rope_scaling only: theta 10000 and no scaling, silently",
    fix="write rope_theta and rope_scaling beside it (`--fix` does)",
    source=_MLX,
)  # fmt: skip
def mlx_rope_form(subject: Subject) -> Iterator[Found]:
    if hidden := hidden_rope(subject):
        yield Found(CONFIG, f"not seen: {said(hidden)}")


@rule(
    "mlx-activation", "error", consumer="mlx", proof="read",
    what="the activation of a Llama is not SiLU",
    why="mlx-lm computes SiLU whatever the config says",
    fix="serve it with transformers, or as the family it came from",
    source=_MLX,
)  # fmt: skip
def mlx_activation(subject: Subject) -> Iterator[Found]:
    yield from _activation(subject)


@rule(
    "mlx-rope-type", "error", consumer="mlx", proof="read",
    what="mlx-lm does not know the type of rope scaling",
    why="it raises ValueError: Unsupported RoPE type",
    fix="serve the model elsewhere",
    source=_MLX,
)  # fmt: skip
def mlx_rope_type(subject: Subject) -> Iterator[Found]:
    if _is_class(subject, _LLAMA) and _rope_type(subject) not in (
        "default",
        "linear",
        "llama3",
        "yarn",
        "longrope",
        "proportional",
    ):
        yield Found(CONFIG, f"rope_type is {said(_rope_type(subject))}")


@rule(
    "mlx-longrope", "error", consumer="mlx", proof="read",
    what="longrope states an attention_factor that its two lengths do not give, or short factors of its own",
    why="mlx-lm ignores attention_factor and short_factor: other logits, silently",
    fix="make both lengths and both lists of factors equal, with attention_factor 1",
    source=_MLX + " SuScaledRoPE",
)  # fmt: skip
def mlx_longrope(subject: Subject) -> Iterator[Found]:
    scaling = _scaling(subject)
    yield from _lengths(subject)
    if _rope_type(subject) == "longrope" and scaling.get("short_factor") != scaling.get("long_factor"):
        yield Found(CONFIG, "short_factor differs from long_factor; only the latter is used")


@rule(
    "mlx-tie-default", "error", consumer="mlx", proof="read",
    what="tie_word_embeddings is not stated, and the model is not tied",
    why="mlx-lm takes true where transformers takes false: lm_head is dropped for the embeddings, silently",
    fix="state tie_word_embeddings: false",
    source=_MLX + " ModelArgs",
)  # fmt: skip
def mlx_tie_default(subject: Subject) -> Iterator[Found]:
    if (
        _is_class(subject, _LLAMA)
        and "tie_word_embeddings" not in subject.text_config
        and "lm_head.weight" in subject.tensors
    ):
        yield Found(CONFIG, "tie_word_embeddings is absent, and lm_head.weight is stored")


@rule(
    "mlx-files", "error", consumer="mlx", proof="read",
    what="there are no model*.safetensors",
    why="mlx-lm loads nothing else",
    fix="`weightsmith repack SRC OUT` writes them",
    source=_MLX + " load_model",
)  # fmt: skip
def mlx_files(subject: Subject) -> Iterator[Found]:
    if not any(name.startswith("model") and name.endswith(".safetensors") for name in subject.weights.names):
        yield Found(".", "no model*.safetensors")


def _no_tokenizer(subject: Subject) -> Iterator[Found]:
    if subject.kind == "model" and not subject.vocabulary.files and "tekken.json" not in subject.folder.names:
        yield Found("tokenizer.json", "no tokenizer.json, tokenizer.model, *.tiktoken, or vocab.json with merges.txt")


def _activation(subject: Subject) -> Iterator[Found]:
    stated = subject.text_config.get("hidden_act", "silu")
    if _is_class(subject, _LLAMA) and stated not in _SILU:
        yield Found(CONFIG, f"hidden_act is {said(stated)}")


def _lengths(subject: Subject) -> Iterator[Found]:
    """Longrope whose attention factor is 1 although its lengths differ, or the other way round."""
    scaling, config = _scaling(subject), subject.text_config
    original = scaling.get("original_max_position_embeddings", config.get("original_max_position_embeddings"))
    longest, factor = config.get("max_position_embeddings"), scaling.get("attention_factor")
    if _rope_type(subject) != "longrope" or factor is None or not _is_class(subject, _LLAMA):
        return
    if (original == longest) != (factor == 1):
        yield Found(CONFIG, f"attention_factor {said(factor)} with the lengths {said(original)} and {said(longest)}")


def _scaling(subject: Subject) -> Mapping[str, Any]:
    old = subject.text_config.get("rope_scaling")
    return old if isinstance(old, dict) else rope_parameters(subject) or {}


def _rope_type(subject: Subject) -> object:
    scaling = _scaling(subject)
    return scaling.get("rope_type") or scaling.get("type") or "default"


def _is_class(subject: Subject, names: tuple[str, ...]) -> bool:
    named = subject.config.get("architectures")
    return isinstance(named, list) and any(name in names for name in named)
