"""SentencePiece vocabularies joined: the published Chinese-LLaMA byte for byte, and old text that keeps its ids."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.tokenizers import recipe_for
from surgery.errors import ConversionError
from surgery.tokenizer.export import export
from surgery.tokenizer.pieces import add_piece, add_pieces, canonical, merge_sentencepiece
from surgery.tokenizer.probe import PROBE, SAMPLES
from surgery.tokenizer.sources import read_sentencepiece
from surgery.tokenizer.training import train_pieces
from tests.shared import needs_shared
from tests.tokenizer.small import sentencepiece_model
from tests.tokenizer.vendors import TOKENIZERS
from tests.trained.kinds import chinese_pieces, kind
from tests.trained.pieces import Spelled, form, joined_as_published, model
from tests.trained.truth import processor

# ymcui/Chinese-LLaMA-Alpaca: SHA256.md; the same bytes lie in ../shared.
PUBLISHED_49953 = "e2676d4ca29c"
PUBLISHED_49954 = "2d967e855b12"


def test_a_published_merge_is_the_base_and_what_it_lacks_with_score_0_byte_for_byte() -> None:
    """The merge again by other means (tests/trained/pieces.py), as its authors describe theirs."""
    base, addition = model(Spelled(runs=1)), chinese_pieces()
    there, others = ({piece.piece for piece in form.ModelProto.FromString(data).pieces} for data in (base, addition))
    merged = merge_sentencepiece(base, addition, "published")
    assert merged.model == joined_as_published(base, addition)
    assert (set(merged.added), set(merged.duplicates), merged.skipped) == (others - there, others & there, ())
    appended = form.ModelProto.FromString(merged.model)
    appended.pieces.add(piece="[PAD]", score=0.0)
    assert add_piece(merged.model, "[PAD]") == appended.SerializeToString()


@needs_shared
def test_llama_and_the_chinese_pieces_make_the_published_files_byte_for_byte() -> None:
    llama = (TOKENIZERS / "llama2" / "vendor" / "tokenizer.model").read_bytes()
    chinese = (TOKENIZERS / "chinese-sp-20000" / "chinese_sp.model").read_bytes()
    merged = merge_sentencepiece(llama, chinese, "published")
    assert sha256(merged.model).hexdigest().startswith(PUBLISHED_49953)
    assert merged.model == (TOKENIZERS / "chinese_llama" / "vendor" / "tokenizer.model").read_bytes()
    assert (len(merged.added), len(merged.duplicates), merged.skipped) == (17953, 2047, ())
    alpaca = add_piece(merged.model, "[PAD]")
    assert sha256(alpaca).hexdigest().startswith(PUBLISHED_49954)
    assert alpaca == (TOKENIZERS / "chinese-alpaca-49954" / "tokenizer.model").read_bytes()


def english_is_left_alone(base_model: bytes, addition: bytes, whole: str) -> None:
    """Asserts that canonical scores keep old text as it was, and that the published ones cut ``whole`` anew."""
    base = processor(base_model)
    ours, theirs = (
        processor(merge_sentencepiece(base_model, addition, scores).model) for scores in ("canonical", "published")
    )
    assert base.encode(whole, out_type=str) == ours.encode(whole, out_type=str) == [f"▁{whole}"]
    assert len(theirs.encode(whole)) > 1
    for text in PROBE:
        before, after = base.encode(text), ours.encode(text)
        assert before == after or max(after) >= base.get_piece_size()
        assert len(after) <= len(before)
    assert len(ours.encode(SAMPLES["Chinese"])) < 0.6 * len(base.encode(SAMPLES["Chinese"]))
    assert ours.encode(SAMPLES["English"]) == base.encode(SAMPLES["English"])


def test_canonical_scores_leave_alone_what_published_ones_cut_anew() -> None:
    base = model(Spelled({"character_coverage": 1.0}, corpus="english"))
    made = form.ModelProto.FromString(chinese_pieces())
    there = {piece.piece for piece in (*made.pieces, *form.ModelProto.FromString(base).pieces)}
    # one English piece of the addition is enough, where it lies across the base's own merges
    for text in ("do", *sorted(set(SAMPLES["Chinese"]) - there)):
        made.pieces.add(piece=text, score=-20.0)
    assert "do" not in there
    english_is_left_alone(base, made.SerializeToString(), "window")


@needs_shared
def test_canonical_scores_leave_english_alone_where_the_published_ones_cut_it_anew() -> None:
    llama = (TOKENIZERS / "llama2" / "vendor" / "tokenizer.model").read_bytes()
    chinese = (TOKENIZERS / "chinese-sp-20000" / "chinese_sp.model").read_bytes()
    english_is_left_alone(llama, chinese, "create")
    theirs = processor(merge_sentencepiece(llama, chinese, "published").model)
    assert theirs.encode("create", out_type=str) == ["▁cr", "eat", "e"]


@cache
def joined() -> tuple[Any, Any]:
    """A base that knows no Chinese, and the base with Chinese pieces."""
    base = sentencepiece_model(only_ascii=True, vocab_size=500)
    addition = train_pieces(SAMPLES.values(), 300, threads=1)
    return processor(base), processor(merge_sentencepiece(base, addition).model)


@given(st.text(st.sampled_from("abcdetho nis.你好语言模型的0 \n"), max_size=40) | st.sampled_from(PROBE))
def test_text_that_gets_no_new_piece_keeps_its_ids(text: str) -> None:
    base, merged = joined()
    before, after = base.encode(text), merged.encode(text)
    assert before == after or max(after) >= base.get_piece_size()
    assert merged.decode(after) == base.decode(before)


def test_new_scores_go_on_below_the_lowest_real_one_and_never_tie() -> None:
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto.FromString(sentencepiece_model())
    lowest = min(piece.score for piece in model.pieces)
    model.pieces.add(piece="▁▁▁▁▁", score=-1e9)  # as Llama ranks its runs of spaces
    merged = read_sentencepiece("m", add_pieces(model.SerializeToString(), ["甲乙", "丙丁", "戊己"]).model)
    assert [piece.score for piece in merged.pieces[-9:]] == [lowest - place for place in range(1, 10)]
    # characters first, which the base spells in bytes: tokenizers joins no bytes
    assert [piece.text for piece in merged.pieces[-9:]] == ["甲", "乙", "甲乙", "丙", "丁", "丙丁", "戊", "己", "戊己"]


def test_published_scores_are_zero_and_everything_before_stays_as_it_was() -> None:
    base = sentencepiece_model()
    merged = add_pieces(base, ["甲乙"], "published").model
    assert merged.startswith(base[:1000])
    before, after = read_sentencepiece("b", base), read_sentencepiece("m", merged)
    assert after.pieces[:-1] == before.pieces
    assert after.pieces[-1].score == 0.0


def test_what_cannot_be_a_piece_is_skipped_with_the_reason() -> None:
    merged = add_pieces(sentencepiece_model(), ["", "a\x1b[0m", "b\ufffd", "甲乙", "甲乙", "the", " the"])
    assert dict(merged.skipped) == {
        "": "it is empty",
        "a\x1b[0m": "it has control characters",
        "b\ufffd": "it has a replacement character, the trace of a wrong decoding",
    }
    assert "甲乙" in merged.duplicates
    assert "甲乙" in merged.added
    assert "▁the" in merged.duplicates


def words_beside_what_the_base_never_makes(base: bytes, words: list[str], texts: list[str]) -> None:
    merged = add_pieces(base, words, chains=True)
    old, new = processor(base), processor(merged.model)
    for text in texts:
        after = new.encode(text)
        assert after == old.encode(text) or max(after) >= old.get_piece_size(), text
    assert any("would come up in old text" in reason for _, reason in merged.skipped)


def test_a_word_whose_steps_would_bring_an_old_piece_up_is_left_out() -> None:
    """The base has a piece of three that no two of its pieces make; a step makes two of them, and old text would be cut anew."""
    made = form.ModelProto.FromString(sentencepiece_model())
    for character in "甲乙丙丁":
        made.pieces.add(piece=character, score=-9000.0 - ord(character) / 1e5)
    made.pieces.add(piece="甲乙丙", score=-1.0)
    base = made.SerializeToString()
    assert len(processor(base).encode("甲乙丙")) > 2
    words_beside_what_the_base_never_makes(base, ["甲乙丁", "丙丁"], ["甲乙丙", "x甲乙丙丁", "丙丁甲乙丙"])


@needs_shared
def test_words_for_chinese_llama_2_leave_its_old_text_alone() -> None:
    base = (TOKENIZERS / "chinese_llama2" / "vendor" / "tokenizer.model").read_bytes()
    words_beside_what_the_base_never_makes(
        base, ["越来越好", "意大利人", "我爱北京"], ["生活越来越难", "意大利的历史", "意大利人", "越来越好"]
    )


@needs_shared
def test_pieces_with_characters_that_the_base_lacks_are_cut_alike_by_both_files() -> None:
    llama = (TOKENIZERS / "llama2" / "vendor" / "tokenizer.model").read_bytes()
    chinese = (TOKENIZERS / "chinese-sp-20000" / "chinese_sp.model").read_bytes()
    pieces = [piece.text for piece in read_sentencepiece("c", chinese).pieces if piece.kind == "normal"][:3000]
    merged = add_pieces(llama, pieces)
    lacking = {character for piece in pieces for character in piece} - {p.text for p in read_sentencepiece("l", llama).pieces}
    assert lacking <= {*merged.added}
    made = export(recipe_for("llama", {"tokenizer.model": merged.model}), {"tokenizer.model": merged.model})
    assert made.check.identical, str(made.check)


def test_pieces_that_no_merge_reaches_are_reported() -> None:
    merged = add_pieces(sentencepiece_model(), ["甲乙丙"])
    assert merged.unreachable == ("甲乙丙",)
    assert processor(merged.model).encode("甲乙丙", out_type=str) != ["▁", "甲乙丙"]


def test_a_word_list_is_reached_through_chains() -> None:
    base = sentencepiece_model()
    words = ("分词器训练", "星辰大海的征途", " internationalise")
    merged = add_pieces(base, words, chains=True)
    encoded = processor(merged.model)
    assert merged.unreachable == ()
    for word in words:
        assert encoded.encode(word, out_type=str)[-1].replace("▁", " ").removeprefix(" ") == word.strip()


def test_a_base_whose_scores_leave_no_room_is_refused() -> None:
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto.FromString(sentencepiece_model())
    model.pieces.add(piece="丁戊", score=-5e7)
    with pytest.raises(ConversionError, match="float32 cannot count"):
        add_pieces(model.SerializeToString(), ["甲乙"])


#: two pieces behind the characters that they need
WORDS = ["甲", "乙", "甲乙", "丙", "丁", "丙丁"]


def test_tied_pieces_are_scored_anew_behind_all_others() -> None:
    base = sentencepiece_model()
    tied = add_pieces(base, WORDS, "published").model
    scored = read_sentencepiece("s", canonical(tied))
    assert scored.tied == 0
    assert canonical(tied) == add_pieces(base, WORDS).model


def test_adding_a_piece_that_is_there_is_refused() -> None:
    with pytest.raises(ConversionError, match="a piece of the base already"):
        add_piece(sentencepiece_model(), "<s>")


def test_training_keeps_to_the_settings_that_a_llama_needs() -> None:
    heard: list[int] = []
    model = read_sentencepiece(
        "t", train_pieces([*SAMPLES.values(), "词" * 9000], 320, threads=1, progress=heard.append)
    )
    assert (model.algorithm, model.normaliser, model.collapse_spaces, model.byte_fallback) == (
        "bpe",
        "identity",
        False,
        False,
    )
    assert model.size == 320
    assert max(len(piece.text) for piece in model.pieces if piece.kind == "normal") <= 8
    assert not any(piece.text[1:].isdigit() for piece in model.pieces if len(piece.text) > 2)
    assert heard == [len(SAMPLES) + SAMPLES["code"].count("\n") - 1 + 9]


def test_training_more_pieces_than_the_text_has_is_refused_in_one_paragraph() -> None:
    with pytest.raises(ConversionError, match="cannot train 5000 pieces on this corpus") as refused:
        train_pieces(["你好世界"], 5000, threads=1)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["unigram", "unigram-bytes"])
def test_words_reach_a_unigram_model_without_steps_and_leave_other_text_alone(name: str) -> None:
    """The engine says so: sentencepiece on the joined model. Words that hold each other, and one of frequent letters."""
    base = kind(name).files["tokenizer.model"]
    words = ["灯塔看守", "灯塔看守人", "lighthousekeeper", "tion", "ship", "hello world", "перелётный"]
    made = add_pieces(base, words, chains=True)
    assert set(made.added) - {word.replace(" ", "▁") for word in words} <= {one for word in words for one in word}
    assert (made.unreachable, made.skipped) == ((), ())
    before, after = processor(base), processor(made.model)
    for word in words:
        assert word.replace(" ", "▁") in after.encode(f"灯{word}塔", out_type=str)
    size = before.get_piece_size()
    untouched = [text for text in (*PROBE, *SAMPLES.values()) if max(after.encode(text), default=0) < size]
    assert len(untouched) > 200 and all(before.encode(text) == after.encode(text) for text in untouched)
