"""Which keys of generation_config.json and config.json hold token ids, and in which shape: the rest are numbers that stay.

A name does not tell: ``max_new_tokens`` counts tokens and ``suppress_tokens`` lists them. The keys are those of transformers
4.57 and 5.23 (generation/configuration_utils.py) and of the vendors' files; of a key that is not here nothing is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from surgery.errors import listed, show

Holds = Literal[
    "ids",  # one token id or a list of them: each is there or gone
    "words",  # lists of ids, perhaps in lists of alternatives: a word is whole or gone
    "places",  # pairs of a position, which is no id, and an id
    "biases",  # pairs of a word and a number
    "names",  # a table of texts and ids
    "nothing",  # no token id
    "unread",  # ids perhaps, in a shape that no JSON file is known to have
]

_GONE = object()


@dataclass(frozen=True)
class Keys:
    """Keys of one kind. ``bans``: they only forbid tokens, so that nothing changes for those that are gone."""

    names: str
    holds: Holds
    bans: bool = False
    note: str = ""  # what is said where such a key is there and ids have moved


TABLE = (
    Keys("bos_token_id eos_token_id pad_token_id decoder_start_token_id forced_bos_token_id forced_eos_token_id", "ids"),
    Keys("suppress_tokens begin_suppress_tokens", "ids", bans=True),
    Keys("bad_words_ids", "words", bans=True),
    Keys("force_words_ids", "words"),
    Keys("sequence_bias", "biases", bans=True),
    Keys("forced_decoder_ids", "places"),
    Keys("constraints", "unread"),
    # of Whisper and SeamlessM4T
    Keys("no_timestamps_token_id prev_sot_token_id", "ids"),
    Keys("lang_to_id task_to_id text_decoder_lang_to_code_id", "names"),
    # of Baichuan's and Qwen 1's own code
    Keys("user_token_id assistant_token_id", "ids"),
    Keys("stop_words_ids", "words"),
    Keys("chat_format max_window_size", "nothing"),
    # of config.json, its nested tables too
    Keys(
        "sep_token_id cls_token_id mask_token_id gmask_token_id unk_token_id image_token_id video_token_id audio_token_id "
        "vision_token_id vision_start_token_id vision_end_token_id image_token_index video_token_index audio_token_index "
        "image_start_token_id image_end_token_id video_start_token_id video_end_token_id boi_token_id eoi_token_id "
        "boa_token_id eoa_token_id boi_token_index eoi_token_index eoa_token_index audio_bos_token_id audio_eos_token_id "
        "audio_start_token_id audio_end_token_id system_token_id eod_token_id",
        "ids",
    ),
    # what generation takes that is no id
    Keys(
        "max_length max_new_tokens min_length min_new_tokens max_time early_stopping stop_strings prefill_chunk_size "
        "max_cache_len",
        "nothing",
    ),
    Keys(
        "do_sample temperature top_k top_p min_p top_h typical_p epsilon_cutoff eta_cutoff repetition_penalty "
        "encoder_repetition_penalty length_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size "
        "renormalize_logits remove_invalid_values exponential_decay_length_penalty token_healing guidance_scale "
        "penalty_alpha low_memory dola_layers",
        "nothing",
    ),
    Keys("num_beams num_beam_groups diversity_penalty num_return_sequences", "nothing"),
    Keys(
        "watermarking_config", "nothing",
        note="green tokens are drawn by their ids, so that a detector of the watermark needs this output's own ids",
    ),
    Keys(
        "is_assistant num_assistant_tokens num_assistant_tokens_schedule assistant_confidence_threshold "
        "assistant_early_exit assistant_lookbehind assistant_ensemble_weight target_lookbehind prompt_lookup_num_tokens "
        "max_matching_ngram_size speculation_type use_mtp",
        "nothing",
    ),
    Keys(
        "use_cache cache_implementation cache_config return_legacy_cache compile_config disable_compile "
        "continuous_batching_config",
        "nothing",
    ),
    Keys("output_attentions output_hidden_states output_scores output_logits return_dict_in_generate", "nothing"),
    Keys("transformers_version _from_model_config _commit_hash trust_remote_code", "nothing"),
)  # fmt: skip

KEYS: Mapping[str, Keys] = {name: keys for keys in TABLE for name in keys.names.split()}


@dataclass(frozen=True)
class Renumbered:
    """Settings under new ids, and what there is to say of them."""

    settings: dict[str, Any]
    said: tuple[str, ...] = ()


def renumbered(settings: Mapping[str, Any], ids: Mapping[int, int], where: str = "generation_config.json") -> Renumbered:
    """Settings with the token ids in them mapped, and nothing else; what is gone is left out and said.

    A key of which nothing is left is left out, but a null and an empty list stay. ``where`` names the file to the reader.
    """
    made: dict[str, Any] = {}
    said: list[str] = []
    for key, value in settings.items():
        known = KEYS.get(key)
        if isinstance(value, Mapping) and known is None:
            inner = renumbered(value, ids, f"{where}, {show(key, 60)[1:-1]}")
            made[key] = inner.settings
            said += inner.said
        elif known is None or known.holds in ("nothing", "unread"):
            made[key] = value
            said += _unknown(key, value, known, where)
        else:
            lost: list[Any] = []
            try:
                mapped = _MAPPING[known.holds](value, ids, lost) if value is not None else None
            except _Misshapen:
                made[key] = value
                said.append(f"{where}: {key} = {show(value, 60)} has a shape that no library reads: it stays, with old ids")
                continue
            if lost:
                some = "" if mapped is _GONE else f"of {key}, "
                what = f"{some}{listed([show(one, 40) for one in lost], 4)}" if some else f"{key} = {show(value, 60)}"
                said.append(f"{where}: {what} is left out, as its tokens are gone")
            if mapped is not _GONE:
                made[key] = mapped
    return Renumbered(made, tuple(said))


def needed_ids(settings: Mapping[str, Any]) -> frozenset[int]:
    """The ids that settings name to be given or met, those of nested tables too; not those that they only forbid."""
    found: set[int] = set()
    for key, value in settings.items():
        known = KEYS.get(key)
        if isinstance(value, Mapping) and known is None:
            found |= needed_ids(value)
        elif known is not None and known.holds in _MAPPING and not known.bans:
            pairs = value if known.holds == "places" and isinstance(value, list) else ()
            found |= {*_integers([pair[1:] for pair in pairs if isinstance(pair, list)] if pairs else value)}
    return frozenset(found)


class _Misshapen(Exception):
    """A value is not what its key holds."""


def _unknown(key: str, value: Any, known: Keys | None, where: str) -> Iterator[str]:
    if known is None or known.holds == "unread":
        if any(True for _ in _integers(value)):
            yield (
                f"{where}: {show(key, 60)[1:-1]} = {show(value, 60)} stays as it is; whether its numbers are token ids is not "
                "known, and ids have moved"
            )
    elif known.note and value is not None:
        yield f"{where}: {key}: {known.note}"


def _integers(value: Any) -> Iterator[int]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _integers(one)
    elif type(value) is int:
        yield value


def _id(value: Any) -> int:
    if type(value) is not int:
        raise _Misshapen
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _Misshapen
    return value


def _left(mapped: list[Any], before: list[Any]) -> Any:
    return mapped if mapped or not before else _GONE


def _ids(value: Any, ids: Mapping[int, int], lost: list[Any]) -> Any:
    if not isinstance(value, list):
        new = ids.get(_id(value))
        lost += [value] if new is None else []
        return _GONE if new is None else new
    pairs = [(old, ids.get(_id(old))) for old in value]
    lost += [old for old, new in pairs if new is None]
    return _left(list(dict.fromkeys(new for _, new in pairs if new is not None)), value)


def _word(value: Any, ids: Mapping[int, int], lost: list[Any]) -> Any:
    """A list of ids, whole or gone; or a list of such words, the lost ones left out."""
    if _list(value) and all(isinstance(one, list) for one in value):
        return _words(value, ids, lost)
    new = [ids.get(_id(one)) for one in value]
    if None in new:
        lost.append(value)
        return _GONE
    return new


def _words(value: Any, ids: Mapping[int, int], lost: list[Any]) -> Any:
    words = [_word(_list(one), ids, lost) for one in _list(value)]
    return _left([word for word in words if word is not _GONE], value)


def _pairs(value: Any) -> list[list[Any]]:
    if not all(isinstance(one, list) and len(one) == 2 for one in _list(value)):
        raise _Misshapen
    return _list(value)


def _places(value: Any, ids: Mapping[int, int], lost: list[Any]) -> Any:
    """Whisper's files have a null for an id that is asked for later."""
    made: list[Any] = []
    for place, token in _pairs(value):
        new = None if token is None else ids.get(_id(token))
        if new is None and token is not None:
            lost.append([place, token])
        else:
            made.append([place, new])
    return _left(made, value)


def _biases(value: Any, ids: Mapping[int, int], lost: list[Any]) -> Any:
    made: list[Any] = []
    for word, bias in _pairs(value):
        new = [ids.get(_id(one)) for one in _list(word)]
        if None in new:
            lost.append([word, bias])
        else:
            made.append([new, bias])
    return _left(made, value)


def _names(value: Any, ids: Mapping[int, int], lost: list[Any]) -> Any:
    if not isinstance(value, Mapping):
        raise _Misshapen
    pairs = {name: ids.get(_id(token)) for name, token in value.items()}
    lost += [name for name, new in pairs.items() if new is None]
    made = {name: new for name, new in pairs.items() if new is not None}
    return made if made or not value else _GONE


_MAPPING: Mapping[Holds, Callable[[Any, Mapping[int, int], list[Any]], Any]] = {
    "ids": _ids, "words": _words, "places": _places, "biases": _biases, "names": _names,
}  # fmt: skip
