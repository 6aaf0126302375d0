"""Rules that say "executed here" about transformers are executed here: what they tell happens, and their neighbour works."""

from pathlib import Path

import pytest

from tests.validate.changes import config
from tests.validate.fixtures import FIXTURES
from tests.validate.repository import changed


def load(path: Path) -> object:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(path)


@pytest.mark.parametrize("rule", ["transformers-width", "transformers-remote-code"])
def test_transformers_refuses_what_the_rule_says_it_refuses(rule: str, tmp_path: Path) -> None:
    from huggingface_hub.errors import StrictDataclassError

    auto = {"auto_map": {"AutoConfig": "modeling_mine.Config", "AutoModelForCausalLM": "modeling_mine.Mine"}}
    more = [config(model_type="mine", **auto)] if rule == "transformers-remote-code" else []
    bad, good = FIXTURES[rule]
    with pytest.raises((ValueError, StrictDataclassError)):
        load(changed([*bad, *more]).write(tmp_path / "bad"))
    assert load(changed(good).write(tmp_path / "good"))


def test_transformers_initialises_a_missing_tensor_at_random_and_returns(tmp_path: Path) -> None:
    """Why tensor-missing and head-missing are errors although loading succeeds."""
    import torch

    bad, _ = FIXTURES["head-missing"]
    path = changed(bad).write(tmp_path / "bad")
    one, other = load(path), load(path)
    assert not torch.equal(one.lm_head.weight, other.lm_head.weight)  # type: ignore[attr-defined]


def test_transformers_refuses_to_save_changed_settings_of_sampling_without_sampling(tmp_path: Path) -> None:
    """Why generation-sampling is told: unchanged settings are saved with a warning, changed ones are refused."""
    from transformers import GenerationConfig

    bad, good = FIXTURES["generation-sampling"]
    settings = GenerationConfig.from_pretrained(changed(bad).write(tmp_path / "bad"))
    settings.max_new_tokens = 7
    with pytest.raises(ValueError, match="temperature"):
        settings.save_pretrained(tmp_path / "saved")
    settings = GenerationConfig.from_pretrained(changed(good).write(tmp_path / "good"))
    settings.max_new_tokens = 7
    settings.save_pretrained(tmp_path / "saved")


def test_transformers_lets_the_old_form_of_rope_win_where_both_disagree(tmp_path: Path) -> None:
    """Why rope-disagree is an error: nothing is said, and half of the config is dropped."""
    from transformers import AutoConfig

    linear = {"rope_type": "linear", "factor": 4.0}
    read = AutoConfig.from_pretrained(changed([config(rope_scaling=linear)]).write(tmp_path / "bad"))
    assert read.rope_parameters["rope_type"] == "linear"


def test_transformers_takes_a_number_written_as_text(tmp_path: Path) -> None:
    """Why config-number-as-text is an error."""
    from transformers import AutoConfig

    bad = [config(rope_theta="10000", rope_parameters={"rope_type": "default", "rope_theta": "10000"})]
    assert AutoConfig.from_pretrained(changed(bad).write(tmp_path / "bad")).rope_parameters["rope_theta"] == "10000"
