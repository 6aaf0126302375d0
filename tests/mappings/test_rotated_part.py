"""Parts of heads that no whole pair is: cut as transformers cuts them, and an odd element rotated with its neighbour."""

from __future__ import annotations

import pytest
import torch

from convert.checkpoint import open_checkpoint
from convert.prepare import plan_conversion
from convert.verification.movement import prove
from convert.verification.run import verify
from convert.writing import write
from tests.mappings.pairs import randomised, saved
from tests.oracle import native_logits, transformers

IDS = torch.randint(50, (2, 40), generator=torch.Generator().manual_seed(4))
SIZES = {
    "hidden_size": 56, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 40, "num_hidden_layers": 2,
    "vocab_size": 50, "max_position_embeddings": 128, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip


@pytest.mark.parametrize("to", ["glm", "llama", "phi3"])
@pytest.mark.parametrize("share", [0.25, 0.35, 0.5, 0.65])
def test_a_part_of_heads_of_fourteen_is_what_transformers_rotates(share, to, tmp_path):
    config = transformers().GlmConfig(**SIZES, head_dim=14, partial_rotary_factor=share, attention_bias=False)
    source = saved(randomised(transformers().GlmForCausalLM(config)), tmp_path / "in")
    plan = plan_conversion(open_checkpoint(source), to)
    write(plan, tmp_path / "out")
    verdict = verify(open_checkpoint(source), open_checkpoint(tmp_path / "out"), exactness=str(plan.exactness))
    assert verdict.passed, (verdict.sentence, verdict.findings)
    lineage = prove(plan)
    assert lineage is not None and lineage.passed, lineage.sentence
    truth = native_logits(source, IDS)
    assert (native_logits(tmp_path / "out", IDS) - truth).abs().max() <= 1e-4 * truth.abs().max()
