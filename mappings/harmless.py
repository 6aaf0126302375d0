"""Keys of config.json that no family's setting reads and that change no logits, and the values at which that is so.

A value's falseness says nothing: ``is_causal`` does nothing where it is true, and turns the causal mask off where it is
false or null. A key without ``at`` is read by no code that computes logits, in any family; transformers' files are
those of 5.23, which 4.57 agrees with unless it is said.
"""

from mappings.family import Harmless

_OFF = (False, None)

#: of the loading libraries, whatever the family
LIBRARY = (
    Harmless(
        "architectures auto_map model_type transformers_version transformers.js_config _name_or_path name_or_path "
        "_from_model_config tokenizer_class processor_class custom_pipelines _commit_hash",
        "who wrote the file, and which class reads it",
    ),
    Harmless("torch_dtype dtype use_bfloat16", "the type that weights are loaded in; they are written as they are stored"),
    Harmless(
        "_attn_implementation _attn_implementation_autoset attn_implementation _flash_attn_2_enabled use_flash_attn "
        "use_flash_attention _experts_implementation experts_implementation",
        "which kernel computes the same products",
    ),
    Harmless("use_cache cache_implementation", "what is kept between steps of generation"),
    Harmless("pretraining_tp chunk_size_feed_forward ep_size", "sums in other parts, the same sums"),
    Harmless("gradient_checkpointing", "of the training"),
    Harmless(
        "hidden_dropout embd_pdrop resid_pdrop attn_pdrop hidden_dropout_prob attn_dropout_prob emb_dropout_prob "
        "attention_probs_dropout_prob attention_dropout classifier_dropout",
        "dropout is of the training",
    ),
    Harmless("initializer_range", "of weights that nobody has trained yet"),
    Harmless(
        "return_dict output_attentions output_hidden_states output_router_logits torchscript tf_legacy_loss",
        "what is returned beside the logits",
    ),
    Harmless(
        "problem_type task_specific_params finetuning_task id2label label2id num_labels", "of heads for other tasks"
    ),
    Harmless("unsloth_version unsloth_fixed", "a mark of the program that trained it"),
    Harmless(
        "prefix max_length min_length do_sample early_stopping num_beams num_beam_groups diversity_penalty temperature "
        "top_k top_p typical_p repetition_penalty length_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size "
        "bad_words_ids num_return_sequences output_scores return_dict_in_generate forced_bos_token_id "
        "forced_eos_token_id remove_invalid_values exponential_decay_length_penalty suppress_tokens "
        "begin_suppress_tokens decoder_start_token_id sep_token_id unk_token_id",
        "of generation, after the logits",
    ),
    Harmless("is_causal", "transformers masking_utils.py 954: any other value lets tokens see what follows", (True,)),
    Harmless(
        "is_encoder_decoder is_decoder add_cross_attention tie_encoder_decoder",
        "transformers 4.57 configuration_utils.py 209-227: of models in two halves",
        _OFF,
    ),
    Harmless("cross_attention_hidden_size", "of models in two halves", (None,)),
    Harmless("pruned_heads", "transformers 4.57 configuration_utils.py 284: heads to be taken out", ({}, None)),
    Harmless("quantization_config compression_config", "weights that are stored as numbers", (None,)),
)

#: what one family's code reads and the others' does not, at the values by which it says that it is off
OPTIONS = (
    Harmless("attention_bias qkv_bias mlp_bias use_bias", "biases that the code does not have", _OFF),
    Harmless("sliding_window use_sliding_window layer_types", "a window that the code does not have", _OFF),
    Harmless("attention_chunk_size", "chunks that the code does not have", (None,)),
    Harmless("max_window_layers", "of windows, which the code does not have"),
    Harmless("rope_scaling", "frequencies that the code does not scale", (None,)),
    Harmless("partial_rotary_factor", "the whole head, as the code rotates it", (1.0, None)),
    Harmless("use_mrope", "positions in three streams, which the code does not have", _OFF),
    Harmless("use_bidirectional_attention", "transformers modeling_gemma.py: a mask that lets tokens see ahead", _OFF),
    Harmless("use_qk_norm qk_layernorm", "norms of heads that the code does not have", _OFF),
    Harmless("attn_logit_softcapping final_logit_softcapping", "limits that the code does not have", (None,)),
    Harmless("num_nextn_predict_layers", "layers that the code does not have", (0, None)),
    Harmless("head_dim num_key_value_heads num_experts num_local_experts", "left to the code", (None,)),
    Harmless("clip_qkv", "limits that the code does not have", (None,)),
    Harmless("alibi use_alibi", "positions that the code does not have", _OFF),
    Harmless("apply_residual_connection_post_layernorm", "a residual that the code does not have", _OFF),
)
