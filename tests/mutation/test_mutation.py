"""A fixed sample of the mutations, held to the rates on record; `make mutation` runs all of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.goldens import golden
from tests.mutation import beside
from tests.mutation.explained import because
from tests.mutation.outputs import EDITS
from tests.mutation.suite import Outcome, Subject, outcomes

RATES = json.loads(Path(__file__).with_name("rates.json").read_text())

#: case -> target: one case of each way in which families differ from Llama
SAMPLE = {
    "llama-mha": "llama", "llama-attention-bias": "llama", "llama-tied": "llama", "baichuan2-7b": "llama",
    "internlm2-7b": "llama", "qwen-7b": "llama", "chatglm3": "llama", "minicpm-2b": "llama", "gemma1-2b": "llama",
    "qwen2-moe": "qwen2_moe", "phi3": "phi3", "mistral-sliding-window": "mistral",
}  # fmt: skip
#: every third mistake in outputs, and what tables and passes get wrong most easily
CHOSEN = frozenset(sorted(EDITS)[::3]) | {
    "table: gate and up exchanged", "table: two norms exchanged", "table: rotation of q and k interleaved",
    "table: norm.eps is 0.00011", "pass: bake-norm-head only claims", "pass: fold only claims", "eps 1 % off",
    "one bf16 ulp in q", "MLP units permuted", "residual stream in another gauge", "resharded",
    "saved again by transformers", "experts renumbered with their router",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLE)
def test_a_sample_of_mistakes_is_killed_at_the_recorded_rate_and_nothing_else_raises_an_alarm(name: str, tmp_path: Path):
    found = list(outcomes(Subject(golden(name), SAMPLE[name], None), tmp_path, CHOSEN))
    changing = [o for o in found if o.fate in ("killed", "survived")]
    assert len(changing) >= 5 and any(o.fate == "same function" for o in found)
    assert [o for o in found if o.fate == "false alarm"] == []
    assert [o for o in changing if o.fate == "survived" and not because(o)] == []
    killed = sum(o.fate == "killed" for o in changing) / len(changing)
    assert killed >= RATES[found[0].family] - 1e-9 or all(because(o) for o in changing if o.fate == "survived")


#: what stands beside the weights: a mistake of each document, a claim, and what only looks like a mistake
BESIDE = frozenset({
    "two merges exchanged", "template: an answer always begun", "generation: no end", "config: attention both ways",
    "claim: garbage behind ids of the end", "noise behind a stray narrow tensor", "template said otherwise",
    "merges in the other spelling", "config: the rotation in the other spelling",
})  # fmt: skip


@pytest.mark.slow
def test_mistakes_beside_the_weights_are_seen_and_what_only_looks_like_one_raises_no_alarm():
    found = list(beside.outcomes(BESIDE))
    assert {outcome.mutation for outcome in found} == BESIDE
    assert [o for o in found if o.fate in ("survived", "false alarm")] == []
    assert sum(o.fate == "killed" for o in found) >= 5


def test_every_family_on_record_kills_nine_of_ten():
    assert len(RATES) >= 20
    assert {family: rate for family, rate in RATES.items() if rate < 0.9} == {}


def test_only_one_step_of_a_rounded_type_is_excused():
    excused = Outcome("llama", "llama-gqa-bf16", "llama", "one bf16 ulp in q", "survived", "", 1e-4)
    assert because(excused)
    assert not because(Outcome("llama", "llama-gqa", "llama", "one bf16 ulp in q", "survived", "", 1e-4))
    assert not because(Outcome("llama", "llama-gqa-bf16", "llama", "q and k exchanged", "survived", "", 1e-4))
