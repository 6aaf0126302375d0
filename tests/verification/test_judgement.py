"""SRC against OUT as the command judges them: what an output says of itself is a claim, and its documents are compared."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import torch
from safetensors.torch import load_file, save_file

import convert
from convert.checkpoint import open_checkpoint
from convert.claims import remade_plan
from convert.cli.main import cli
from convert.cli.running import run as running
from convert.judgement import Judgement, judgement
from convert.prepare import plan_conversion
from convert.verification import loading
from convert.verification.verdict import Verdict
from convert.witness.child import Witness
from mappings import families
from surgery.errors import CannotJudge, VerificationFailed
from surgery.tokenizer.facts import load
from tests.goldens import Golden, golden
from tests.verification.test_held import noisy
from tests.verification.test_symbolic import CASES
from tests.vocabulary.models import EMBED, HEAD, llama
from tests.vocabulary.test_extend import small_json
from tests.writing import _here, write

OFF: dict[str, Any] = {"witness": "off"}


@pytest.fixture(autouse=True)
def in_this_process() -> Iterator[None]:
    """No child to start; tests/verification/test_child.py is about the child."""
    with mock.patch("convert.verification.child.run_child", _here):
        yield


def judged(source: Path, output: Path, **options: Any) -> Judgement:
    return judgement(open_checkpoint(source), open_checkpoint(output), **{**OFF, **options})


def status(found: Judgement) -> dict[str, str]:
    return {finding.fact: finding.status for finding in found.checked.verdict.findings}


def copied(source: Path, to: Path, **config: Any) -> Path:
    """A checkpoint of one file copied, with keys of its config said otherwise (None: left out)."""
    to.mkdir()
    for path in source.iterdir():
        if path.is_file():
            (to / path.name).write_bytes(path.read_bytes())
    told = json.loads((to / "config.json").read_text()) | config
    (to / "config.json").write_text(json.dumps({key: value for key, value in told.items() if value is not None}))
    return to


def spoilt(folder: Path, relative: float = 1e-2, kind: torch.dtype | None = None) -> Path:
    file = next(folder.glob("*.safetensors"))
    tensors = load_file(file)
    noisy(tensors, {}, relative)
    save_file({name: tensor.to(kind or tensor.dtype) for name, tensor in tensors.items()}, file, {"format": "pt"})
    return folder


LLAMA = golden("llama-gqa").checkpoint


# claims


@pytest.mark.parametrize("claim", ["approximate", "algebraic", [[]], {}, 3, None])
def test_noise_of_one_percent_fails_whatever_the_manifest_says(tmp_path: Path, claim: Any):
    out = spoilt(copied(LLAMA, tmp_path / "out"))
    (out / "weightsmith.json").write_text(json.dumps({"exactness": claim}))
    found = judged(LLAMA, out)
    assert not found.passed and found.promise == "algebraic"
    assert ("exactness that OUT claims" in status(found)) == (claim == "approximate")


def test_a_laxer_claim_fails_by_itself_unless_it_is_asked_for(tmp_path: Path):
    out = copied(LLAMA, tmp_path / "out")
    (out / "weightsmith.json").write_text('{"exactness": "approximate"}')
    found = judged(LLAMA, out)
    assert not found.passed and status(found) == {"exactness that OUT claims": "fails"}
    assert "--exactness approximate" in found.checked.verdict.findings[0].because
    assert judged(LLAMA, out, exactness="approximate").passed


@pytest.mark.parametrize("stored", [None, torch.bfloat16])
def test_a_plan_counts_only_where_it_gives_the_tensors_that_are_there(tmp_path: Path, stored: torch.dtype | None):
    """A manifest of a cast that was never made: what is stored is float32, or has another plan's type."""
    source = open_checkpoint(LLAMA)
    write(plan_conversion(source, "llama", dtype="float16"), tmp_path / "out")
    made = json.loads((tmp_path / "out" / "weightsmith.json").read_text())
    out = spoilt(copied(LLAMA, tmp_path / "bad"), 1e-2, stored)
    (out / "weightsmith.json").write_text(json.dumps(made))
    assert remade_plan(source, open_checkpoint(out)) is None
    assert not judged(LLAMA, out).passed


