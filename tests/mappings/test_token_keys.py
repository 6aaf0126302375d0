"""Settings with token ids in them, under new ids: ids move, numbers stay, and what is gone is said."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.token_keys import KEYS, TABLE, needed_ids, renumbered

#: what transformers 4.57.6 has beyond 5.23.0
OLDER = ("_commit_hash", "return_legacy_cache")
IDS = {3: 0, 4: 1, 7: 2}

ids = st.integers(0, 9)
words = st.lists(ids, min_size=1, max_size=3)
numbers = st.integers(0, 9) | st.floats(0, 1) | st.none() | st.booleans()
NOTHING = [key for key, keys in KEYS.items() if keys.holds == "nothing"]
settings = st.fixed_dictionaries({}, optional={
    "eos_token_id": ids | st.lists(ids) | st.none(), "pad_token_id": ids, "suppress_tokens": st.lists(ids) | st.none(),
    "bad_words_ids": st.lists(words), "force_words_ids": st.lists(words | st.lists(words, min_size=1)),
    "sequence_bias": st.lists(st.tuples(words, st.floats(-5, 5)).map(list)), "lang_to_id": st.dictionaries(st.text(), ids),
    "forced_decoder_ids": st.lists(st.tuples(ids, ids | st.none()).map(list)),
    **dict.fromkeys(NOTHING, numbers),
})  # fmt: skip


def test_every_setting_of_the_library_is_in_the_table() -> None:
    from transformers import GenerationConfig

    assert {*vars(GenerationConfig()), *OLDER} - KEYS.keys() == set()


def test_every_key_stands_in_the_table_once() -> None:
    named = [name for keys in TABLE for name in keys.names.split()]
    assert sorted(named) == sorted(set(named))


def test_counts_of_tokens_are_no_ids() -> None:
    counts = {
        "max_new_tokens": 450, "min_new_tokens": 300, "num_assistant_tokens": 20, "prompt_lookup_num_tokens": 10, "top_k": 3,
        "exponential_decay_length_penalty": [3, 1.5], "max_length": 3,
    }  # fmt: skip
    found = renumbered(counts, IDS)
    assert found.settings == counts and found.said == ()


@pytest.mark.parametrize(("before", "after"), [
    ({"pad_token_id": 3, "eos_token_id": [3, 9, 4]}, {"pad_token_id": 0, "eos_token_id": [0, 1]}),
    ({"bad_words_ids": [[3], [9, 3], [3, 4]]}, {"bad_words_ids": [[0], [0, 1]]}),
    ({"bad_words_ids": [[9, 3]]}, {}),
    ({"force_words_ids": [[[3, 4], [9]], [7]]}, {"force_words_ids": [[[0, 1]], [2]]}),
    ({"forced_decoder_ids": [[3, 4], [9, 7], [1, 9], [2, None]]}, {"forced_decoder_ids": [[3, 1], [9, 2], [2, None]]}),
    ({"sequence_bias": [[[3], -10.0], [[3, 9], 2.0]]}, {"sequence_bias": [[[0], -10.0]]}),
    ({"suppress_tokens": [1, 3], "begin_suppress_tokens": [9]}, {"suppress_tokens": [0]}),
    ({"lang_to_id": {"<|en|>": 7, "<|de|>": 8}}, {"lang_to_id": {"<|en|>": 2}}),
    ({"stop_words_ids": [[3]], "user_token_id": 4, "assistant_token_id": 9}, {"stop_words_ids": [[0]], "user_token_id": 1}),
    ({"text_config": {"eos_token_id": 4, "num_beams": 4}}, {"text_config": {"eos_token_id": 1, "num_beams": 4}}),
    ({"bos_token_id": 9, "eos_token_id": None, "suppress_tokens": []}, {"eos_token_id": None, "suppress_tokens": []}),
])  # fmt: skip
def test_ids_are_mapped_and_words_are_whole_or_gone(before: dict[str, Any], after: dict[str, Any]) -> None:
    found = renumbered(before, IDS)
    assert found.settings == after
    assert any("is left out" in line for line in found.said) is ("9" in str(before) or "8" in str(before))


def test_a_key_that_nobody_knows_stays_and_is_said() -> None:
    found = renumbered({"house_token": 3, "style": "short", "share": 0.5, "constraints": [[3]]}, IDS)
    assert found.settings == {"house_token": 3, "style": "short", "share": 0.5, "constraints": [[3]]}
    assert [line.split(" stays")[0] for line in found.said] == [
        "generation_config.json: house_token = 3", "generation_config.json: constraints = [[3]]",
    ]  # fmt: skip


def test_a_shape_that_no_library_reads_stays_and_is_said() -> None:
    odd = {"bad_words_ids": [3, 4], "sequence_bias": {"(3,)": 1.0}, "eos_token_id": "3", "forced_decoder_ids": [[1, 2, 3]]}
    found = renumbered(odd, IDS)
    assert found.settings == odd and len(found.said) == 4 and all("has a shape" in line for line in found.said)


def test_ids_that_are_to_be_given_or_met_are_needed_and_those_that_are_forbidden_are_not() -> None:
    assert needed_ids({
        "eos_token_id": [1, 2], "forced_decoder_ids": [[30, 3], [31, None]], "force_words_ids": [[[4], [5]]],
        "max_new_tokens": 32, "bad_words_ids": [[33]],
        "suppress_tokens": [34], "sequence_bias": [[[35], 1.0]], "text_config": {"pad_token_id": 6},
        "lang_to_id": {"<|en|>": 7},
    }) == {1, 2, 3, 4, 5, 6, 7}  # fmt: skip


@given(settings)
def test_under_the_same_ids_nothing_changes(before: dict[str, Any]) -> None:
    found = renumbered(before, {token: token for token in range(10)})
    lists = {key: value for key, value in before.items() if KEYS[key].holds == "ids" and isinstance(value, list)}
    assert found.settings == before | {key: list(dict.fromkeys(value)) for key, value in lists.items()}


@given(settings, st.dictionaries(ids, st.integers(20, 29)))
def test_no_old_id_is_left_and_no_number_moves(before: dict[str, Any], new: dict[int, int]) -> None:
    """New ids are from 20 on, so that each number shows whose it is."""
    after = renumbered(before, new).settings
    assert {key: value for key, value in after.items() if key in NOTHING} == {
        key: value for key, value in before.items() if key in NOTHING
    }
    for key, value in after.items():
        holds = KEYS[key].holds
        if value is None or holds == "nothing":
            continue
        shown = {"places": lambda v: [token for _, token in v], "biases": lambda v: [word for word, _ in v],
                 "names": lambda v: list(v.values())}.get(holds, lambda v: v)(value)  # fmt: skip
        assert all(one >= 20 for one in _flat(shown))
    biased = [word for word, _ in before.get("sequence_bias", [])]
    for key, words in (("bad_words_ids", before.get("bad_words_ids", [])), ("sequence_bias", biased)):
        assert len(after.get(key, [])) == sum(all(token in new for token in word) for word in words)


def _flat(value: Any) -> list[int]:
    if isinstance(value, list):
        return [token for one in value for token in _flat(one)]
    return [] if value is None else [value]
