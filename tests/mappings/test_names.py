"""Names that are not quite a family's own: read where transformers reads them, and where only a wrapper stands before them.

What is right is said by transformers' classes and the vendors' logits; the reference decoders and the formulas read the
names by themselves, so that both proofs hold of such a source too.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from convert.checkpoint import open_checkpoint
from convert.edits.lora import merge_lora
from convert.prepare import open_artefact, plan_artefact, plan_conversion
from convert.verification.movement import prove
from convert.verification.run import verify
from convert.writing import write
from mappings import families
from mappings.slabs import as_in_rows, assembled
from mappings.slots import indices, without_sets
from surgery.errors import ConversionError
from tests.edits.adapters import trained
from tests.goldens import golden, goldens
from tests.mappings.pairs import same_tensors
from tests.oracle import native_logits, tensors

#: cases of every family that has a class in transformers, which reads all of their tensors
NATIVE = [
    case.name
    for case in goldens()
    if case.name
    in {
        "deepseek-v2-lite", "gemma1-2b", "gemma2", "gpt2", "llama-gqa", "llama-tied", "mistral", "mixtral", "phi3", "qwen2",
        "qwen2-moe", "qwen2-tied", "qwen3", "stablelm",
    }
]  # fmt: skip
BASES = ("model.", "transformer.")


def saved(case: str, folder: Path, spelt, **config: object) -> Path:
    """A golden case under other names."""
    source = golden(case).checkpoint
    folder.mkdir()
    save_file({spelt(name): t for name, t in tensors(source).items()}, folder / "model.safetensors", metadata={"format": "pt"})
    told = json.loads((source / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**told, **config}))
    return folder


def without_base(name: str) -> str:
    for base in BASES:
        name = name.removeprefix(base)
    return name


def base_twice(name: str) -> str:
    return f"model.{name}"


#: GPT-2's base class is called otherwise, and its releases do without it anyhow
SPELT = [(case, without_base) for case in NATIVE] + [(case, base_twice) for case in NATIVE if case != "gpt2"]


def checked(source: Path, out: Path, to: str | None = None):
    """The plan after it was carried out and both proofs were made."""
    plan = plan_artefact(open_artefact(open_checkpoint(source)), to)
    write(plan, out)
    verdict = verify(open_checkpoint(source), open_checkpoint(out), exactness=str(plan.exactness))
    lineage = prove(plan)
    assert verdict.passed, verdict.sentence
    assert lineage is not None and lineage.passed and not lineage.unfollowed and not lineage.unproved, lineage
    return plan


@pytest.mark.parametrize(("case", "spelt"), SPELT)
def test_what_transformers_loads_without_or_with_twice_the_base_class_is_read(case, spelt, tmp_path):
    truth = load_file(golden(case).logits)
    source = saved(case, tmp_path / "in", spelt)
    assert (native_logits(source, truth["input_ids"]) - truth["logits"]).abs().max() <= 1e-4
    plan = checked(source, tmp_path / "out")
    assert not [note for note in plan.notes if "names were read" in note]
    assert (native_logits(tmp_path / "out", truth["input_ids"]) - truth["logits"]).abs().max() <= 1e-4


@pytest.mark.parametrize("case", [name for name in ("llama-tied", "qwen2-tied", "gemma1-2b") if name in NATIVE])
def test_a_tied_model_that_stores_only_its_head_is_read(case, tmp_path):
    truth = load_file(golden(case).logits)
    source = saved(case, tmp_path / "in", lambda name: "lm_head.weight" if "embed_tokens" in name else name)
    assert (native_logits(source, truth["input_ids"]) - truth["logits"]).abs().max() <= 1e-4
    checked(source, tmp_path / "out")
    plain = plan_conversion(open_checkpoint(golden(case).checkpoint), open_artefact(open_checkpoint(source)).family)
    write(plain, tmp_path / "plain")
    assert same_tensors(tmp_path / "out", tmp_path / "plain")


def test_an_untied_model_that_stores_only_its_head_is_refused(tmp_path):
    source = saved("llama-gqa", tmp_path / "in", str)
    held = load_file(source / "model.safetensors")
    del held["model.embed_tokens.weight"]
    save_file(held, source / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConversionError, match=r"1 missing \(model\.embed_tokens\.weight\)"):
        open_artefact(open_checkpoint(source))


WRAPPED = {
    "_orig_mod.": "torch.compile", "module.": "DataParallel", "module._orig_mod.": "torch.compile",
    "language_model.": "multimodal", "base_model.model.": "peft",
}  # fmt: skip


@pytest.mark.parametrize("prefix", WRAPPED)
@pytest.mark.parametrize("case", ["llama-gqa", "chatglm3", "qwen-7b"])
def test_what_a_wrapper_put_before_all_names_is_taken_away_and_said(case, prefix, tmp_path):
    source = saved(case, tmp_path / "in", lambda name: prefix + name)
    plan = checked(source, tmp_path / "out", "llama")
    assert any(WRAPPED[prefix] in note for note in plan.notes)
    write(plan_conversion(open_checkpoint(golden(case).checkpoint), "llama"), tmp_path / "plain")
    assert same_tensors(tmp_path / "out", tmp_path / "plain")


def test_segments_of_a_wrapper_inside_names_are_taken_away(tmp_path):
    source = saved("llama-gqa", tmp_path / "in", lambda name: name.replace(".mlp.", "._checkpoint_wrapped_module.mlp."))
    plan = checked(source, tmp_path / "out")
    assert same_tensors(tmp_path / "out", golden("llama-gqa").checkpoint)
    assert any("activation checkpointing" in note for note in plan.notes)


@pytest.mark.parametrize("spelt", [without_base, base_twice, lambda name: f"_orig_mod.{name}"], ids=["none", "twice", "wrapped"])
def test_an_adapter_of_the_same_model_fits_whatever_the_base_is_called(spelt, tmp_path):
    ids = load_file(golden("llama-gqa").logits)["input_ids"]
    made = trained(golden("llama-gqa").checkpoint, tmp_path / "adapter", ids, target_modules=["q_proj", "down_proj"])
    base = saved("llama-gqa", tmp_path / "in", spelt)
    write(plan_artefact(merge_lora(open_artefact(open_checkpoint(base)), made.folder)), tmp_path / "out")
    assert (native_logits(tmp_path / "out", ids) - made.logits).abs().max() <= 1e-4
    added = [{"kind": "adapter", "path": str(made.folder), "options": {"weight": 1.0, "subtract": False}}]
    verdict = verify(open_checkpoint(base), open_checkpoint(tmp_path / "out"), exactness="algebraic", additions=added)
    assert verdict.passed, verdict.sentence


def test_an_output_under_a_wrappers_names_is_not_verified_since_no_library_reads_it(tmp_path):
    source = golden("llama-gqa").checkpoint
    out = saved("llama-gqa", tmp_path / "out", lambda name: f"_orig_mod.{name}")
    with pytest.raises(ConversionError, match=r"no such tensor"):
        verify(open_checkpoint(source), open_checkpoint(out), exactness="byte")


def test_two_tensors_behind_one_name_must_be_the_same(tmp_path):
    source = saved("llama-gqa", tmp_path / "in", str)
    held = load_file(source / "model.safetensors")
    save_file({**held, "norm.weight": held["model.norm.weight"].clone()}, source / "model.safetensors", {"format": "pt"})
    assert open_artefact(open_checkpoint(source)).label == "llama"
    save_file({**held, "norm.weight": held["model.norm.weight"] + 1}, source / "model.safetensors", {"format": "pt"})
    with pytest.raises(ConversionError, match=r"differs from .*both are model\.norm\.weight"):
        open_artefact(open_checkpoint(source))


@pytest.mark.parametrize("family", families(), ids=lambda family: family.label)
def test_the_names_of_a_familys_own_rows_stay_as_they_are(family):
    for row in family.rows:
        name = without_sets(row.name).format(**{index: 3 for index, _ in indices(row.name)})
        assert as_in_rows(family, f"0/{name}" if family.stored == "consolidated" else name) == name


def test_what_a_library_makes_of_a_folder_is_judged_by_the_names_as_they_stand():
    llama = next(family for family in families() if family.name == "llama")
    header = open_checkpoint(golden("llama-gqa").checkpoint).tensors["model.norm.weight"]
    assert list(assembled(llama, {"_orig_mod.model.norm.weight": header})) == ["_orig_mod.model.norm.weight"]
    assert list(assembled(llama, {"norm.weight": header})) == ["model.norm.weight"]


@pytest.mark.parametrize("case", [name for name in ("llama-tied", "gemma1-2b") if name in NATIVE])
def test_an_index_that_lists_the_tied_head_which_no_file_has_is_no_damage(case, tmp_path):
    source = saved(case, tmp_path / "in", str)
    indexed(source, "lm_head.weight")
    truth = load_file(golden(case).logits)
    assert (native_logits(source, truth["input_ids"]) - truth["logits"]).abs().max() <= 1e-4
    plan = checked(source, tmp_path / "out")
    assert any("lm_head.weight" in note and "ties it" in note for note in plan.notes)


@pytest.mark.parametrize(("case", "name"), [("llama-gqa", "lm_head.weight"), ("llama-tied", "model.norm.weight")])
def test_an_index_that_lists_what_no_file_has_is_damage_where_it_is_needed(case, name, tmp_path):
    source = saved(case, tmp_path / "in", str)
    held = load_file(source / "model.safetensors")
    save_file({n: t for n, t in held.items() if n != name}, source / "model.safetensors", {"format": "pt"})
    indexed(source, name)
    with pytest.raises(ConversionError, match=f"listed in the index but missing.*{name}"):
        open_checkpoint(source)


def indexed(folder: Path, extra: str) -> None:
    """One shard with an index that lists a tensor more than there is."""
    shard = "model-00001-of-00001.safetensors"
    (folder / "model.safetensors").rename(folder / shard)
    names = [*load_file(folder / shard), extra]
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(names, shard)}))
