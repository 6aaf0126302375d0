"""Residual streams whose dimensions were renamed, turned over or mixed, consistently: the same function in another frame."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from convert.verification import frame
from convert.verification.decoders import decoder_for
from convert.verification.meaning import read
from convert.verification.run import judge
from convert.verification.verdict import Verdict
from surgery.errors import CannotJudge
from tests.verification.decoding import held
from tests.verification.test_run import LARGE, Q, Tensors, loaded

READS = ("q_proj.weight", "k_proj.weight", "v_proj.weight", "gate_proj.weight", "up_proj.weight", "lm_head.weight")
WRITES = ("o_proj.weight", "down_proj.weight")
Turn = Callable[[torch.Tensor], torch.Tensor]  # of the last axis


def turned(tensors: Tensors, turn: Turn, norms: Turn) -> Tensors:
    """Every tensor as a stream that `turn` changes wants it; `norms` does the same to the norms' weights."""
    made = {}
    for name, tensor in tensors.items():
        if name.endswith(WRITES):
            made[name] = turn(tensor.T.double()).T.to(tensor.dtype).contiguous()
        elif name.endswith((*READS, "embed_tokens.weight")):
            made[name] = turn(tensor.double()).to(tensor.dtype).contiguous()
        else:
            made[name] = norms(tensor)
    return made


def permuted(tensors: Tensors) -> Tensors:
    order = torch.randperm(64, generator=torch.Generator().manual_seed(4))
    return turned(tensors, lambda x: x[..., order], lambda x: x[order])


def flipped(tensors: Tensors) -> Tensors:
    signs = torch.ones(64, dtype=torch.float64)
    signs[torch.randperm(64, generator=torch.Generator().manual_seed(4))[:30]] = -1
    return turned(tensors, lambda x: x * signs, lambda x: x)


def both(tensors: Tensors) -> Tensors:
    return flipped(permuted(tensors))


def rotated(tensors: Tensors) -> Tensors:
    """As QuaRot has it: norms' weights go into what reads them, and then the stream is turned by an orthogonal matrix."""
    plain = dict(tensors)
    for name, tensor in tensors.items():
        if not name.endswith(READS):
            continue
        norm = "model.norm.weight"
        if ".layers." in name:
            kind = "input_layernorm" if ".self_attn." in name else "post_attention_layernorm"
            norm = f"{'.'.join(name.split('.')[:3])}.{kind}.weight"
        plain[name] = tensor * tensors[norm]
    matrix = torch.linalg.qr(torch.randn(64, 64, generator=torch.Generator().manual_seed(4), dtype=torch.float64)).Q
    return turned(plain, lambda x: x @ matrix, torch.ones_like)


def verdict(change: Callable[[Tensors], Tensors], spoil: Callable[[Tensors], None] = lambda t: None, **options: Any) -> Verdict:
    tensors, config = loaded("llama-mha")
    changed = change(tensors)
    spoil(changed)
    sides = decoder_for(config, held(tensors)), decoder_for(copy.deepcopy(config), held(changed))
    return judge(*sides, meanings=(read(config), read(config)), **{"exactness": "algebraic", **options})


@pytest.mark.parametrize("mode", ["full", "quick"])
@pytest.mark.parametrize("change", [permuted, flipped, both, rotated], ids=lambda change: change.__name__)
def test_a_stream_renamed_or_turned_consistently_is_the_same_function(change: Callable[[Tensors], Tensors], mode: str):
    found = verdict(change, mode=mode, size=LARGE)
    assert found.passed, (found.sentence, found.findings)
    assert found.findings == ()
    assert ("rotated in 64" if change is rotated else "dimensions renamed") in found.frame


@pytest.mark.parametrize("change", [both, rotated], ids=lambda change: change.__name__)
def test_a_mistake_behind_a_turned_stream_is_seen_where_it_was_made(change: Callable[[Tensors], Tensors]):
    def spoil(tensors: Tensors) -> None:
        tensors[Q] = tensors[Q].flip(0)

    found = verdict(change, spoil)
    assert not found.passed and found.first_divergence == "layer 1 attention"


def test_a_stream_turned_in_the_embeddings_alone_is_another_function():
    def only_embeddings(tensors: Tensors) -> Tensors:
        name = "model.embed_tokens.weight"
        return {**tensors, name: both(tensors)[name]}

    found = verdict(only_embeddings)
    assert not found.passed and found.first_divergence == "layer 0 attention"


def test_embeddings_that_are_wrong_give_no_finding_about_eps():
    def shuffled(tensors: Tensors) -> Tensors:
        name = "model.embed_tokens.weight"
        return {**tensors, name: tensors[name].roll(1, 0)}

    found = verdict(shuffled)
    assert not found.passed and found.first_divergence == "embedding" and found.findings == ()


def test_a_rotation_that_costs_too_much_to_find_cannot_be_judged(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(frame, "_WIDEST", 32)
    found = verdict(rotated)
    assert not found.passed and found.undecided and found.sentence.startswith("CANNOT JUDGE, because of ")
    assert ": logits alone" in found.sentence
    assert [(one.fact, one.status) for one in found.findings] == [("hidden states", "open")]
    with pytest.raises(CannotJudge, match="Use --mode full") as refused:
        verdict(rotated, mode="quick", size=LARGE)
    assert refused.value.status == 9


def test_a_mistake_behind_a_rotation_that_is_not_found_still_differs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(frame, "_WIDEST", 32)

    def spoil(tensors: Tensors) -> None:
        tensors[Q] = tensors[Q].flip(0)

    found = verdict(rotated, spoil)
    assert not found.passed and not found.undecided and found.sentence.startswith("NOT the same function")
