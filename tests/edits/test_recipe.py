"""Recipes: several edits in one pass, killed and resumed, told in English, and refused where a line makes no sense."""

import importlib
import inspect
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import convert
from convert.cli.running import run
from convert.cli.surgery import cli
from convert.recipe import STEPS, read_recipe
from surgery.errors import UsageError
from tests.edits.adapters import ulps, written
from tests.goldens import golden
from tests.oracle import same_bits, tensors

BAICHUAN = golden("baichuan-7b").checkpoint
PACK = "model.layers.1.self_attn.W_pack"

RECIPE = """
source = "{base}"
target = "llama"
output = "out"
variant = "7b"
max-shard-size = "100KB"

[[edit]]
do = "merge-lora"
adapter = "adapter"
weight = 0.5

[[edit]]
do = "untie"

[[edit]]
do = "cast"
dtype = "bfloat16"
"""


@pytest.fixture
def recipe(tmp_path):
    torch.manual_seed(8)
    rows, columns = tensors(BAICHUAN)[f"{PACK}.weight"].shape
    a, b = torch.randn(4, columns), torch.randn(rows, 4)
    written(tmp_path / "adapter", {f"{PACK}.lora_A.weight": a, f"{PACK}.lora_B.weight": b})
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE.format(base=BAICHUAN))
    return path, a, b


def test_one_pass_merges_unties_casts_and_converts(recipe, tmp_path, capsys):
    path, a, b = recipe
    assert run(cli, "surgery", ["run", str(path)]) == 0, capsys.readouterr().err
    old, found = tensors(BAICHUAN), tensors(tmp_path / "out")
    packed = torch.addmm(old[f"{PACK}.weight"], b, a, alpha=1.0).chunk(3)
    for third, part in zip("qkv", packed, strict=True):
        assert ulps(found[f"model.layers.1.self_attn.{third}_proj.weight"], part.bfloat16()) <= 1
    assert same_bits(found["model.layers.0.mlp.up_proj.weight"], old["model.layers.0.mlp.up_proj.weight"].bfloat16())
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["model_type"], config["torch_dtype"]) == ("llama", "bfloat16")
    told = json.loads((tmp_path / "out" / "weightsmith.json").read_text())
    assert told["verification"]["verdict"] == "passed"
    assert any(file["name"] == "adapter1/adapter_model.safetensors" for file in told["source"]["files"])