@pytest.mark.parametrize("manifest", [
    [], "x", 3, {"edits": [[]], "steps": [], "source": {"family": "llama"}, "target": "llama", "options": {}},
    {"edits": [{"do": []}], "steps": []}, {"edits": [{"do": "merge-lora", "adapter": "x", "weight": 1.0}], "steps": []},
    {"options": {"vocabulary": [[]]}}, {"options": [], "exactness": [[]]}, {"target": {}, "steps": [], "source": []},
    {"edits": 3, "options": {"vocabulary": {"edit": {}}}},
], ids=str)  # fmt: skip
def test_an_odd_manifest_is_no_claim(tmp_path: Path, manifest: Any):
    out = copied(LLAMA, tmp_path / "out")
    (out / "weightsmith.json").write_text(json.dumps(manifest))
    assert judged(LLAMA, out).passed


def test_an_edit_that_takes_no_file_is_made_again(tmp_path: Path):
    from surgery.edits.dtype import cast

    write(convert.plan(cast(convert.open(LLAMA), "bfloat16")), tmp_path / "out")
    found = judged(LLAMA, tmp_path / "out")
    assert found.passed and found.promise == "approximate" and found.checked.lineage is None
    found = judged(LLAMA, spoilt(tmp_path / "out", 0.1))
    assert not found.passed


def test_a_cast_by_somebody_else_has_to_be_asked_for(tmp_path: Path):
    out = spoilt(copied(LLAMA, tmp_path / "out"), 0.0, torch.bfloat16)
    found = judged(LLAMA, out)
    assert not found.passed and status(found)["stored types"] == "fails"
    assert judged(LLAMA, out, exactness="approximate").passed


# tokens


def spelled(folder: Path, **config: Any) -> Path:
    """A model whose tokenizer.json has 701 ids, untied."""
    files = {"tokenizer.json": json.dumps(small_json()).encode()}
    llama(folder, rows=len(load(small_json()).get_vocab()), tied=False, files=files, **config)
    return folder


@pytest.mark.parametrize("named", [{"eos_token_id": [2, *range(300, 701)]}, {"bos_token_id": list(range(300, 701))}])
def test_an_outputs_config_does_not_choose_which_tokens_are_compared(tmp_path: Path, named: dict[str, Any]):
    base = spelled(tmp_path / "base")
    out = copied(base, tmp_path / "out", **named)
    tensors = load_file(out / "model.safetensors")
    for name in (EMBED, HEAD):
        tensors[name][300:] = torch.randn(tensors[name][300:].shape)
    save_file(tensors, out / "model.safetensors", {"format": "pt"})
    found = judged(base, out)
    assert not found.passed and found.checked.verdict.first_divergence == "embedding"


def test_a_row_that_only_plays_a_part_in_the_output_is_compared_too(tmp_path: Path):
    base = spelled(tmp_path / "base")
    out = copied(base, tmp_path / "out", eos_token_id=[2, 403])
    tensors = load_file(out / "model.safetensors")
    tensors[EMBED][403] = 1.0
    save_file(tensors, out / "model.safetensors", {"format": "pt"})
    assert judged(base, out).checked.verdict.first_divergence == "embedding"


@pytest.mark.parametrize("tokenizer", [True, False])
@pytest.mark.parametrize(("named", "expected"), [
    ({"eos_token_id": 403}, {"eos token": "fails"}), ({"bos_token_id": 403}, {"bos token": "warns"}),
    ({"pad_token_id": 403}, {"pad token": "warns"}), ({"eos_token_id": [2, 403]}, {"eos token": "warns"}),
], ids=str)  # fmt: skip
def test_a_special_id_that_moved_is_a_finding_with_and_without_a_tokenizer(
    tmp_path: Path, named: dict[str, Any], expected: dict[str, str], tokenizer: bool
):
    base = spelled(tmp_path / "base")
    out = copied(base, tmp_path / "out", **named)
    for folder in (base, out):
        if not tokenizer:
            (folder / "tokenizer.json").unlink()
    found = judged(base, out)
    assert status(found) == expected and found.passed == ("fails" not in expected.values())
    assert "None" not in str([finding.output for finding in found.checked.verdict.findings])


