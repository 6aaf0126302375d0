"""What kind of value each key of a config may hold, as far as the verifier reads it: asked once, before anything is read.

JSON can say `"rms_norm_eps": "x"`, and no reader of a number expects that. Written like `meaning` from the vendors' own
configuration classes and never from `mappings`; the questions are `convert.checkpoint.kinds`. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from convert.checkpoint.kinds import FLAG, TABLE, TEXT, TEXTS, Kind, is_number, is_whole, items
from convert.checkpoint.stored import Checkpoint
from surgery.errors import ConversionError, show

_DEEPEST = 1 << 16  # layers: lists are made with an item for each


def _or_null(words: str, fits: Callable[[Any], bool], null: bool = True) -> Kind:
    """In a config null says "none", except where a class computes with the key all the same."""
    return Kind(words, fits, null)


def _is_id(value: Any) -> bool:
    return is_whole(value, -1)


_COUNT = _or_null("a whole number from 1 on", lambda value: is_whole(value, 1))
_LAYERS = _or_null(f"a whole number from 1 to {_DEEPEST}", lambda value: is_whole(value, 1, _DEEPEST))
_EVERY = _or_null("a whole number from 1 on", lambda value: is_whole(value, 1), null=False)
_FROM = _or_null("a whole number from 0 on", is_whole, null=False)
_LENGTH = _or_null("a whole number from 0 on", is_whole)
_NUMBER = _or_null("a number", is_number)
_POSITIVE = _or_null("a number above 0", lambda value: is_number(value) and value > 0)
_FACTOR = _or_null("a number", is_number, null=False)
_DIVISOR = _or_null("a number above 0", lambda value: is_number(value) and value > 0, null=False)
_EPS = _or_null("a number from 0 on", lambda value: is_number(value) and value >= 0, null=False)
_SHARE = _or_null("a number from 0 to 1", lambda value: is_number(value) and 0 <= value <= 1)
_FLAG, _TEXT, _TEXTS, _TABLE = (replace(kind, null=True) for kind in (FLAG, TEXT, TEXTS, TABLE))
_WHOLES = _or_null("a list of whole numbers", items(is_whole))
_NUMBERS = _or_null("a list of numbers", items(is_number))
_BLOCK = _or_null("two whole numbers from 1 on", lambda value: items(lambda n: is_whole(n, 1))(value) and len(value) == 2)
_IDS = _or_null("a token id, or a list of some", lambda value: _is_id(value) or items(_is_id)(value))
_ID = _or_null("a token id", _is_id)


def _named(rows: Mapping[str, Kind]) -> dict[str, Kind]:
    return {key: kind for keys, kind in rows.items() for key in keys.split()}


#: keys of tables of rotation
_ROTATION = _named({
    "rope_type type": _TEXT,
    "rope_theta factor base scaling_factor original_max_position_embeddings attention_factor": _POSITIVE,
    "low_freq_factor high_freq_factor": _FACTOR,
    "beta_fast beta_slow mscale mscale_all_dim": _NUMBER,
    "partial_rotary_factor rotary_pct": _SHARE,
    "long_factor short_factor": _NUMBERS,
    "truncate": _FLAG,
})  # fmt: skip
_CONFIG = _named({
    "model_type hidden_act activation_function hidden_activation topk_method scoring_func": _TEXT,
    "architectures layer_types": _TEXTS,
    "num_hidden_layers num_layers n_layer n_layers": _LAYERS,
    "hidden_size num_attention_heads num_key_value_heads head_dim kv_channels intermediate_size ffn_hidden_size "
    "inner_hidden_size padded_vocab_size multi_query_group_num n_embd n_head n_inner dim n_heads n_kv_heads "
    "num_experts num_local_experts n_routed_experts num_experts_per_tok n_group topk_group q_lora_rank kv_lora_rank "
    "qk_nope_head_dim qk_rope_head_dim v_head_dim attention_chunk_size": _COUNT,
    "dim_model_base": _POSITIVE,  # a divisor, which need not be whole
    "interleave_moe_layer_step no_rope_layer_interval decoder_sparse_step moe_layer_freq": _EVERY,
    "max_window_layers first_k_dense_replace": _FROM,
    "max_position_embeddings original_max_position_embeddings model_max_length seq_length max_sequence_length "
    "n_positions block_size sliding_window n_shared_experts": _LENGTH,
    "rms_norm_eps layer_norm_eps layer_norm_epsilon layernorm_epsilon norm_eps": _EPS,
    "rope_theta": _POSITIVE,
    "rotary_emb_base rope_ratio logits_scaling query_pre_attn_scalar floor_scale": _DIVISOR,
    "attn_logit_softcapping final_logit_softcapping": _POSITIVE,
    "attention_multiplier embedding_multiplier residual_multiplier routed_scaling_factor attn_scale": _FACTOR,
    "scale_emb scale_depth": _NUMBER,
    "partial_rotary_factor rotary_pct": _SHARE,
    "vocab_size": _ID,
    "bos_token_id eos_token_id pad_token_id": _IDS,
    "mask_token_id gmask_token_id": _ID,
    "mlp_only_layers moe_layers no_rope_layers": _WHOLES,
    "attention_bias mlp_bias bias add_bias_linear add_qkv_bias use_qkv_bias no_bias tie_word_embeddings "
    "use_sliding_window use_parallel_residual qk_layernorm use_qk_norm multi_query_attention norm_topk_prob "
    "use_scaled_rope scale_attn_weights scale_attn_by_inverse_layer_idx attn_temperature_tuning": _FLAG,
    "rope_scaling rope_parameters rotary quantization_config text_config model_args": _TABLE,
})  # fmt: skip
#: keys that hold a table, and what that may hold
_WITHIN: Mapping[str, Mapping[str, Kind]] = {
    "rope_scaling": _ROTATION,
    "rope_parameters": _ROTATION,
    "rotary": _ROTATION,
    "quantization_config": {"weight_block_size": _BLOCK},
    "text_config": _CONFIG,
    "model_args": _CONFIG,
}
#: counts of what is chosen, and of what it is chosen from
_CHOSEN = (
    ("num_experts_per_tok", ("num_experts", "num_local_experts", "n_routed_experts")),
    ("topk_group", ("n_group",)),
)  # fmt: skip
_BY_LAYER = ("layer_types", "no_rope_layers")  # lists with an item for each layer


KEYS = tuple(_CONFIG)  # what a config may be asked for


def check_config(checkpoint: Checkpoint) -> None:
    """Refuse a config in which a key that the verifier may read holds a value of another kind than it can mean."""
    _check(checkpoint.config, _CONFIG, show(str(checkpoint.path / checkpoint.config_name)), "")


def _check(table: Mapping[str, Any], kinds: Mapping[str, Kind], where: str, within: str) -> None:
    for key, value in table.items():
        kind = kinds.get(key)
        if kind is None:
            continue
        if not kind.holds(value):
            raise _unfit(where, within + key, value, kind.words)
        if key in _WITHIN and value is not None:
            _check(value, _WITHIN[key], where, f"{within}{key}.")
    for key, among in _CHOSEN:
        there = next((table[name] for name in among if table.get(name) is not None), None)
        if kinds is _CONFIG and there is not None and (table.get(key) or 0) > there:
            raise _unfit(where, within + key, table[key], f"at most the {there} that there are")
    layers = table.get("num_hidden_layers")
    for key in _BY_LAYER:
        if layers is not None and kinds is _CONFIG and table.get(key) and len(table[key]) != layers:
            raise _unfit(where, within + key, table[key], f"an item for each of the {layers} layers")


def _unfit(where: str, key: str, value: Any, expected: str) -> ConversionError:
    return ConversionError(
        f"{where}: {key} is {show(value)} where {expected} should be, so that nothing can be computed from it. Write what "
        "the model was trained with, or the file anew."
    )
