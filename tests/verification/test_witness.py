"""The miniature witness: what the stock classes say of a small twin, with the rest of the verifier off."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import convert.prepare
import mappings
import surgery
from convert.checkpoint import open_checkpoint
from convert.edits.delta import apply_delta
from convert.edits.lora import merge_lora
from convert.planning import Plan
from convert.prepare import open_artefact, plan_artefact, plan_conversion, plan_repack
from convert.verified import verifier
from convert.witness import judge, process
from convert.witness.child import Witness, _some, hindrance, wanted_witness, witness
from convert.witness.config import laid_over
from convert.witness.vocabulary import Tokens, vocabulary
from mappings.family import Family, Fixed, Harmless, Setting
from surgery.errors import UsageError
from tests.convert.test_cli import weightsmith
from tests.edits.adapters import trained
from tests.goldens import golden, goldens
from tests.verification.seventy import FFN, HEADS, HIDDEN, KV, LAYERS, VOCAB, shapes, size

Config = dict[str, Any]
Change = Callable[[Config], None]


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    """The child's memory limit would bind this whole process; thousands of tokens are for the tests that are about them."""
    monkeypatch.setattr(process, "limit_memory", lambda memory: None)
    monkeypatch.setattr(judge, "_LONGEST", 300)


def seen(plan: Plan, folder: Path, change: Change = lambda config: None) -> Witness:
    """What the witness says, in this process, of an output whose config.json was changed afterwards."""
    config = json.loads(plan.documents["config.json"])
    change(config)
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    assert plan.wish is not None
    told = process._answer(
        {
            "source": str(plan.checkpoint.path), "output": str(folder), "wish": plan.wish.to_json(),
            "passes": list(plan.passes), "planned": json.loads(plan.documents["config.json"]), "shared": _some(plan),
        }
    )  # fmt: skip
    return Witness(**{**told, "lengths": tuple(told.get("lengths", ()))})


def source(folder: Path, case: str, **config: Any) -> Path:
    """A golden checkpoint with other keys in its config."""
    shutil.copytree(golden(case).checkpoint, folder)
    told = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**told, **config}))
    return folder


def plan_of(case: str, to: str, **options: Any) -> Plan:
    return plan_conversion(open_checkpoint(golden(case).checkpoint), to, **options)


@pytest.mark.parametrize(
    ("case", "to", "variant", "against"),
    [
        ("llama-gqa", "qwen2", None, "LlamaForCausalLM"),
        ("yi-6b", "llama", None, "yi's reference decoder"),
        ("baichuan2-7b", "llama", "2-7b", "baichuan's reference decoder"),
        ("chatglm3", "llama", None, "chatglm's reference decoder"),
        ("minicpm-2b", "llama", None, "minicpm's reference decoder"),
    ],
)
def test_a_right_conversion_is_witnessed(case, to, variant, against, tmp_path):
    found = seen(plan_of(case, to, variant=variant), tmp_path / "out")
    assert found.ran and found.passed, found.sentence
    assert found.against == against
    assert {1, 9, 40} <= set(found.lengths)
    assert found.error is not None and found.error < 3e-6


def set_rope(config: Config, **changed: Any) -> None:
    for key in ("rope_scaling", "rope_parameters"):
        config[key] = {**config[key], **changed}


