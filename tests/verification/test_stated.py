"""Configs that say odd things: refused as bad input that names file and key, compared, or found different; never a crash."""

import copy
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from convert.checkpoint import open_checkpoint
from convert.cli.main import cli
from convert.cli.running import run
from convert.verification import stated
from convert.verification.run import verify
from surgery.errors import ConversionError
from tests.goldens import golden

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
CASES = (
    "llama-gqa", "llama-rope-llama3", "llama-tied", "baichuan2-7b", "chatglm3", "internlm2-7b", "minicpm-2b", "qwen-7b",
    "yi-6b",
)  # fmt: skip
VARIANTS = {"baichuan2-7b": "2-7b"}
ABSENT = object()
ODD = (
    ABSENT, None, True, False, 0, 1, 2, -1, 10**30, 2.5, 1e308, 1e-300, float("nan"), "x", "NaN", [], [1, "a"], [[]], [None],
    {}, {"a": {}}, {"rope_type": [1]}, {"rope_type": "yarn"}, {"rope_type": "longrope", "factor": 1e-300},
)  # fmt: skip
TRIED = 400  # odd values for each case, drawn from some three thousand


def places(table: Mapping[str, Any], within: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Where a config says something, the insides of its tables too."""
    for key, value in table.items():
        yield (*within, key)
        if isinstance(value, dict):
            yield from places(value, (*within, key))


def saying(config: Mapping[str, Any], place: tuple[str, ...], value: Any) -> dict[str, Any]:
    """A config with one value of its own exchanged, or taken away."""
    changed = copy.deepcopy(dict(config))
    table = changed
    for key in place[:-1]:
        table = table[key]
    if value is ABSENT:
        table.pop(place[-1], None)
    else:
        table[place[-1]] = value
    return changed


@pytest.mark.parametrize("name", CASES)
def test_an_odd_value_anywhere_is_refused_or_judged_and_never_a_crash(name: str) -> None:
    source = open_checkpoint(golden(name).checkpoint)
    variant = VARIANTS.get(name)
    everywhere = sorted({*places(source.config), *((key,) for key in stated.KEYS)})
    judged = refused = 0
    for place, value in random.Random(name).sample([(place, value) for place in everywhere for value in ODD], TRIED):
        output = replace(source, config=saying(source.config, place, value))
        try:
            verdict = verify(
                source, output, exactness="algebraic", variant=variant, output_variant=variant, prompts=[[5, 6, 7, 8, 9]]
            )
        except ConversionError as error:
            assert error.status in (3, 5) and "\n" not in str(error), (place, value, str(error))
            refused += 1
        except Exception as error:
            raise AssertionError(f"{name}: {'.'.join(place)} = {value!r}") from error
        else:
            assert isinstance(verdict.passed, bool)
            judged += 1
    assert judged and refused


@pytest.mark.parametrize(("key", "value"), [
    ("hidden_act", {"a": 1}), ("rms_norm_eps", "x"), ("rms_norm_eps", None), ("rope_parameters", "NaN"),
    ("architectures", 10**30), ("bos_token_id", [1, "a"]), ("eos_token_id", {}), ("max_position_embeddings", [[]]),
    ("head_dim", "a"), ("num_attention_heads", False), ("num_hidden_layers", 10**9), ("rope_theta", float("inf")),
    ("layer_types", ["full_attention"]),
])  # fmt: skip
def test_a_value_of_another_kind_is_named_with_its_file_and_key(key: str, value: Any) -> None:
    checkpoint = open_checkpoint(golden("llama-gqa").checkpoint)
    file = ascii(str(checkpoint.path / "config.json"))[1:60]
    with pytest.raises(ConversionError) as refused:
        stated.check_config(replace(checkpoint, config={**checkpoint.config, key: value}))
    assert refused.value.status == 3 and file in str(refused.value) and f": {key} is " in str(refused.value)


def test_a_value_within_a_table_is_named_with_the_table() -> None:
    checkpoint = open_checkpoint(golden("llama-gqa").checkpoint)
    with pytest.raises(ConversionError, match=r": rope_scaling\.rope_type is \[1\] where a text should be"):
        stated.check_config(replace(checkpoint, config={**checkpoint.config, "rope_scaling": {"rope_type": [1]}}))


def test_what_vendors_publish_is_of_the_kinds_that_are_known() -> None:
    checkpoint = open_checkpoint(golden("llama-gqa").checkpoint)
    files = sorted(CONFIGS.glob("*.json"))
    assert len(files) > 50
    for file in files:
        stated.check_config(replace(checkpoint, config=json.loads(file.read_text(encoding="utf-8"))))


@pytest.mark.parametrize(("key", "value", "told"), [
    ("rms_norm_eps", "x", "config.json': rms_norm_eps is 'x' where a number from 0 on should be"),
    ("num_hidden_layers", None, "config.json has no num_hidden_layers"),
])  # fmt: skip
def test_verify_ends_with_the_status_of_bad_input(
    key: str, value: Any, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = golden("llama-gqa").checkpoint
    for file in base.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps({**config, key: value}), encoding="utf-8")
    assert run(cli, "convert", ["verify", str(base), str(tmp_path)]) == 3
    said = capsys.readouterr().err
    assert told in said and said.count("\n") == 1 and "Error" not in said
