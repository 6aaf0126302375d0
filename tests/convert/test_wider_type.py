"""A wider element type: the values are the source's, exactly, and the bytes are not; both are said as they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from convert.checkpoint import open_checkpoint
from convert.explain import LEGEND
from convert.prepare import plan_conversion
from convert.report import plan_text
from convert.writing import write
from tests.goldens import golden
from tests.oracle import tensors

ROOT = Path(__file__).resolve().parents[2]
HALF = [("chatglm3-fp16", "chatglm"), ("llama-gqa-bf16", "internlm2")]


@pytest.mark.parametrize(("name", "target"), HALF)
def test_values_in_a_wider_type_are_equal_and_no_copy_of_bytes_is_claimed(name: str, target: str) -> None:
    plan = plan_conversion(open_checkpoint(golden(name).checkpoint), target, dtype="float32")
    text = plan_text(plan)
    assert str(plan.exactness) == "byte" and plan.computes
    assert "every output byte is a copy" not in text
    assert "every output value is that of the source, exactly" in text


@pytest.mark.parametrize(("name", "target"), HALF)
def test_a_wider_type_rounds_nothing_and_no_rounding_is_told(name: str, target: str) -> None:
    plan = plan_conversion(open_checkpoint(golden(name).checkpoint), target, dtype="float32")
    assert plan.rounding == 0.0
    assert "rounding" not in plan_text(plan)


def test_what_is_written_in_a_wider_type_has_the_values_and_not_the_bytes(tmp_path: Path) -> None:
    folder = golden("chatglm3-fp16").checkpoint
    write(plan_conversion(open_checkpoint(folder), "chatglm", dtype="float32"), tmp_path / "out")
    narrow, wide = tensors(folder), tensors(tmp_path / "out")
    for name, value in wide.items():
        assert value.dtype == torch.float32 and torch.equal(value, narrow[name].float())


def test_moved_bytes_are_said_to_be_copies() -> None:
    text = plan_text(plan_conversion(open_checkpoint(golden("llama-gqa-bf16").checkpoint), "internlm2"))
    assert "every output byte is a copy of an input byte" in text


def test_the_legends_say_what_a_wider_type_does() -> None:
    for said in (*[line for line in LEGEND if line.startswith("B ")], (ROOT / "README.md").read_text()):
        assert "in a wider type the same value" in " ".join(said.split())