MISTAKES: dict[str, tuple[str, str, Change]] = {
    "a rope type that no class knows": ("llama-rope-llama3", "llama", lambda c: set_rope(c, rope_type="ntk-by-parts")),
    "a wrong rope factor": ("llama-rope-llama3", "llama", lambda c: set_rope(c, factor=4.0)),
    "a tied head that should not be": ("yi-6b", "llama", lambda c: c.update(tie_word_embeddings=True)),
    "a forgotten bias": ("llama-attention-bias", "llama", lambda c: c.update(attention_bias=False)),
    "GELU for SiLU": ("yi-6b", "llama", lambda c: c.update(hidden_act="gelu")),
    "the other GELU": ("gpt2", "gpt2", lambda c: c.update(activation_function="gelu")),
    "eps ten times off": ("yi-6b", "llama", lambda c: c.update(rms_norm_eps=10 * c["rms_norm_eps"])),
    "another theta": ("llama-rope-llama3", "llama", lambda c: (c.update(rope_theta=5e5), set_rope(c, rope_theta=5e5))[0]),
    "a class of another kind": ("yi-6b", "llama", lambda c: c.update(model_type="gemma", architectures=["GemmaForCausalLM"])),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_config_on_disk_is_caught_by_the_witness_alone(mistake, tmp_path):
    case, to, change = MISTAKES[mistake]
    found = seen(plan_of(case, to), tmp_path / "out", change)
    assert found.ran and not found.passed, found.sentence
    assert found.sentence.startswith("NOT witnessed by transformers ")


def test_a_key_that_is_dropped_without_a_word_is_caught(tmp_path):
    """``is_causal: false`` changes what the source's class computes; a user who calls it harmless is not believed."""
    folder = source(tmp_path / "src", "llama-gqa", is_causal=False)
    plan = plan_conversion(open_checkpoint(folder), "llama", accept=("is_causal",))
    assert "is_causal" not in json.loads(plan.documents["config.json"])
    found = seen(plan, tmp_path / "out")
    assert found.ran and not found.passed, found.sentence


def in_tables(monkeypatch: pytest.MonkeyPatch, name: str, change: Callable[[Family], Family]) -> None:
    """Every family of this name as ``change`` makes it, wherever the tables are looked up."""
    changed = tuple(change(family) if family.name == name else family for family in mappings.families())
    for module in (convert.prepare, process):
        monkeypatch.setattr(module, "families", lambda: changed)


def test_a_constant_that_a_table_writes_wrongly_is_caught(monkeypatch, tmp_path):
    """Planned and on disk alike: both books say it, and the library does not."""
    in_tables(monkeypatch, "mistral", lambda f: replace(f, constants={**f.constants, "hidden_act": "gelu"}))
    found = seen(plan_of("llama-gqa", "mistral"), tmp_path / "out")
    assert found.ran and not found.passed, found.sentence


def test_a_bias_that_a_table_forgets_is_caught(monkeypatch, tmp_path):
    def forgetful(family: Family) -> Family:
        kept = tuple(row if "q_proj" not in row.name else replace(row, bias="") for row in family.rows)
        return replace(family, rows=kept)

    in_tables(monkeypatch, "qwen2", forgetful)
    monkeypatch.setattr("mappings.rows._check_roles", lambda *arguments: None)
    found = seen(plan_of("llama-gqa", "qwen2"), tmp_path / "out")
    assert found.ran and not found.passed and "missing keys" in found.because, found.sentence


def test_a_default_that_the_class_does_not_have_is_caught(monkeypatch, tmp_path):
    """The source leaves eps out: the table's default has to be the class's."""
    folder = source(tmp_path / "src", "llama-gqa")
    told = json.loads((folder / "config.json").read_text())
    del told["rms_norm_eps"]
    (folder / "config.json").write_text(json.dumps(told))
    assert seen(plan_conversion(open_checkpoint(folder), "mistral"), tmp_path / "out").passed

    def wrong(family: Family) -> Family:
        eps = Setting("norm.eps", "rms_norm_eps", default=1e-5)
        settings = tuple(eps if isinstance(s, Setting) and s.fact == "norm.eps" else s for s in family.settings)
        return replace(family, settings=settings)

    in_tables(monkeypatch, "llama", wrong)
    found = seen(plan_conversion(open_checkpoint(folder), "mistral"), tmp_path / "other")
    assert found.ran and not found.passed, found.sentence


def test_a_head_that_a_table_drops_as_tied_is_caught(monkeypatch, tmp_path):
    """The source's own key says no, the table says yes, and so the output has neither key nor head."""

    def tying(family: Family) -> Family:
        tied = Fixed("tied", True, "a mistake")
        settings = tuple(tied if isinstance(s, Setting) and s.fact == "tied" else s for s in family.settings)
        return replace(family, settings=settings, harmless=(*family.harmless, Harmless("tie_word_embeddings", "a mistake")))

    in_tables(monkeypatch, "yi", tying)
    monkeypatch.setattr("convert.prepare.check_alike", lambda *arguments: None)
    plan = plan_of("yi-6b", "llama")
    assert json.loads(plan.documents["config.json"])["tie_word_embeddings"] is True
    found = seen(plan, tmp_path / "out")
    assert found.ran and not found.passed, found.sentence


def test_a_length_that_a_config_names_is_crossed(monkeypatch, tmp_path):
    """A window of the output alone shows only beyond it."""
    folder = source(tmp_path / "src", "llama-gqa")
    plan = plan_conversion(open_checkpoint(folder), "mistral")
    found = seen(plan, tmp_path / "out", lambda config: config.update(sliding_window=120))
    assert found.ran and not found.passed and 123 in found.lengths, found.sentence


def test_edits_are_done_to_the_miniature_too(tmp_path):
    artefact = surgery.untie(open_artefact(open_checkpoint(golden("llama-tied").checkpoint)))
    plan = plan_artefact(artefact, "mistral")
    found = seen(plan, tmp_path / "out")
    assert found.passed, found.sentence
    again = seen(plan_artefact(surgery.repeat_kv(artefact), "mistral"), tmp_path / "other")
    assert again.passed, again.sentence


def test_an_adapter_is_merged_into_the_miniature(tmp_path):
    base = golden("llama-gqa").checkpoint
    adapter = trained(base, tmp_path / "adapter", torch.tensor([[1, 2, 3]]), target_modules=["q_proj", "down_proj"])
    plan = plan_artefact(merge_lora(open_artefact(open_checkpoint(base)), adapter.folder))
    found = seen(plan, tmp_path / "out")
    assert found.ran and found.passed, found.sentence
    assert found.against == "LlamaForCausalLM under peft"


@pytest.mark.parametrize("case", [case.name for case in goldens("lora-", "delta-")])
def test_what_is_added_is_added_in_miniature(case, tmp_path):
    """Adapters as peft saves them in all their forms, by peft; deltas of Vicuna and Alpaca, by our decoder."""
    folder = golden(case).checkpoint
    base = open_artefact(open_checkpoint(folder / "base"))
    pad = "zero" if "zero" in case else "mean"
    added = merge_lora(base, folder / "adapter") if case.startswith("lora-") else apply_delta(base, folder / "delta", pad=pad)
    found = seen(plan_artefact(added, "mistral"), tmp_path / "out")
    assert found.ran and found.passed, found.sentence


#: kinds of adapters of a tied base -> options of peft's LoraConfig
ON_TIED = {
    "whole embeddings": {"modules_to_save": ["embed_tokens"]},
    "a product on the output projection": {"target_modules": ["lm_head", "q_proj"]},
    "both as one": {"modules_to_save": ["embed_tokens", "lm_head"], "ensure_weight_tying": True},
    "rows": {"trainable_token_indices": [9, 4, 30]},
    "DoRA": {"use_dora": True, "target_modules": ["embed_tokens", "v_proj", "down_proj"]},
}


@pytest.mark.parametrize("before", ["", "untie"])
@pytest.mark.parametrize("kind", ON_TIED)
def test_an_adapter_of_a_tied_base_is_judged_by_peft_on_a_tied_miniature(kind, before, tmp_path):
    base = golden("llama-tied").checkpoint
    adapter = trained(base, tmp_path / "adapter", torch.tensor([[1, 2, 3]]), **{"target_modules": ["q_proj"], **ON_TIED[kind]})
    artefact = open_artefact(open_checkpoint(base))
    plan = plan_artefact(merge_lora(surgery.untie(artefact) if before else artefact, adapter.folder))
    found = seen(plan, tmp_path / "out")
    assert found.ran and found.passed, found.sentence
    assert found.against == "LlamaForCausalLM under peft"


def test_a_head_that_follows_embeddings_which_it_must_not_is_caught(monkeypatch, tmp_path):
    from convert.edits.tying import Settled

    base = golden("llama-tied").checkpoint
    told = {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]}
    adapter = trained(base, tmp_path / "adapter", torch.tensor([[1, 2, 3]]), **told)
    monkeypatch.setattr("convert.edits.lora.settled", lambda adapter, *ends: Settled(adapter, "never"))
    found = seen(plan_artefact(merge_lora(open_artefact(open_checkpoint(base)), adapter.folder)), tmp_path / "out")
    assert found.ran and not found.passed, found.sentence


