"""Folds of half-precision checkpoints: every stored value within the rounding that the plan predicts, and no logit further.

The golden checkpoints are cast by torch. Truth is the reference decoder in float64 on the cast source; what a fold should
store is said here in torch's words (../shared/facts/exactness.md E-1, E-2), and rounded once by torch.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from convert.checkpoint import open_checkpoint
from convert.prepare import plan_conversion
from convert.verification.decoder import decode
from convert.verification.decoders import decoder_for
from convert.verification.weights import open_weights
from tests.goldens import golden
from tests.oracle import tensors
from tests.writing import write

HALVES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
ROUNDING = {torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11, torch.float32: 2.0**-24}
SMALLEST = {torch.bfloat16: 2.0**-133, torch.float16: 2.0**-24, torch.float32: 2.0**-149}


def baichuan2(source):
    return {"lm_head.weight": source["lm_head.weight"] / source["lm_head.weight"].norm(dim=1, keepdim=True)}


def gemma(source):
    embed = source["model.embed_tokens.weight"]
    norms = {name: tensor + 1 for name, tensor in source.items() if name.endswith("norm.weight")}
    return norms | {"model.embed_tokens.weight": embed * 64**0.5, "lm_head.weight": embed}


def minicpm(source, scale_emb, scale_depth, base):
    embed = source["model.embed_tokens.weight"]
    head = source.get("lm_head.weight", embed)
    branches = {
        name: tensor * (scale_depth / 3**0.5)
        for name, tensor in source.items()
        if name.endswith(("o_proj.weight", "down_proj.weight"))
    }
    return branches | {
        "model.embed_tokens.weight": embed * scale_emb,
        "lm_head.weight": head / (embed.shape[1] / base),
    }


#: case -> what its fold stores, from the float64 source; the constants are those of the case's config.json
FOLDS = {
    "baichuan2-7b": baichuan2,
    "gemma1-2b": gemma,
    "minicpm-2b": lambda source: minicpm(source, 12, 1.4, 24),
    "minicpm-untied-gqa": lambda source: minicpm(source, 6, 1.1, 16),
}


def halved(case: str, dtype: torch.dtype, out: Path) -> Path:
    """The golden checkpoint with every tensor cast by torch."""
    out.mkdir()
    source = tensors(golden(case).checkpoint)
    save_file({name: tensor.to(dtype).contiguous() for name, tensor in source.items()}, out / "model.safetensors")
    config = json.loads((golden(case).checkpoint / "config.json").read_text())
    (out / "config.json").write_text(json.dumps({**config, "torch_dtype": str(dtype).removeprefix("torch.")}))
    return out


def logits(folder: Path, ids: torch.Tensor) -> torch.Tensor:
    """The reference decoder in float64."""
    checkpoint = open_checkpoint(folder)
    with torch.inference_mode():
        return decode(decoder_for(checkpoint.config, open_weights(checkpoint, compute=torch.float64)), ids)


@pytest.mark.parametrize("stored", [None, "same"], ids=["as the plan likes", "in the same type"])
@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("case", FOLDS)
def test_a_fold_stays_within_the_rounding_that_its_plan_predicts(case, half, stored, tmp_path):
    source = halved(case, HALVES[half], tmp_path / "source")
    plan = plan_conversion(open_checkpoint(source), "llama", dtype=half if stored else None)
    write(plan, tmp_path / "out")
    written = load_file(tmp_path / "out" / "model.safetensors")
    exact = FOLDS[case]({name: tensor.double() for name, tensor in load_file(source / "model.safetensors").items()})

    predicted = plan.summary()["rounding_at_most"]
    assert predicted == ROUNDING[written["lm_head.weight"].dtype]
    for name, tensor in exact.items():
        # one rounding to the type; what is computed before it is float32, a few of whose roundings come on top
        allowed = tensor.abs() * (predicted + 3 * 2.0**-24) + SMALLEST[written[name].dtype]
        assert bool(((written[name].double() - tensor).abs() <= allowed).all()), name

    ideal = {name: exact.get(name, tensor.double()).to(tensor.dtype) for name, tensor in written.items()}
    (tmp_path / "ideal").mkdir()
    save_file({name: tensor.contiguous() for name, tensor in ideal.items()}, tmp_path / "ideal" / "model.safetensors")
    (tmp_path / "ideal" / "config.json").write_bytes((tmp_path / "out" / "config.json").read_bytes())
    ids = load_file(golden(case).logits)["input_ids"]
    truth = logits(source, ids)
    ours, best = ((logits(tmp_path / folder, ids) - truth).abs().max().item() for folder in ("out", "ideal"))
    assert ours <= 1.3 * best + 1e-6


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize(
    ("case", "target"),
    [("baichuan-7b", "llama"), ("chatglm3", "llama"), ("chatglm3", "glm"), ("yi-6b", "llama"), ("internlm2-7b", "qwen2"),
     ("qwen-7b", "qwen2"), ("mistral", "phi3"), ("qwen2", "llama")],
)  # fmt: skip
def test_what_only_moves_rounds_nothing(case, target, half, tmp_path):
    source = halved(case, HALVES[half], tmp_path / "source")
    plan = plan_conversion(open_checkpoint(source), target)
    assert plan.summary()["rounding_at_most"] == 0.0
    write(plan, tmp_path / "out")
    ids = load_file(golden(case).logits)["input_ids"]
    assert (logits(tmp_path / "out", ids) - logits(source, ids)).abs().max().item() <= 1e-6
