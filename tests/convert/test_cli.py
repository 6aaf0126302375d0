"""The command line as its users meet it: exit statuses, one paragraph of error, one JSON document, a fast --help."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from tests.goldens import golden

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = "import sys; sys.argv[0] = 'weightsmith'; from convert.cli import main; main()"


def weightsmith(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )


def copied(name: str, to: Path) -> Path:
    """A golden checkpoint that a test may damage."""
    to.mkdir()
    for file in golden(name).checkpoint.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    return to


def edit(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def retensor(folder: Path, name: str, replacement) -> None:
    """Put other tensors in the place of one, in its shard and in the index."""
    index = folder / "model.safetensors.index.json"
    table = json.loads(index.read_text())
    file = folder / table["weight_map"].pop(name)
    held = load_file(file)
    held.update(replacement(held.pop(name)))
    save_file(held, file, metadata={"format": "pt"})
    table["weight_map"].update(dict.fromkeys(held, file.name))
    index.write_text(json.dumps(table))


def refused(result: subprocess.CompletedProcess[str], status: int, out: Path, *words: str) -> None:
    assert result.returncode == status, result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    message = result.stderr.partition("error: ")[2]
    assert message
    assert all(word in message for word in words), message
    assert not out.exists() and not out.with_name(f"{out.name}.failed").exists()


def test_the_main_command_converts_verifies_and_says_so(tmp_path):
    result = weightsmith("baichuan-to-llama", golden("baichuan2-7b").checkpoint, tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert "algebraic" in result.stdout
    assert "verified: all 3 layers" in result.stdout
    assert sorted(os.listdir(tmp_path / "out")) == ["config.json", "model.safetensors", "weightsmith.json"]


def test_json_is_one_document_and_nothing_else(tmp_path):
    result = weightsmith("run", golden("yi-6b").checkpoint, tmp_path / "out", "--to", "llama", "--json")
    told = json.loads(result.stdout)
    assert told["exactness"] == "byte"
    assert told["verification"]["verdict"] == "passed"


def test_a_dry_run_prints_the_plan_that_the_run_executes(tmp_path):
    source = golden("internlm2-7b").checkpoint
    dry = weightsmith("internlm2-to-llama", source, tmp_path / "out", "--dry-run", "--json")
    assert dry.returncode == 0
    assert not (tmp_path / "out").exists()
    wet = weightsmith("internlm2-to-llama", source, tmp_path / "out", "--verify", "off", "--json")
    assert json.loads(dry.stdout)["digest"] == json.loads(wet.stdout)["digest"]
    assert json.loads(dry.stdout)["files"][0]["bytes"] == (tmp_path / "out" / "model.safetensors").stat().st_size


def test_a_saved_plan_is_executed_and_a_stale_one_refused(tmp_path):
    source = copied("internlm2-7b", tmp_path / "source")
    saved = tmp_path / "plan.json"
    assert weightsmith("run", source, "--to", "llama", "--dry-run", "--plan-out", saved).returncode == 0
    assert weightsmith("run", "--plan", saved, tmp_path / "out", "--verify", "off").returncode == 0
    assert (tmp_path / "out" / "model.safetensors").exists()
    settled = weightsmith("run", "--plan", saved, tmp_path / "again", "--dtype", "float16")
    refused(settled, 2, tmp_path / "again", "--dtype is settled by --plan")
    edit(source, rope_theta=5e5)
    refused(weightsmith("run", "--plan", saved, tmp_path / "again"), 3, tmp_path / "again", "changed")


@pytest.mark.parametrize("name", ["baichuan-13b", "baichuan2-13b"])
def test_alibi_is_refused_before_anything_is_written(name, tmp_path):
    result = weightsmith("baichuan-to-llama", golden(name).checkpoint, tmp_path / "out")
    refused(result, 3, tmp_path / "out", "alibi", "model_max_length", "Nothing was written")
    assert list(tmp_path.iterdir()) == []


def test_an_ambiguous_variant_names_the_candidates(tmp_path):
    result = weightsmith("baichuan-to-baichuan", golden("baichuan2-13b").checkpoint, tmp_path / "out")
    refused(result, 3, tmp_path / "out", "--variant 13b", "--variant 2-13b")


def test_what_blocks_a_direction_and_what_would_mend_it_are_named(tmp_path):
    source = copied("llama-gqa", tmp_path / "source")
    edit(source, rope_theta=10000.0)
    result = weightsmith("llama-to-baichuan", source, tmp_path / "out")
    refused(result, 3, tmp_path / "out", "kv", "repeat-kv")
    mended = weightsmith("llama-to-baichuan", source, tmp_path / "out", "--mend", "repeat-kv")
    assert mended.returncode == 0, mended.stderr
    assert "byte" in mended.stdout and "verified" in mended.stdout


DOWN, NORM, HEAD = "model.layers.0.mlp.down_proj.weight", "model.norm.weight", "lm_head.weight"

#: what is done to a tensor -> (its name, what takes its place, words that the refusal must hold)
DAMAGES = {
    "renamed": (HEAD, lambda t: {"lm_hat.weight": t}, ["missing", HEAD, "lm_hat.weight"]),
    "missing": (NORM, lambda t: {}, ["1 missing", NORM]),
    "transposed": (DOWN, lambda t: {DOWN: t.T.contiguous()}, ["wrong shape", "down_proj", "172 x 96"]),
    "integers": (NORM, lambda t: {NORM: t.int()}, ["dtype I32"]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_tensor_is_named_in_one_paragraph(damage, tmp_path):
    source = copied("llama-gqa", tmp_path / "source")
    name, replacement, words = DAMAGES[damage]
    retensor(source, name, replacement)
    refused(weightsmith("run", source, tmp_path / "out", "--to", "yi"), 3, tmp_path / "out", *words)


def test_a_layer_too_many_in_the_config_is_refused(tmp_path):
    source = copied("baichuan2-7b", tmp_path / "source")
    edit(source, num_hidden_layers=4)
    refused(
        weightsmith("run", source, tmp_path / "out", "--to", "llama"), 3, tmp_path / "out", "num_hidden_layers", "0..2"
    )


def test_a_truncated_shard_is_refused(tmp_path):
    source = copied("baichuan2-7b", tmp_path / "source")
    shard = sorted(source.glob("*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-100])
    refused(weightsmith("run", source, tmp_path / "out", "--to", "llama"), 3, tmp_path / "out", "truncated", shard.name)


def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path):
    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    source = copied("baichuan-7b", tmp_path / "source")
    first = sorted(source.glob("*.bin"))[0]
    first.write_bytes(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03." + pickle.dumps(Payload(), 2))
    result = weightsmith("run", source, tmp_path / "out", "--to", "llama")
    assert result.returncode == 4
    assert not (tmp_path / "ran").exists() and not (tmp_path / "out").exists()
    assert "Traceback" not in result.stderr


def test_quantised_sources_are_refused_by_name(tmp_path):
    source = copied("llama-gqa", tmp_path / "source")
    edit(source, quantization_config={"quant_method": "gptq", "bits": 4})
    refused(weightsmith("run", source, tmp_path / "out", "--to", "yi"), 3, tmp_path / "out", "gptq")


@pytest.mark.parametrize(
    ("arguments", "status", "word"),
    [
        (["lama-to-baichuan", "a", "b"], 2, "did you mean llama"),
        (["no-such-command"], 2, "No such command"),
        (["photo.png", "-resize", "50%"], 2, "LLM checkpoints"),
        (["run"], 2, "--to"),
        (["run", "/nonexistent/place", "b", "--to", "llama"], 2, "nonexistent"),
    ],
)
def test_usage_errors_exit_2_and_say_what_to_do(arguments, status, word, tmp_path):
    result = weightsmith(*arguments, cwd=tmp_path)
    assert result.returncode == status
    assert word in result.stderr
    assert "Traceback" not in result.stderr


def test_an_output_that_exists_exits_7(tmp_path):
    (tmp_path / "out").mkdir()
    result = weightsmith("run", golden("yi-6b").checkpoint, tmp_path / "out", "--to", "llama", "--verify", "off")
    assert result.returncode == 7


def test_a_ram_limit_that_is_too_small_exits_8(tmp_path):
    result = weightsmith("run", golden("yi-6b").checkpoint, tmp_path / "out", "--to", "llama", "--ram", "1MB")
    refused(result, 8, tmp_path / "out", "--ram")


def test_verify_tells_equal_from_different(tmp_path):
    source = golden("llama-gqa").checkpoint
    assert weightsmith("run", source, tmp_path / "out", "--to", "yi", "--verify", "off").returncode == 0
    assert weightsmith("verify", source, tmp_path / "out").returncode == 0
    tensors = load_file(tmp_path / "out" / "model.safetensors")
    name = "model.layers.1.self_attn.k_proj.weight"
    tensors[name] = tensors[name].flip(0).contiguous()
    save_file(tensors, tmp_path / "out" / "model.safetensors", metadata={"format": "pt"})
    result = weightsmith("verify", source, tmp_path / "out")
    assert result.returncode == 5
    assert "layer 1" in result.stdout + result.stderr


def test_commands_that_look_answer_from_headers(tmp_path):
    told = json.loads(weightsmith("inspect", golden("llama-rope-llama3").checkpoint, "--json").stdout)
    assert (told["family"], told["sizes"]["kv"], told["traits"]["rope.scaling"]["factor"]) == ("llama", 2, 8.0)
    found = json.loads(
        weightsmith("diff", golden("llama-gqa").checkpoint, golden("llama-tied").checkpoint, "--json").stdout
    )
    assert found["only_first"] == ["lm_head.weight"]
    assert "baichuan-2-7b" in weightsmith("families").stdout
    assert "W_pack" in weightsmith("explain", "baichuan").stdout
    assert json.loads(weightsmith("families", "--json").stdout)["schema"] == 1
    assert "weightsmith" in weightsmith("doctor").stdout


def test_help_loads_nothing_heavy():
    heavy = ["torch", "numpy", "transformers", "huggingface_hub", "safetensors", "sentencepiece", "tokenizers"]
    check = (
        "import sys; from convert.cli.main import cli; cli.main(['--help'], standalone_mode=False); "
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, cwd=ROOT, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


def test_copying_loads_neither_torch_nor_numpy(tmp_path):
    source = str(golden("baichuan-7b").checkpoint)
    check = (
        "import sys; from convert.cli.main import cli\n"
        f"cli.main(['baichuan-to-llama', {source!r}, {str(tmp_path / 'out')!r}, '--verify', 'off'], standalone_mode=False)\n"
        "print([m for m in ('torch', 'numpy') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, cwd=ROOT, check=True)
    assert result.stdout.splitlines()[-1] == "[]"