def test_two_adapters_in_turn_are_merged_in_miniature(tmp_path):
    artefact = open_artefact(open_checkpoint(golden("llama-tied").checkpoint))
    for seed, options in enumerate(({"modules_to_save": ["embed_tokens"]}, {"use_dora": True})):
        told = {"target_modules": ["q_proj"], **options}
        one = trained(golden("llama-tied").checkpoint, tmp_path / f"a{seed}", torch.tensor([[1, 2, 3]]), seed=seed, **told)
        artefact = merge_lora(artefact, one.folder)
    found = seen(plan_artefact(artefact), tmp_path / "out")
    assert found.ran and found.passed, found.sentence


def test_an_adapter_of_the_wrong_size_of_step_is_caught(monkeypatch, tmp_path):
    base = golden("llama-gqa").checkpoint
    adapter = trained(base, tmp_path / "adapter", torch.tensor([[1, 2, 3]]), target_modules=["q_proj", "down_proj"])
    monkeypatch.setattr("convert.edits.adapter_config.AdapterConfig.factor", lambda self, module: 0.5)
    plan = plan_artefact(merge_lora(open_artefact(open_checkpoint(base)), adapter.folder))
    found = seen(plan, tmp_path / "out")
    assert found.ran and not found.passed, found.sentence


def test_it_runs_in_a_child_by_default_and_says_so_in_the_manifest(monkeypatch, tmp_path):
    """From the command line, in memory of its own: verified, witnessed, recorded without a measured number."""
    monkeypatch.delenv("WEIGHTSMITH_WITNESS")
    out = tmp_path / "out"
    done = weightsmith("yi-to-llama", golden("yi-6b").checkpoint, out)
    assert done.returncode == 0, done.stderr
    assert "; witnessed by transformers " in done.stdout
    told = json.loads((out / "weightsmith.json").read_text())["verification"]["witness"]
    assert told["witness"] == "passed" and told["library"].startswith("transformers ")
    assert set(told) == {"witness", "library", "layers", "width", "lengths"}


