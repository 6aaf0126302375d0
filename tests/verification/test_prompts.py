"""What both sides are made to read."""

from pathlib import Path

import pytest
import torch

from convert.verification.meaning import read
from convert.verification.prompts import choose, encoded, lengths
from surgery.errors import ConversionError
from tests.verification.test_symbolic import LLAMA

LONG = {
    "rope_type": "longrope", "short_factor": [1.0] * 8, "long_factor": [2.0] * 8, "factor": 4.0,
    "original_max_position_embeddings": 200,
}  # fmt: skip


def chosen(change: dict, context: int = 4096, small: bool = True) -> tuple[int, ...]:
    return lengths([read(LLAMA), read(LLAMA | change)], [4096, context], small)


def test_prompts_go_past_a_window_and_an_original_length_and_stay_within_the_context():
    assert chosen({}) == (96,)
    assert chosen({"model_type": "mistral", "sliding_window": 120}) == (128,)
    assert chosen({"model_type": "mistral", "sliding_window": 2047}) == (96,)  # more than is affordable
    assert chosen({"model_type": "mistral", "sliding_window": 120}, context=100) == (96,)
    assert chosen({}, context=64) == (64,)
    assert chosen({}, small=False) == (40,)


def test_a_rotation_that_changes_with_the_whole_length_is_run_on_both_sides_of_it():
    assert chosen({"rope_scaling": LONG}) == (208, 200)
    assert chosen({"rope_scaling": LONG | {"long_factor": [1.0] * 8}}) == (208,)


def tokenizer(folder: Path) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers

    made = Tokenizer(models.WordLevel({"[UNK]": 0, "The": 7, "lighthouse": 300}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


def test_texts_go_through_the_outputs_tokenizer_below_the_common_vocabulary(tmp_path):
    texts = encoded(tokenizer(tmp_path))
    assert texts[0][:2] == [7, 300]
    prompts = choose(None, texts, 256, 3, 40, torch.Generator().manual_seed(0))
    assert prompts.ids.shape == (3, 40) and int(prompts.ids.max()) < 256
    assert prompts.ids[0, :2].tolist() == [7, 0]  # 300 has no counterpart on both sides
    assert prompts.words == "2 texts and 1 of random ids, 40 tokens each, and the first once more, perturbed"


def test_a_tokenizer_that_cannot_be_loaded_is_refused(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ConversionError, match="cannot be used"):
        encoded(tmp_path / "tokenizer.json")
