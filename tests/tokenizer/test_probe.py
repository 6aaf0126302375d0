"""The probe itself."""

from __future__ import annotations

from mappings.tokenizers import RECIPES
from surgery.tokenizer.alphabet import BYTE, CHARACTER, spell, unspell
from surgery.tokenizer.probe import PROBE, SAMPLES


def test_the_probe_has_about_three_hundred_different_strings_without_special_tokens() -> None:
    assert 290 <= len(PROBE) == len(set(PROBE)) <= 320
    specials = {special.text for _, recipe in RECIPES for special in (*recipe.specials, *recipe.numbered.values())}
    assert not [text for text in PROBE for special in specials if special in text]
    assert set(SAMPLES.values()) <= set(PROBE)


def test_the_byte_alphabet_is_that_of_the_tokenizers_library() -> None:
    from tokenizers.pre_tokenizers import ByteLevel

    assert set(BYTE) == set(ByteLevel.alphabet())
    every = "".join(map(chr, (*range(0x80), 0xE9, 0x4F60, 0x1F600)))
    split = ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(every)
    assert split[0][0] == spell(every.encode())
    assert unspell("".join(CHARACTER[byte] for byte in range(256))) == bytes(range(256))