def test_a_sum_that_nobody_would_check_is_refused(tmp_path, capsys):
    folder = golden("delta-vicuna-pad-zero").checkpoint
    path = tmp_path / "recipe.toml"
    step = f'[[edit]]\ndo = "apply-delta"\ndelta = "{folder / "delta"}"\npad = "zero"\nsum = 12345.0\n'
    path.write_text(f'source = "{folder / "base"}"\noutput = "out"\n\n{step}')
    assert run(cli, "surgery", ["run", str(path), "--verify", "off"]) == 2
    assert "the sum of the weights is a part of the verification" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_dry_run_prints_the_whole_plan_in_english_and_writes_nothing(recipe, tmp_path, capsys):
    before = sorted(p.name for p in tmp_path.iterdir())
    assert run(cli, "surgery", ["run", str(recipe[0]), "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "a baichuan-7b checkpoint" in told
    assert "  1. An adapter of 1 matrices is merged (adapter), 0.5 times: products in float32, rounded once." in told
    assert "  2. Every weight is cast to bfloat16." in told
    assert "Write it as llama to " in told
    assert "writer at most" in told
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_a_dry_run_as_json_is_one_document(recipe, capsys):
    assert run(cli, "surgery", ["run", str(recipe[0]), "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["exactness"] == "approximate"


def test_a_killed_run_resumes_to_the_same_bytes(recipe, tmp_path):
    path, *_ = recipe
    root = str(Path(convert.__file__).parents[1])
    slow = (
        f"import sys; sys.path.insert(0, {root!r}); import convert.staging as s; keep = s.Staging.record\n"
        "def record(self, *a): keep(self, *a); print('shard', flush=True); sys.stdin.readline()\n"
        "s.Staging.record = record\n"
        "from convert.cli.running import run; from convert.cli.surgery import cli\n"
        "sys.exit(run(cli, 'surgery', sys.argv[1:]))"
    )
    command = [sys.executable, "-c", slow, "run", str(path), str(tmp_path / "resumed"), "--verify", "off", "-j", "1"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, text=True, **pipes) as first:
        assert first.stdin is not None and first.stdout is not None
        for shard in range(3):  # each waits for a line; behind the third none comes
            assert first.stdout.readline() == "shard\n"
            if shard < 2:
                first.stdin.write("go on\n")
                first.stdin.flush()
        os.kill(first.pid, signal.SIGKILL)
    assert not (tmp_path / "resumed").exists()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    assert "shards were already written and verified by hash" in done.stdout
    assert run(cli, "surgery", ["run", str(path), str(tmp_path / "whole"), "--verify", "off"]) == 0
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    assert sorted(p.name for p in whole.iterdir()) == sorted(p.name for p in resumed.iterdir())
    assert all(p.read_bytes() == (resumed / p.name).read_bytes() for p in whole.iterdir())


def test_an_adapter_that_changed_is_not_resumed_with(recipe, tmp_path):
    from convert.checkpoint import fingerprint

    before = fingerprint(read_recipe(recipe[0]).plan().checkpoint)
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    time.sleep(0.01)
    file.write_bytes(file.read_bytes())
    assert fingerprint(read_recipe(recipe[0]).plan().checkpoint) != before


def test_the_order_of_edits_is_the_recipes(tmp_path):
    base = golden("llama-tied").checkpoint
    for order in (("untie", "cast"), ("cast", "untie")):
        path = tmp_path / "recipe.toml"
        edits = "".join(f'[[edit]]\ndo = "{name}"\n' + ('dtype = "float16"\n' if name == "cast" else "") for name in order)
        path.write_text(f'source = "{base}"\n{edits}')
        steps = read_recipe(path).plan().steps
        assert ["cast" in step for step in steps] == [name == "cast" for name in order]


#: a recipe -> what the refusal says
WRONG = {
    "source = " + "[" * 5000 + "]" * 5000: "nests brackets deeper than can be read",
    "a" + ".a" * 60_000 + " = 1": "has a line with over 64 dots",
    "source = " + "9" * 5000: "is not TOML",
    "source =": "is not TOML",
    "": "the key source is missing",
    "source = 3": "source = 3 is not a path",
    'source = "x"\nouptut = "y"': "there is no key 'ouptut' (did you mean output?)",
    'source = "x"\nmend = "repeat-kv"': "mend = 'repeat-kv' is not a list",
    'source = "x"\nmend = [1]': "not a list of texts",
    'source = "x"\nmax-shard-size = "big"': "is not a size",
    'source = "x"\ntokenizer = "eat"': "none of convert, carry",
    'source = "x"\n[[edit]]\ndtype = "float16"': "edit 1 does not say what to do",
    'source = "x"\n[[edit]]\ndo = "unty"': "there is no edit 'unty' (did you mean untie?)",
    'source = "x"\n[[edit]]\ndo = "untie"\nnow = true': "edit 1 (untie): there is no key 'now'; it takes no settings",
    'source = "x"\n[[edit]]\ndo = "untie"\n[[edit]]\ndo = "cast"': "edit 2 (cast): the key dtype is missing",
    'source = "x"\n[[edit]]\ndo = "cast"\ndtype = "int4"': "dtype = 'int4' is none of float32",
    'source = "x"\n[[edit]]\ndo = "cast"\ndtype = "float16"\nclamp = 1': "clamp = 1 is not true or false",
    'source = "x"\n[[edit]]\ndo = "repeat-kv"\nkv = true': "kv = True is not a whole number",
    'source = "x"\n[[edit]]\ndo = "merge-lora"\nadapter = "a"\nweight = "1"': "weight = '1' is not a number",
    'source = "x"\nedit = ["untie"]': "edit 1 does not say what to do",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_recipe_that_makes_no_sense_is_refused_with_its_line(text, tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as refused:
        read_recipe(path)
    assert WRONG[text] in str(refused.value)


def test_paths_are_those_of_the_recipe_and_repositories_stay(tmp_path):
    (tmp_path / "base").mkdir()
    path = tmp_path / "recipe.toml"
    path.write_text('source = "base"\noutput = "out"')
    assert (read_recipe(path).source, read_recipe(path).output) == (str(tmp_path / "base"), str(tmp_path / "out"))
    path.write_text('source = "base"\noutput = "new/out"')
    assert read_recipe(path).output == str(tmp_path / "new" / "out")
    path.write_text('source = "org/model"')
    assert read_recipe(path).source == "org/model"


@pytest.mark.parametrize("name", STEPS)
def test_the_settings_of_a_step_are_the_parameters_of_its_function(name):
    module, _, attribute = STEPS[name].function.partition(":")
    parameters = dict(inspect.signature(getattr(importlib.import_module(module), attribute)).parameters)
    first = next(iter(parameters))
    del parameters[first]
    stated = {setting.argument or key.replace("-", "_"): setting for key, setting in STEPS[name].settings.items()}
    assert stated.keys() == parameters.keys()
    required = {key for key, parameter in parameters.items() if parameter.default is parameter.empty}
    assert required == {key for key, setting in stated.items() if setting.required}


def test_a_product_on_repeated_heads_is_refused_before_the_pass(tmp_path):
    base = golden("llama-gqa").checkpoint
    heads = tensors(base)["model.layers.0.self_attn.q_proj.weight"].shape
    name = "model.layers.0.self_attn.k_proj"
    parts = {f"{name}.lora_A.weight": torch.ones(4, heads[1]), f"{name}.lora_B.weight": torch.ones(heads[0], 4)}
    written(tmp_path / "adapter", parts)
    path = tmp_path / "recipe.toml"
    edits = '[[edit]]\ndo = "repeat-kv"\n[[edit]]\ndo = "merge-lora"\nadapter = "adapter"\n'
    path.write_text(f'source = "{base}"\n{edits}')
    with pytest.raises(UsageError, match="Merge first and repeat behind it"):
        read_recipe(path).plan()