def test_a_vocabulary_that_was_cut_fails_by_name_with_a_tokenizer_and_without(tmp_path: Path):
    base = spelled(tmp_path / "base")
    out = copied(base, tmp_path / "out", vocab_size=100)
    tensors = load_file(out / "model.safetensors")
    save_file({n: t[:100].contiguous() if n in (EMBED, HEAD) else t for n, t in tensors.items()}, out / "model.safetensors")
    (out / "weightsmith.json").write_text(json.dumps({"options": {"vocabulary": {"edit": "trim-vocab", "rows": 100}}}))
    for tokenizer in (True, False):
        if not tokenizer:
            (base / "tokenizer.json").unlink()
            (out / "tokenizer.json").unlink()
        found = judged(base, out)
        assert not found.passed and status(found)["tokens that are gone"] == "fails"
    assert judged(base, out, other_rows=True).passed


def test_padding_that_no_token_has_may_be_taken_away(tmp_path: Path):
    files = {"tokenizer.json": json.dumps(small_json()).encode()}
    padded = tmp_path / "padded"
    tensors = llama(padded, rows=768, tied=False, files=files)
    out = copied(padded, tmp_path / "out", vocab_size=701)
    save_file({n: t[:701].contiguous() if n in (EMBED, HEAD) else t for n, t in tensors.items()}, out / "model.safetensors")
    found = judged(padded, out)
    assert found.passed and status(found) == {"tokens that are gone": "explained"}


# what else a config says


PLAIN = {"rope_theta": None, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}


@pytest.mark.parametrize(("before", "after", "fact", "how"), [
    (PLAIN, {"rope_scaling": {"type": "linear", "factor": 2.0}}, "rotation said twice", "fails"),
    (PLAIN, {"rope_theta": 500000.0}, "rotation said twice", "fails"),
    ({}, {"max_position_embeddings": 64}, "context", "fails"),
    ({}, {"max_position_embeddings": None}, "context", "fails"),  # the class's own is shorter
    ({}, {"rope_scaling": {"rope_type": "dynamic", "factor": 4.0}}, "rotation beyond the context", "warns"),
    ({}, {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}, "quantization_config", "fails"),
    ({}, {"quantization_config": {"quant_method": "fp8"}}, "quantization_config", "fails"),
    ({}, {"dtype": "float8_e4m3fn"}, "element type", "fails"),
    ({}, {"torch_dtype": "bfloat16"}, "element type", "fails"),
    ({}, {"architectures": ["LlamaForSequenceClassification"]}, "class", "fails"),
    ({}, {"architectures": ["MistralForCausalLM"]}, "class", "fails"),
    ({}, {"auto_map": {"AutoModelForCausalLM": "modeling_x.Model"}}, "code of its own", "fails"),
], ids=str)  # fmt: skip
def test_what_a_config_says_otherwise_is_a_finding(
    tmp_path: Path, before: dict[str, Any], after: dict[str, Any], fact: str, how: str
):
    base, out = copied(LLAMA, tmp_path / "base", **before), copied(LLAMA, tmp_path / "out", **{**before, **after})
    found = judged(base, out)
    assert status(found)[fact] == how and found.passed == (how != "fails")
    same = judged(out, copied(out, tmp_path / "same"))
    assert same.passed and status(same) == {}, "what both say in the same way is no difference"


@pytest.mark.parametrize("case", CASES, ids=str)
def test_no_published_class_is_taken_for_another_architectures(case: Golden):
    """Against a source that names none, every golden case's own class is right."""
    config = open_checkpoint(case.checkpoint).config
    sides = [held_decoder({**config, "architectures": names}) for names in ([], config.get("architectures") or [])]
    assert [one.line for one in loading._class(*sides)] == []


def held_decoder(config: dict[str, Any]) -> Any:
    return SimpleNamespace(config=config)


