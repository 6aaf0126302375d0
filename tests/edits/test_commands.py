"""The `surgery` command: every edit by name, what it prints, and that its table and its help agree."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from convert.cli.running import run
from convert.cli.surgery import COMMANDS, cli
from convert.edits.checksum import check_total
from surgery.errors import VerificationFailed
from tests.goldens import golden
from tests.oracle import native_logits, same_bits, tensors


def surgery(*arguments: object) -> int:
    return run(cli, "surgery", [str(argument) for argument in arguments])


def same(folder: Path, other: Path) -> bool:
    one, two = tensors(folder), tensors(other)
    return one.keys() == two.keys() and all(same_bits(one[key], two[key]) for key in one)


def test_help_lists_every_edit_and_loads_none(capsys):
    assert surgery("--help") == 0
    told = capsys.readouterr().out
    assert all(f"  {name} " in told for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name, capsys):
    assert surgery(name, "--help") == 0
    assert capsys.readouterr().out.startswith(f"Usage: surgery {name}")


def test_repeated_heads_give_the_same_logits_through_transformers(tmp_path, capsys):
    case = golden("llama-gqa")
    assert surgery("repeat-kv", case.checkpoint, tmp_path / "out") == 0
    assert json.loads((tmp_path / "out" / "config.json").read_text())["num_key_value_heads"] == 6
    truth = load_file(case.logits)
    assert (native_logits(tmp_path / "out", truth["input_ids"]) - truth["logits"]).abs().max() <= 1e-4
    assert "verified" in capsys.readouterr().out


@pytest.mark.parametrize("kv", [1, 3, 4, 12])
def test_heads_that_do_not_divide_are_refused_with_those_that_do(kv, tmp_path, capsys):
    assert surgery("repeat-kv", golden("llama-gqa").checkpoint, tmp_path / "out", "--kv", kv) == 2
    assert f"2 key-value heads of 6 query heads cannot become {kv}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", [["to-safetensors"], ["reshard", "--max-shard-size", "60KB"]])
@pytest.mark.parametrize("name", ["baichuan-7b", "lora-chinese-alpaca", "gpt2"])
def test_rewriting_keeps_every_name_and_byte(command, name, tmp_path):
    source = golden(name).checkpoint
    source = source / "base" if (source / "base").is_dir() else source
    assert surgery(*command, source, tmp_path / "out") == 0
    assert same(source, tmp_path / "out")
    shards = list((tmp_path / "out").glob("*.safetensors"))
    assert len(shards) == 1 if command == ["to-safetensors"] else len(shards) > 3


def test_dropping_buffers_leaves_out_the_rotary_ones_and_nothing_else(tmp_path):
    source = golden("baichuan-7b").checkpoint
    assert surgery("drop-buffers", source, tmp_path / "out", "--variant", "7b") == 0
    old, found = tensors(source), tensors(tmp_path / "out")
    gone = old.keys() - found.keys()
    assert gone and all(name.endswith("rotary_emb.inv_freq") for name in gone)
    assert all(same_bits(found[key], old[key]) for key in found)


def test_untying_and_tying_again_by_command(tmp_path):
    source = golden("llama-tied").checkpoint
    assert surgery("untie", source, tmp_path / "free") == 0
    assert surgery("tie", tmp_path / "free", tmp_path / "tied") == 0
    assert same(source, tmp_path / "tied")


def test_casting_says_what_it_cost(tmp_path, capsys):
    assert surgery("cast", golden("llama-gqa").checkpoint, tmp_path / "out", "--dtype", "float16", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rounding"]["overflow"] == 0
    assert 0 < told["rounding"]["relative"] < 1e-3
    assert told["exactness"] == "approximate"


def test_a_delta_is_made_applied_and_bound_to_its_base_by_command(tmp_path, capsys):
    base, target = golden("llama-gqa").checkpoint, tmp_path / "target"
    assert surgery("cast", base, tmp_path / "half", "--dtype", "bfloat16", "--verify", "off") == 0
    assert surgery("cast", tmp_path / "half", target, "--dtype", "float32", "--verify", "off") == 0
    assert surgery("make-delta", base, target, tmp_path / "delta", "--lossless") == 0
    assert surgery("apply-delta", base, tmp_path / "back", "--delta", tmp_path / "delta") == 0
    assert same(target, tmp_path / "back")
    capsys.readouterr()
    assert surgery("apply-delta", golden("llama-mha").checkpoint, tmp_path / "no", "--delta", tmp_path / "delta") == 3
    assert "not the base that this delta was made from" in capsys.readouterr().err
    assert surgery("make-delta", base, target, tmp_path / "rounded") == 0
    assert surgery("apply-delta", base, tmp_path / "near", "--delta", tmp_path / "rounded") == 0


def test_a_delta_with_more_tokens_says_which_paddings_there_are(tmp_path, capsys):
    folder = golden("delta-vicuna-pad-zero").checkpoint
    assert surgery("apply-delta", folder / "base", tmp_path / "out", "--delta", folder / "delta") == 2
    assert "--pad zero" in capsys.readouterr().err
    assert surgery("apply-delta", folder / "base", tmp_path / "out", "--delta", folder / "delta", "--pad", "zero") == 0


def test_a_published_sum_needs_the_verification(tmp_path, capsys):
    folder = golden("delta-vicuna-pad-zero").checkpoint
    command = ("apply-delta", folder / "base", tmp_path / "out", "--delta", folder / "delta", "--pad", "zero", "--sum", 1)
    assert surgery(*command, "--verify", "off") == 2
    assert surgery(*command) == 5
    assert "add up to" in capsys.readouterr().err


def test_no_weights_that_hold_a_nan_add_up_to_anything(tmp_path):
    weights = {"w": torch.tensor([1.0, float("nan")]), "scalar": torch.tensor(2.0)}
    save_file(weights, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{}")
    for sum_ in (3.0, float("nan")):
        with pytest.raises(VerificationFailed, match="add up to nan"):
            check_total(tmp_path, sum_)
    save_file({**weights, "w": torch.tensor([1.0, 2.0])}, tmp_path / "model.safetensors")
    check_total(tmp_path, 5.0)


def test_a_sum_that_is_no_number_is_refused(tmp_path, capsys):
    folder = golden("delta-vicuna-pad-zero").checkpoint
    command = ("apply-delta", folder / "base", tmp_path / "out", "--delta", folder / "delta", "--pad", "zero", "--sum", "nan")
    assert surgery(*command) == 2
    assert "is said to be nan" in capsys.readouterr().err


def test_a_lossless_delta_has_no_dry_run(tmp_path, capsys):
    base = golden("llama-gqa").checkpoint
    assert surgery("make-delta", base, base, tmp_path / "delta", "--lossless", "--dry-run") == 2
    assert "--dry-run has no meaning with --lossless" in capsys.readouterr().err
    assert not (tmp_path / "delta").exists()


def test_weights_and_adapters_are_counted(tmp_path, capsys):
    folder = golden("lora-qv-only").checkpoint
    adapter = ("--adapter", folder / "adapter")
    assert surgery("merge-lora", folder / "base", tmp_path / "o", *adapter, *adapter, "--weight", 1) == 2
    assert "1 weights for 2 adapters" in capsys.readouterr().err
