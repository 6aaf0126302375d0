"""One function in four layouts: every decoder reads it, and every conversion to Llama goes on to say the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from convert.checkpoint import open_checkpoint
from convert.prepare import plan_conversion
from tests.oracle import native_logits, transformers
from tests.retold import LAYOUTS, VOCAB, retold
from tests.verification.decoding import decoded
from tests.writing import write

IDS = torch.randint(VOCAB, (2, 33), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return retold("llama", tmp_path_factory.mktemp("truth") / "llama")


def story(folder: Path) -> list[int]:
    """Forty tokens after <s>, each the likeliest, by transformers' class."""
    model = transformers().AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    start = torch.tensor([[1]])
    options = {"max_new_tokens": 40, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    with torch.inference_mode():
        told = model.generate(start, attention_mask=torch.ones_like(start), **options)
    return told[0].tolist()


@pytest.mark.parametrize("family", LAYOUTS)
def test_every_decoder_has_the_logits_of_transformers_llama(family: str, truth: Path, tmp_path: Path):
    logits = decoded(retold(family, tmp_path / family), IDS)[0]
    torch.testing.assert_close(logits, native_logits(truth, IDS), atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", [family for family in LAYOUTS if family != "llama"])
def test_every_layout_becomes_a_llama_that_tells_the_same_story(family: str, truth: Path, tmp_path: Path):
    write(plan_conversion(open_checkpoint(retold(family, tmp_path / family)), "llama"), tmp_path / "out")
    assert len(set(story(truth))) > 15
    assert story(tmp_path / "out") == story(truth)
