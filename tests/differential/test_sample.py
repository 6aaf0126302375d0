"""A sample of every sweep is as the table of known faults says; and what the net is made to catch, it catches."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import convert.prepare
import mappings.config
from convert.planning import Plan
from mappings.family import Harmless
from tests.differential import adapters, product
from tests.differential.adapters import AdapterCase
from tests.differential.case import Case, Fault, Outcome
from tests.differential.expected import EXPECTED, Expected, reckoned
from tests.differential.keys import KeyCase
from tests.differential.native import Native, natives
from tests.differential.room import Room
from tests.differential.running import judged, sampled
from tests.differential.sweeps import SWEEPS, cases

COUNT, SEED = 25, 20261126  # cases of each sweep
PLAIN = KeyCase("llama", "use_cache", "true", "mistral")


def kinds(case: Case, folder: Path) -> set[str]:
    (outcome,) = judged([case], Room(folder))
    return {fault.kind for fault in outcome.faults}


@pytest.mark.parametrize("sweep", SWEEPS)
def test_a_sample_of_the_sweep_is_as_the_table_says(sweep: str, tmp_path: Path) -> None:
    found = reckoned(judged(sampled(cases(sweep), COUNT, SEED), Room(tmp_path)))
    assert len(found.outcomes) == COUNT
    assert [outcome.line for outcome in found.new] == []
    assert [(line.because, outcome.id) for line, outcome in found.mended] == []


def test_every_case_has_an_id_of_its_own() -> None:
    ids = [case.id for case in cases()]
    assert len(ids) == len(set(ids)) > 5000


def test_a_plain_checkpoint_has_no_fault(tmp_path: Path) -> None:
    (outcome,) = judged([PLAIN], Room(tmp_path))
    assert outcome.verdict == "same"


@pytest.mark.parametrize("one", natives(), ids=lambda one: one.family)
def test_the_config_that_the_sweeps_change_is_taken_by_its_own_family(one: Native, tmp_path: Path) -> None:
    (outcome,) = judged([KeyCase(one.family, "use_cache", "true", one.family)], Room(tmp_path))
    assert outcome.verdict == "same", outcome.line  # where it is refused, so is everything, and the sweep is blind


def test_a_key_that_is_dropped_though_the_class_obeys_it_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dropped = Harmless("is_causal", "a mistake: whatever its value")
    monkeypatch.setattr(mappings.config, "LIBRARY", (*mappings.config.LIBRARY, dropped))
    assert kinds(KeyCase("qwen2", "is_causal", "0", "llama"), tmp_path) == {"function"}


WRONG = {
    "a head tied over another that is stored": {"tie_word_embeddings": True},
    "another base of rope": {"rope_theta": 500.0, "rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
    "an eps ten thousand times off": {"rms_norm_eps": 1e-2},
    "GELU for SiLU": {"hidden_act": "gelu"},
    "a type of rope that no class knows": {"rope_scaling": {"rope_type": "none such", "factor": 2.0}},
    "a forgotten window": {"sliding_window": 3},
}


def spoilt(write: Callable[..., dict[str, Any]], keys: dict[str, Any], *arguments: Any) -> dict[str, Any]:
    return {**write(*arguments), **keys}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_mistake_in_what_the_tables_write_is_caught(
    mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convert.prepare, "write_config", partial(spoilt, convert.prepare.write_config, WRONG[mistake]))
    assert kinds(PLAIN, tmp_path) & {"function", "unloadable", "validate"}


def test_an_exception_that_is_no_refusal_is_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert.prepare, "write_config", lambda *_: {}["no such key"])
    assert kinds(PLAIN, tmp_path) == {"crash"}


def test_an_output_that_is_read_as_another_variant_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a config that was changed behind the plan: a plan that would be read otherwise is refused."""
    write = product.write

    def renamed(plan: Plan, out: Path, **options: Any) -> None:
        write(plan, out, **options)
        told = json.loads((out / "config.json").read_text())
        named = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
        (out / "config.json").write_text(json.dumps({**told, **named}))

    monkeypatch.setattr(product, "write", renamed)
    assert "itself" in kinds(PLAIN, tmp_path)


def test_an_adapter_that_is_merged_with_another_factor_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = AdapterCase("llama", False, "attention", "same", "one", "merge")
    assert kinds(case, tmp_path / "right") == set()
    monkeypatch.setattr(adapters, "merge_lora", partial(adapters.merge_lora, weight=1.1))
    assert "function" in kinds(case, tmp_path / "wrong")


LINE = Expected(r"key/a/.*", "function", "a cause")
FAILS = Outcome("key/a/b", "failed", (Fault("function", "differ"),))


def test_a_listed_fault_is_expected_and_any_other_is_new() -> None:
    found = reckoned([FAILS], [LINE])
    assert not (found.new or found.mended or found.idle)
    assert reckoned([FAILS], []).new == (FAILS,)
    assert reckoned([Outcome("key/a/b", "failed", (Fault("crash", "KeyError"),))], [LINE]).new


def test_the_table_is_strict_both_ways() -> None:
    passes = Outcome("key/a/c", "same")
    assert reckoned([FAILS, passes], [LINE]).mended == ((LINE, passes),)
    assert reckoned([], [LINE]).idle == (LINE,)


def test_every_line_is_of_one_sweep() -> None:
    assert {line.ids.partition("/")[0] for line in EXPECTED} <= set(SWEEPS)


def test_every_line_of_the_table_says_what_is_wrong() -> None:
    assert [line for line in EXPECTED if len(line.because) < 20] == []