def test_an_output_that_the_witness_refuses_is_not_published(tmp_path):
    """The verifier's own book keeps silent about a key that the user calls harmless; the library does not."""
    folder = source(tmp_path / "src", "llama-gqa", is_causal=False)
    out = tmp_path / "out"
    done = weightsmith("run", folder, out, "--to", "llama", "--accept-key", "is_causal", "--witness", "auto")
    assert done.returncode == 5, done.stderr
    assert done.stderr.startswith("error: NOT witnessed by transformers ")
    assert "nevertheless verified: " in done.stderr
    assert not out.exists() and (tmp_path / "out.failed").exists()


def test_verify_by_hand_takes_the_config_that_lies_there(tmp_path):
    """The plan is made again from the manifest; the config is not: here somebody changed it after the conversion."""
    out = tmp_path / "out"
    base = golden("llama-gqa").checkpoint
    assert weightsmith("llama-to-mistral", base, out, "--verify", "off").returncode == 0
    right = weightsmith("verify", base, out, "--witness", "required")
    assert right.returncode == 0 and "  witness   witnessed by transformers " in right.stdout, right.stderr
    told = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps({**told, "sliding_window": 8}))
    wrong = weightsmith("verify", base, out, "--witness", "required", "--mode", "quick")
    assert wrong.returncode == 5
    assert "  witness   NOT witnessed by transformers " in wrong.stdout
    (out / "weightsmith.json").unlink()
    unknown = weightsmith("verify", base, out, "--witness", "required")
    assert unknown.returncode == 2 and "names no plan" in unknown.stderr


def test_a_required_witness_that_cannot_run_is_a_matter_of_usage(tmp_path):
    plan = plan_repack(open_checkpoint(golden("llama-gqa").checkpoint))
    with pytest.raises(UsageError, match="moved without being read as a model"):
        verifier(plan, "quick", witness="required")
    with pytest.raises(UsageError, match="the verification is off"):
        verifier(plan_of("yi-6b", "llama"), "off", witness="required")
    with pytest.raises(UsageError, match="names no plan"):
        witness(None, tmp_path, "required")