def test_two_spellings_that_agree_are_one(tmp_path: Path):
    base = copied(LLAMA, tmp_path / "base", rope_theta=10000.0)
    table = {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}
    one = copied(base, tmp_path / "one", rope_scaling={"type": "linear", "factor": 2.0})
    two = copied(base, tmp_path / "two", rope_scaling={"type": "linear", "factor": 2.0}, rope_parameters=table)
    found = judged(one, two)
    assert found.passed and status(found) == {}


# what it says, and in which order


def test_the_python_function_is_as_strict_as_the_command(tmp_path: Path):
    out = copied(LLAMA, tmp_path / "out")
    (out / "weightsmith.json").write_text('{"exactness": "approximate"}')
    verdict = convert.verify(LLAMA, out, **OFF)
    assert isinstance(verdict, Verdict) and not verdict.passed
    assert [finding.fact for finding in verdict.findings] == ["exactness that OUT claims"]
    assert convert.verify(LLAMA, LLAMA, **OFF).passed


def test_what_the_witness_says_fails_the_python_function_too(monkeypatch: pytest.MonkeyPatch):
    wrong = Witness(True, "its logits differ", False, "transformers 5", error=1.0, allowed=0.1)
    monkeypatch.setattr("convert.witness.child.witness", lambda *a, **k: wrong)
    found = judged(LLAMA, LLAMA, witness="auto")
    assert found.checked.verdict.passed and not found.verdict.passed
    sentence = found.checked.sentence
    assert sentence.startswith("NOT witnessed by transformers 5") and "nevertheless verified" in sentence
    with pytest.raises(VerificationFailed, match=r"^NOT witnessed .* Next: our reading of this model"):
        found.refuse()


def test_a_failing_text_page_and_json_lead_with_what_differs_then_what_was_proved_then_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    wrong = Witness(True, "its logits differ", False, "transformers 5", error=1.0, allowed=0.1)
    monkeypatch.setattr("convert.witness.child.witness", lambda *a, **k: wrong)
    words = ["verify", str(LLAMA), str(LLAMA), "--report", str(tmp_path / "page.html")]
    assert running(cli, "convert", words) == 5
    told = capsys.readouterr()
    first, second, third, *_ = told.out.splitlines()
    assert first.startswith("NOT witnessed") and second.startswith("nevertheless verified") and third.startswith("  next ")
    assert told.err.strip().splitlines()[-1].startswith("error: NOT witnessed")
    page = (tmp_path / "page.html").read_text()
    assert page.index("NOT witnessed by") < page.index("Nevertheless verified") < page.index("Next: ")
    assert "Verified" not in page and ">verified</span>" not in page
    assert running(cli, "convert", [*words, "--overwrite", "--json"]) == 5
    value = json.loads(capsys.readouterr().out)
    assert value["passed"] is False and value["differs"][0].startswith("NOT witnessed") and value["next"]


def test_what_cannot_be_judged_ends_with_status_9(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from convert.verification import frame
    from tests.verification.test_frames import rotated
    from tests.verification.test_run import loaded

    monkeypatch.setattr(frame, "_WIDEST", 32)
    base = golden("llama-mha").checkpoint
    out = copied(base, tmp_path / "out")
    save_file(rotated(loaded("llama-mha")[0]), out / "model.safetensors", {"format": "pt"})
    found = judged(base, out)
    assert not found.passed and found.checked.undecided
    with pytest.raises(CannotJudge, match="cannot be judged"):
        found.refuse()
    assert running(cli, "convert", ["verify", str(base), str(out), "--witness", "off"]) == 9


@pytest.mark.parametrize("family", [f for f in families() if f.architecture and f.stored == "safetensors"], ids=lambda f: f.label)
def test_the_class_that_a_family_writes_is_one_of_its_model_type(family):
    """What our own outputs say is no finding, in whatever words a vendor names its class."""
    said = {"architectures": [family.architecture], "model_type": family.model_type}
    source, output = SimpleNamespace(config={}), SimpleNamespace(config=said)
    assert [finding for finding in loading._class(source, output) if finding.status == "fails"] == []
