"""Facts of tokenizers that are odd but legal, and refusals of those that the library itself chokes on."""

from __future__ import annotations

import pytest

from surgery.errors import ConversionError
from surgery.tokenizer.facts import encoder, facts, load

ASCII = {
    "added_tokens": [],
    "model": {"type": "BPE", "vocab": {chr(code): code - 32 for code in range(32, 127)}, "merges": []},
}
NO_UNK = {"model": {"type": "Unigram", "vocab": [["b", -1.0]], "unk_id": None}}


def test_a_tokenizer_without_a_token_for_some_text_has_facts() -> None:
    found = facts(ASCII)
    assert (found.kind, found.size, found.max_id) == ("BPE, pieces", 95, 94)
    assert max(found.characters_per_token.values()) > 1  # a Chinese sample: no token at all


def test_a_panic_of_the_library_is_a_refusal() -> None:
    """It asks for the memory that the file states, which is not there, or says that it cannot read it."""
    value = {**ASCII, "normalizer": {"type": "Precompiled", "precompiled_charsmap": "////////////"}}
    with pytest.raises(ConversionError, match=r"tokenizer\.json (is one that the|needs more than|ends the library)"):
        load(value)


def test_what_the_library_finds_only_in_encoding_is_a_refusal() -> None:
    with pytest.raises(ConversionError, match=r"cannot encode text with .*unk_id"):
        facts(NO_UNK)
    with pytest.raises(ConversionError, match="cannot encode text with"):
        encoder(load(NO_UNK))("a")


@pytest.mark.parametrize("merge", ["é é", ["é", "é"]])
def test_merges_that_the_library_would_cut_within_a_character_are_refused(merge: object) -> None:
    model = {"type": "BPE", "vocab": {"é": 0, "éé": 1}, "merges": [merge], "continuing_subword_prefix": "x"}
    with pytest.raises(ConversionError, match="continues a word without the continuing_subword_prefix 'x'"):
        load({"model": model})


def test_a_prefix_that_merges_have_is_no_fault() -> None:
    vocab = {"é": 0, "##é": 1, "éé": 2}
    model = {"type": "BPE", "vocab": vocab, "merges": [["é", "##é"]], "continuing_subword_prefix": "##"}
    assert list(encoder(load({"model": model}))("éé")) == [2]
