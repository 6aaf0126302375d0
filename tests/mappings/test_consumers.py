"""Programs that would mis-serve an output: refused or warned of, for what ../shared/facts/exactness.md says they do."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from convert.checkpoint import open_checkpoint
from convert.cli.conversion import plan_, run_
from convert.consumers import misserved_config
from convert.prepare import plan_conversion
from mappings.consumers import CONSUMERS, RULES
from surgery.errors import ConversionError, UsageError
from tests.goldens import golden

#: (case, target, further options) -> consumers that refuse, consumers that are warned of; the table of exactness.md
SERVED = {
    ("gemma1-2b", "llama", ()): ({"vllm", "llama.cpp", "mlx"}, set()),
    ("chatglm3", "llama", ()): ({"llama.cpp"}, set()),
    ("chatglm3", "llama", ("proportional",)): ({"llama.cpp", "transformers-4"}, {"vllm"}),
    ("chatglm3", "glm", ()): (set(), set()),
    ("qwen2", "llama", ()): (set(), set()),
    ("yi-6b", "llama", ()): (set(), set()),
    ("baichuan-7b", "llama", ()): (set(), set()),
    ("internlm2-7b", "llama", ()): (set(), set()),
    ("minicpm-2b", "llama", ()): (set(), set()),
    ("baichuan2-7b", "baichuan", ()): ({"llama.cpp"}, {"transformers", "transformers-4"}),
    ("llama-gqa", "meta", ()): (set(CONSUMERS), set()),
    ("llama-gqa", "yi", ()): (set(), {"transformers", "transformers-4"}),
    ("llama-rope-llama3", "llama", ()): ({"llama.cpp"}, set()),
    ("meta-llama31-scaled-rope", "llama", ()): (set(), set()),
}


@pytest.mark.parametrize(("case", "target", "prefer"), SERVED)
def test_a_program_is_refused_or_warned_of_where_it_would_serve_something_else(case, target, prefer):
    checkpoint = open_checkpoint(golden(case).checkpoint)
    quiet = plan_conversion(checkpoint, target, prefer=prefer)
    refused, warned = set(), set()
    for consumer in CONSUMERS:
        try:
            plan = plan_conversion(checkpoint, target, prefer=prefer, consumers=[consumer])
        except ConversionError as error:
            assert str(error).startswith(f"{consumer} would not serve this {target} as it is meant")
            refused.add(consumer)
        else:
            added = plan.notes[len(quiet.notes) :]
            assert all(note.startswith(f"for {consumer}: ") for note in added)
            warned |= {consumer} if added else set()
            assert (plan.files, plan.documents) == (quiet.files, quiet.documents)
    assert (refused, warned) == SERVED[case, target, prefer]


def test_a_program_that_nobody_knows_is_named_with_those_that_are():
    with pytest.raises(UsageError, match="'ollama': there is no such program; known are transformers"):
        plan_conversion(open_checkpoint(golden("llama-mha").checkpoint), "llama", consumers=["ollama"])


def test_a_checkpoint_that_is_there_is_judged_by_its_config():
    config = json.loads((golden("llama-mha").checkpoint / "config.json").read_text())
    assert misserved_config(config, CONSUMERS) == ()
    gelu = misserved_config({**config, "hidden_act": "gelu_pytorch_tanh"}, ["llama.cpp", "vllm"])
    assert {(one.rule.consumer, one.rule.effect, one.what) for one in gelu} == {
        ("llama.cpp", "refuse", "activation gelu_tanh"),
        ("vllm", "refuse", "activation gelu_tanh"),
    }
    assert misserved_config({"model_type": "mamba"}, CONSUMERS) == ()


def test_an_attention_factor_that_vllm_would_not_read_is_refused():
    config = json.loads((golden("llama-mha").checkpoint / "config.json").read_text())
    factors = [1.0] * 8
    scaling = {"rope_type": "longrope", "short_factor": factors, "long_factor": factors, "factor": 1.0}
    scaling["original_max_position_embeddings"] = config["max_position_embeddings"]
    assert misserved_config({**config, "rope_scaling": {**scaling, "attention_factor": 1.0}}, ["vllm"]) == ()
    (found,) = misserved_config({**config, "rope_scaling": {**scaling, "attention_factor": 1.5}}, ["vllm"])
    assert found.what == "attention factor 1.5 where the lengths give 1"


def test_a_share_of_rotated_heads_that_only_some_programs_see_is_not_read():
    config = json.loads((golden("llama-mha").checkpoint / "config.json").read_text())
    rope = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}
    with pytest.raises(ConversionError, match="transformers ignores in this family and vLLM obeys"):
        misserved_config({**config, "rope_parameters": rope}, ["vllm"])


def test_every_rule_is_about_a_known_program_and_says_why_and_whence():
    for rule in RULES:
        assert rule.consumer in CONSUMERS
        assert all((rule.why, rule.instead, rule.source))


def test_a_plan_on_the_command_line_warns_and_a_conversion_is_refused(tmp_path):
    arguments = ["--for", "vllm,transformers-4"]
    case = str(golden("chatglm3").checkpoint)
    planned = CliRunner().invoke(plan_, [case, "--to", "llama", "--prefer", "proportional", "--for", "vllm"])
    assert planned.exit_code == 0
    assert "for vllm: rope scaling proportional: only recent versions know it" in planned.stderr
    out = tmp_path / "out"
    with pytest.raises(ConversionError, match="transformers-4 would not serve this llama"):
        CliRunner().invoke(
            run_, [case, str(out), "--to", "llama", "--prefer", "proportional", *arguments], catch_exceptions=False
        )
    assert not out.exists()