def test_without_the_library_it_says_so(monkeypatch):
    monkeypatch.setattr("convert.witness.child.find_spec", lambda name: None)
    assert "transformers is not installed" in hindrance(plan_of("yi-6b", "llama"))


def test_the_environment_says_what_holds_where_no_option_does(monkeypatch):
    monkeypatch.setenv("WEIGHTSMITH_WITNESS", "required")
    assert (wanted_witness(None), wanted_witness("off")) == ("required", "off")
    monkeypatch.setenv("WEIGHTSMITH_WITNESS", "perhaps")
    with pytest.raises(UsageError, match="perhaps"):
        wanted_witness(None)


def test_a_config_keeps_what_lies_on_disk_where_sizes_do_not_matter():
    disk = {"hidden_size": 64, "hidden_act": "gelu", "rope": {"theta": 1, "dim": 16}, "eos_token_id": [2, 90], "extra": 1}
    planned = {"hidden_size": 64, "hidden_act": "silu", "rope": {"theta": 1, "dim": 16}, "eos_token_id": 2, "gone": 3}
    small = {"hidden_size": 32, "hidden_act": "silu", "rope": {"theta": 1, "dim": 8}, "eos_token_id": 1, "gone": 3}
    assert laid_over(disk, planned, small, Tokens((0, 2, 90), 100)) == {
        "hidden_size": 32, "hidden_act": "gelu", "rope": {"theta": 1, "dim": 8}, "eos_token_id": [1, 2], "extra": 1,
    }  # fmt: skip
    assert laid_over({"hidden_size": 65}, planned, small, Tokens((0,), 100)) == {"hidden_size": 65}


def test_named_tokens_are_in_the_miniature_and_an_id_beyond_the_rows_stays_beyond():
    found = vocabulary((50_000, 50_000), None, ({"eos_token_id": 49_321}, {"pad_token_id": [49_999, 50_007]}))
    assert len(found.source) < 600
    assert found.source.ids[found.source.of(49_321)] == 49_321
    assert found.output.of(50_007) == len(found.output) + 7


def test_tokens_that_moved_are_paired():
    found = vocabulary((6, 4), ([1, 3, 5], [0, 1, 2]), ({}, {}))
    ours, theirs = found.source.ids, found.output.ids
    assert {(ours[a], theirs[b]) for a, b in found.pairs} == {(1, 0), (3, 1), (5, 2)}


def headers_of_seventy(folder: Path) -> Path:
    """A checkpoint of a 70B model's shape whose one file is a header and a hole of 141 GB."""
    folder.mkdir()
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": LAYERS, "hidden_size": HIDDEN,
        "num_attention_heads": HEADS, "num_key_value_heads": KV, "intermediate_size": FFN, "vocab_size": VOCAB,
        "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "max_position_embeddings": 8192, "eos_token_id": [128001, 128009],
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    header, at = {}, 0
    for name, shape in shapes().items():
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size(shape)]}
        at += size(shape)
    text = json.dumps(header).encode()
    with open(folder / "model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + at)
    return folder


def test_a_miniature_of_a_large_model_is_small(tmp_path):
    """A 70B in headers alone: eight times as many query heads as keys, 80 layers, 128,256 tokens."""
    plan = plan_conversion(open_checkpoint(headers_of_seventy(tmp_path / "src")), "mistral")
    found = seen(plan, tmp_path / "out")
    assert found.passed and (found.layers, found.width) == (3, 2048), found.sentence


def test_weights_of_the_miniature_are_not_those_of_the_source(tmp_path):
    """Nothing of the real weights is read: a source of zeros is witnessed as well."""
    folder = source(tmp_path / "src", "llama-gqa")
    for file in folder.glob("*.safetensors"):
        save_file({name: torch.zeros_like(t) for name, t in load_file(file).items()}, file, {"format": "pt"})
    found = seen(plan_conversion(open_checkpoint(folder), "mistral"), tmp_path / "out")
    assert found.passed, found.sentence
